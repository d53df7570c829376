"""Every real series with a truth mask through ingest, localiser and scorer as they serve."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from models.anatomy import LABEL_VALUES
from models.findings import StudyVolumes
from models.localiser.localiser import Localiser
from models.scorer.scorer import Scorer
from models.volume import FLUID_SENSITIVE
from training.evaluate_real.bodies import Result
from training.evaluate_real.edema import EdemaReading, read_edema
from training.evaluate_real.inserted import Inserted, inserted_of
from training.evaluate_real.overlays import draw
from training.evaluate_real.studies import Truth, mask_on, read_volumes, truths_of
from training.localiser.matching import score_localisation


def evaluate(
    studies: Path, localiser: Localiser, overlays: Path | None, scorer: Scorer | None = None
) -> Iterator[Result]:
    """Score every series with a mask in a folder of studies.

    Args:
        studies: Folder of studies.
        localiser: Takes every series as the reference in turn.
        overlays: Folder for pictures, or None for none.
        scorer: Judges edema where the series is its study's fluid-sensitive one; None to leave
            findings out.
    """
    for study in sorted(path.parent for path in studies.glob("*/truth.json")):
        volumes = read_volumes(study / "dicom")
        for truth in truths_of(study):
            yield _evaluate_series(truth, volumes, localiser, scorer, overlays)


def _evaluate_series(
    truth: Truth,
    study: StudyVolumes | None,
    localiser: Localiser,
    scorer: Scorer | None,
    overlays: Path | None,
) -> Result:
    names = {value: level for level, value in LABEL_VALUES.items()}
    chosen = (study.reference, *study.by_role.values()) if study else ()
    by_series = {volume.series_instance_uid: volume for volume in chosen}
    volume = by_series.get(truth.series_instance_uid)
    if study is None or volume is None:
        return Result(truth.study, truth.group, 0.0, "", None)
    start = time.perf_counter()
    found = localiser(StudyVolumes(volume, {volume.role: volume}))
    seconds = time.perf_counter() - start
    masks = mask_on(volume, truth.mask)
    score = score_localisation(found, masks, names)
    if overlays is not None:
        draw(overlays / f"{truth.study}-{truth.group}.png", volume, found, masks)
    edema: tuple[EdemaReading, ...] = ()
    inserted: tuple[Inserted, ...] = ()
    if scorer is not None and volume is study.reference and volume.role in FLUID_SENSITIVE:
        edema = read_edema(truth, scorer(study, found), masks, volume.affine, names)
        inserted = tuple(inserted_of(truth, study, found, masks, scorer))
    return Result(truth.study, truth.group, seconds, found.anchor.value, score, edema, inserted)
