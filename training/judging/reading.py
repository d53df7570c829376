"""Run models over the studies of a manifest the way the service does, and lay truth beside answers.

A study is read once, whatever the number of models: the same volumes go to each.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.findings import (
    Acuity,
    Call,
    Etiology,
    LevelFindings,
    Localisation,
    Scores,
    StudyVolumes,
    Vertebra,
)
from models.localiser.localiser import Localiser
from models.registry import Bundle
from models.runtime import CpuOptions, Device, open_session
from models.scorer.calibration import read_calibration
from models.scorer.heads import HEADS
from models.scorer.scorer import Scorer
from service.ingest.inventory import take_inventory
from service.ingest.records import InstanceRecord
from service.ingest.safety import Limits
from service.pipeline import reader
from service.settings import Settings
from training.datasets.agreement import consensus
from training.datasets.manifest import Manifest
from training.datasets.mask_images import image_stem
from training.datasets.rows import NOT_SCORED, LabelRow, Labels
from training.judging.cases import FACTS, TASKS, UNKNOWN, WITHHELD, Judged, gathered, truth_of
from training.judging.errors import NothingToJudgeError

SAME_BODY_MM: Final = 12.0
"""A body counts as found when its centre lies this near the labelled one."""

_AGES: Final = (50, 65, 80)
_UNASKED: Final = dict.fromkeys(TASKS, float("nan"))
_NO_CALL: Final = dict.fromkeys(TASKS, WITHHELD)


@dataclass(slots=True)
class Model:
    """A localiser and a scorer, opened to be judged together.

    Attributes:
        localiser, scorer: Their bundles.
        device: Where networks run.
        options: For the CPU.
    """

    localiser: Bundle
    scorer: Bundle
    device: Device = "cpu"
    options: CpuOptions = field(default_factory=CpuOptions)
    _localise: Localiser = field(init=False)
    _score: Scorer = field(init=False)

    def __post_init__(self) -> None:
        localiser = open_session(self.localiser, self.device, self.options)
        self._localise = Localiser(localiser, self.localiser.metadata)
        scorer = open_session(self.scorer, self.device, self.options)
        self._score = Scorer(scorer, self.scorer.metadata)

    def localise(self, study: StudyVolumes) -> Localisation:
        """Find the bodies."""
        return self._localise(study)

    def score(
        self, study: StudyVolumes, localisation: Localisation
    ) -> tuple[Scores, NDArray[np.float32]]:
        """Findings, and the (level, len(HEADS)) answers; none where nothing was asked."""
        return self._score.score(study, localisation)

    @property
    def names(self) -> dict[str, dict[str, str]]:
        """Which bundles these are."""
        return {
            bundle.name: {"version": bundle.version, "sha256": bundle.sha256}
            for bundle in (self.localiser, self.scorer)
        }


@dataclass(slots=True)
class Readings:
    """What came of reading a manifest.

    Attributes:
        judged: For each model, in order; all of the same levels.
        unread: Code to the number of studies that could not be read.
        studies: How many were read.
    """

    judged: tuple[Judged, ...]
    unread: dict[str, int]
    studies: int


def read_cases(
    manifest: Manifest,
    models: Sequence[Model],
    *,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Readings:
    """Judge models on every labelled study of a manifest.

    Args:
        manifest: Rows of the studies to read; several readers of a level count by majority.
        models: All are given the same volumes.
        settings: How studies are read; the environment's by default.
        progress: Told how many studies are done, of how many.

    Raises:
        NothingToJudgeError: Not one labelled level lay in a study that could be read.
    """
    by_study: dict[str, list[tuple[LabelRow, Labels]]] = defaultdict(list)
    for row, labels in consensus(manifest.rows).values():
        by_study[row.study_instance_uid].append((row, labels))
    read = reader(settings or Settings())
    rows: list[list[dict[str, Any]]] = [[] for _ in models]
    unread: dict[str, int] = defaultdict(int)
    for done, labelled in enumerate(by_study.values()):
        progress(done, len(by_study))
        path = manifest.study_path(labelled[0][0])
        if image_stem(path) is not None:
            # A plain image has no header that tells its sequence.
            unread["not_dicom"] += 1
            continue
        volumes = read(path).volumes
        if volumes is None:
            unread["no_usable_series"] += 1
            continue
        facts = acquisition_facts(path, volumes)
        found: dict[str, Localisation] = {}
        for number, model in enumerate(models):
            if model.localiser.sha256 not in found:
                found[model.localiser.sha256] = model.localise(volumes)
            localisation = found[model.localiser.sha256]
            rows[number] += _judged_study(labelled, model, volumes, localisation, facts)
    progress(len(by_study), len(by_study))
    if not rows or not rows[0]:
        raise NothingToJudgeError("no labelled level lies in a study that could be read")
    judged = tuple(gathered(one) for one in rows)
    return Readings(judged, dict(unread), len(by_study) - sum(unread.values()))


def _judged_study(
    labelled: Sequence[tuple[LabelRow, Labels]],
    model: Model,
    volumes: StudyVolumes,
    localisation: Localisation,
    facts: dict[str, str],
) -> Iterator[dict[str, Any]]:
    scores, heads = model.score(volumes, localisation)
    calibration = read_calibration(model.scorer.metadata)
    fluid_only = not {"t1", "dixon_fat"} & set(volumes.by_role)
    for row, said_of in labelled:
        labels = Labels() if row.level == NOT_SCORED else said_of
        place = matching(row, localisation.vertebrae)
        common = {
            "patient": row.patient_key,
            "study": row.study_instance_uid,
            "level": row.level or UNKNOWN,
            "truth": truth_of(labels),
            "facts": dict.fromkeys(FACTS, UNKNOWN) | facts | _level_facts(row, labels),
        }
        if place is None or not len(heads):
            yield common | {
                "found": place is not None,
                "named": False,
                "logit": _UNASKED,
                "probability": _UNASKED,
                "call": _NO_CALL,
                "etiology_set": "",
                "group": "",
            }
            continue
        findings = scores.levels[place]
        logits = {task: float(heads[place, HEADS.index(task)]) for task in TASKS}
        said = calls_of(findings)
        yield common | {
            "found": True,
            "named": row.level is not None and findings.vertebra.level == row.level,
            "logit": {task: logits[task] if task in said else float("nan") for task in TASKS},
            "probability": {
                task: float(calibration.platt[task].probability(np.array(logits[task], "f4")))
                if task in said
                else float("nan")
                for task in TASKS
            },
            "call": _NO_CALL | said,
            "etiology_set": "+".join(findings.etiology.prediction_set) if findings.etiology else "",
            "group": "fluid_only" if fluid_only else "fat_contrast",
        }


def matching(row: LabelRow, vertebrae: Sequence[Vertebra]) -> int | None:
    """Place of the body that a row speaks of: the nearest one, or without a centre by its name."""
    centre = row.centre_lps_mm
    if centre is None:
        names = [vertebra.level for vertebra in vertebrae]
        return names.index(row.level) if row.level in names else None
    apart = [float(np.linalg.norm(vertebra.centroid_lps_mm - centre)) for vertebra in vertebrae]
    nearest = int(np.argmin(apart)) if apart else None
    return nearest if nearest is not None and apart[nearest] <= SAME_BODY_MM else None


def calls_of(findings: LevelFindings) -> dict[str, str]:
    """The served call of every task that was answered.

    Where neither edema nor fracture is called, nobody is told a cause: with both absent that says
    there is no tumour either, with one of them in doubt it leaves the question open.
    """
    said: dict[str, str] = {}
    if findings.edema is not None:
        said["edema"] = findings.edema.call
    if findings.fracture is not None:
        said["fracture"] = findings.fracture.call
    if findings.acuity is not None:
        said["unhealed"] = {
            Acuity.UNHEALED: Call.PRESENT,
            Acuity.INDETERMINATE: Call.INDETERMINATE,
        }.get(findings.acuity.call, Call.ABSENT)
    if findings.etiology is not None:
        open_still = Call.INDETERMINATE in (said.get("edema"), said.get("fracture"))
        said["pathological"] = {
            Etiology.PATHOLOGICAL: Call.PRESENT,
            Etiology.INDETERMINATE: Call.INDETERMINATE,
            Etiology.NOT_APPLICABLE: Call.INDETERMINATE if open_still else Call.ABSENT,
            Etiology.BENIGN: Call.ABSENT,
        }[findings.etiology.call]
    return said


def _level_facts(row: LabelRow, labels: Labels) -> dict[str, str]:
    facts: dict[str, str] = {"sex": row.sex or UNKNOWN}
    if labels.genant is not None:
        facts["grade"] = f"grade {labels.genant}"
    if row.age_years is not None:
        bounds = [0, *_AGES]
        low = max(bound for bound in bounds if bound <= row.age_years)
        above = [bound for bound in _AGES if bound > low]
        facts["age"] = f"{low} to {above[0] - 1}" if above else f"{low} and more"
    return facts


def acquisition_facts(path: Path, volumes: StudyVolumes) -> dict[str, str]:
    """Strata of a study from the headers of its reference series."""
    facts = {"sequences": "+".join(sorted(volumes.by_role))}
    with tempfile.TemporaryDirectory(prefix="acuity-judging-") as workspace:
        records = take_inventory(path, Limits(), Path(workspace)).records
    wanted = volumes.reference.series_instance_uid
    record = next((one for one in records if one.series_instance_uid == wanted), None)
    return facts if record is None else facts | _header_facts(record)


def _header_facts(record: InstanceRecord) -> dict[str, str]:
    frame = record.frames[0]
    field_t, thickness = frame.physics.field_strength_t, frame.slice_thickness_mm
    vendor = record.manufacturer.split()[0].lower() if record.manufacturer.split() else UNKNOWN
    return {
        "field": UNKNOWN if field_t is None else f"{_nearest_field(field_t)} T",
        "thickness": UNKNOWN
        if thickness is None
        else f"{'under' if thickness < 3.5 else 'from'} 3.5 mm",
        "vendor": vendor,
    }


def _nearest_field(tesla: float) -> str:
    return "under 1" if tesla < 1.0 else "1 to 1.9" if tesla < 2.0 else "2 and more"
