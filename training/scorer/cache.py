"""Crops on disk: drawing a synthetic study takes seconds, reading its crops back does not.

One `.npz` a study: crops and masks as bytes, the edema map, targets and what the level is.
Intensities span four natural logs in 255 steps, far finer than any image's noise.
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Coverage
from models.scorer.crops import CROP_SHAPE, LevelCrops, extract_crops
from models.scorer.distribution import OWN_BODY
from models.scorer.normalisation import LOG_RANGE
from models.scorer.resampling import resample
from training.phantom.case import load_case
from training.phantom.tissues import LevelTruth, SpineCase
from training.scorer.studies import SyntheticStudy, synthesise
from training.scorer.targets import level_targets

STEP: Final = (LOG_RANGE[1] - LOG_RANGE[0]) / 255.0


@dataclass(frozen=True, slots=True)
class LevelSet:
    """Levels of one study, ready for training.

    Attributes:
        crops: (level, channel, slice, row, column) uint8, see `packed`.
        presence: (level, len(PRESENCE)) float32.
        edema_map: (level, slice, row / 2, column / 2) uint8, 255 is all edema.
        targets: (level, len(HEADS)) float32.
        about: Per level, facts for strata: case, level, stage, mimics, edema fraction, set, sizes.
    """

    crops: NDArray[np.uint8]
    presence: NDArray[np.float32]
    edema_map: NDArray[np.uint8]
    targets: NDArray[np.float32]
    about: tuple[dict[str, object], ...]


def packed(crops: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Crops as bytes: images over `LOG_RANGE`, the two masks over [0, 1]."""
    low, high = LOG_RANGE
    images = np.rint((crops[:, :-2] - low) * (255.0 / (high - low)))
    masks = np.rint(crops[:, -2:] * 255.0)
    return np.concatenate([images, masks], axis=1).astype(np.uint8)


def unpacked(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The reverse of `packed`, to half a step."""
    whole = crops.astype(np.float32)
    whole[:, :-2] = whole[:, :-2] * np.float32(STEP) + np.float32(LOG_RANGE[0])
    whole[:, -2:] /= np.float32(255.0)
    return whole


def level_set(case: SpineCase, made: SyntheticStudy, case_name: str) -> LevelSet | None:
    """Crops and targets of every whole body of a study; None when there is none."""
    crops = extract_crops(made.study, made.localisation)
    truths = {truth.index: truth for truth in case.levels}
    kept, maps, targets, about = [], [], [], []
    for level, vertebra in enumerate(made.localisation.vertebrae):
        truth = truths[vertebra.index]
        if truth.level == "S1" or truth.visible != "complete":
            continue
        if vertebra.coverage is not Coverage.COMPLETE:
            continue
        edema_map, fraction = _edema_on(made, crops, level)
        kept.append(level)
        maps.append(edema_map)
        targets.append(level_targets(truth, fraction))
        size = vertebra.size
        heights = size and (
            size.height_anterior_mm,
            size.height_middle_mm,
            size.height_posterior_mm,
        )
        about.append(_facts(truth, case_name, fraction, made.sequence_set) | {"heights": heights})
    if not kept:
        return None
    return LevelSet(
        crops=packed(crops.array[kept]),
        presence=crops.presence[kept],
        edema_map=np.stack(maps),
        targets=np.stack(targets),
        about=tuple(about),
    )


def _edema_on(
    made: SyntheticStudy, crops: LevelCrops, level: int
) -> tuple[NDArray[np.uint8], float]:
    """Edema map at half in-plane resolution, and the edematous part of the crop's own body."""
    affine = made.study.reference.affine
    edema, inside = resample(made.edema, affine, crops.affines[level], CROP_SHAPE)
    edema = np.where(inside, edema, 0.0)
    own = crops.array[level, -2] > OWN_BODY
    fraction = float(edema[own].mean()) if own.any() else 0.0
    slices, rows, columns = CROP_SHAPE
    halved = edema.reshape(slices, rows // 2, 2, columns // 2, 2).mean(axis=(2, 4))
    return np.rint(np.clip(halved, 0.0, 1.0) * 255.0).astype(np.uint8), fraction


def _facts(
    truth: LevelTruth, case_name: str, edema_fraction: float, sequence_set: str
) -> dict[str, object]:
    return {
        "case": case_name,
        "level": truth.level,
        "stage": truth.stage,
        "fracture": truth.fracture,
        "etiology": truth.etiology,
        "mimics": list(truth.mimics),
        "signs": sorted(code for code, drawn in truth.signs.items() if drawn),
        "edema_fraction": edema_fraction,
        "height_loss_percent": truth.height_loss_percent,
        "intact_heights_mm": list(truth.intact_heights_mm),
        "sequence_set": sequence_set,
    }


def save_levels(path: Path, levels: LevelSet) -> None:
    """Write a level set to one file that appears whole or not at all."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        crops=levels.crops,
        presence=levels.presence,
        edema_map=levels.edema_map,
        targets=levels.targets,
        about=np.array(json.dumps(levels.about)),
    )
    part = path.with_suffix(".part")
    part.write_bytes(buffer.getvalue())
    part.replace(path)


def load_levels(path: Path) -> LevelSet:
    """Read what `save_levels` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return LevelSet(
            crops=stored["crops"],
            presence=stored["presence"],
            edema_map=stored["edema_map"],
            targets=stored["targets"],
            about=tuple(json.loads(str(stored["about"]))),
        )


def fill_cache(cases: Path, out: Path, studies_per_case: int, share: tuple[int, int]) -> int:
    """Draw studies from case files until every case has its number; existing files are kept.

    Args:
        cases: Folder of `case-*.npz`.
        out: Folder of the cache.
        studies_per_case: How many different studies of each case.
        share: (which, of how many): this worker's part of the cases.

    Returns:
        How many studies were written.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = 0
    for number, path in enumerate(sorted(cases.glob("case-*.npz"))):
        if number % share[1] != share[0]:
            continue
        missing = [
            (study, target)
            for study in range(studies_per_case)
            if not _fresh(target := out / f"{path.stem}-{study}.npz", path)
        ]
        if not missing:
            continue
        case = load_case(path)
        for study, target in missing:
            rng = np.random.default_rng([case.seed, study])
            levels = level_set(case, synthesise(case, rng), path.stem)
            if levels is not None:
                save_levels(target, levels)
                written += 1
    return written


def _fresh(target: Path, source: Path) -> bool:
    """Whether a file was made after what it is made from."""
    return target.exists() and target.stat().st_mtime >= source.stat().st_mtime


def main() -> None:
    """Fill a crop cache from case files; run several with different --share on several cores."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--studies", type=int, default=2, help="studies per case")
    parser.add_argument("--share", type=int, nargs=2, default=(0, 1), metavar=("WHICH", "OF"))
    arguments = parser.parse_args()
    share = (arguments.share[0], arguments.share[1])
    fill_cache(arguments.cases, arguments.out, arguments.studies, share)


if __name__ == "__main__":
    main()
