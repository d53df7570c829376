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

from models.findings import Coverage, Localisation
from models.scorer.contrast import ContrastRule, measure_contrast
from models.scorer.crops import CROP_SHAPE, LevelCrops, extract_crops
from models.scorer.distribution import OWN_BODY
from models.scorer.normalisation import LOG_RANGE
from models.scorer.resampling import resample
from models.scorer.signs import measure_signs, of_level
from training.phantom.painting.tissues import LevelTruth
from training.phantom.recipe import PhantomRecipe, load_recipe
from training.scorer.studies import SyntheticStudy, synthesise
from training.scorer.targets import level_targets

ZERO: Final = 127
"""The byte of a normalised signal of 0, which a channel that was not acquired is filled with."""

STEP: Final = (LOG_RANGE[1] - LOG_RANGE[0]) / (2 * ZERO)


@dataclass(frozen=True, slots=True)
class LevelSet:
    """Levels of one study, ready for training.

    Attributes:
        crops: (level, channel, slice, row, column) uint8, see `packed`.
        presence: (level, len(PRESENCE)) float32.
        edema_map: (level, slice, row / 2, column / 2) uint8, 255 is all edema.
        targets: (level, len(HEADS)) float32.
        about: Per level, facts for strata: case, level, stage, mimics, edema fraction, set, sizes,
            field strength, slice pitch, and its measured signs.
    """

    crops: NDArray[np.uint8]
    presence: NDArray[np.float32]
    edema_map: NDArray[np.uint8]
    targets: NDArray[np.float32]
    about: tuple[dict[str, object], ...]


def packed(crops: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Crops as bytes: images over `LOG_RANGE`, the two masks over [0, 1]."""
    images = np.rint(crops[:, :-2] / STEP) + ZERO
    masks = np.rint(crops[:, -2:] * 255.0)
    return np.concatenate([images, masks], axis=1).astype(np.uint8)


def unpacked(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The reverse of `packed`, to half a step."""
    whole = crops.astype(np.float32)
    whole[:, :-2] = (whole[:, :-2] - ZERO) * np.float32(STEP)
    whole[:, -2:] /= np.float32(255.0)
    return whole


def level_set(made: SyntheticStudy, case_name: str) -> LevelSet | None:
    """Crops and targets of every whole body of a study; None when there is none."""
    crops = extract_crops(made.study, made.localisation)
    signs = _signs(crops, made.localisation)
    truths = {truth.index: truth for truth in made.levels}
    kept, maps, targets, about = [], [], [], []
    for level, vertebra in enumerate(made.localisation.vertebrae):
        truth = truths[vertebra.index]
        # A body that leaves the stack at its sides is scored like any other, as in service: what
        # counts is whether the localiser sees it cut.
        if truth.level == "S1":
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
        about.append(
            _facts(truth, case_name, fraction, made.sequence_set)
            | {"heights": heights, "measured": of_level(signs, level)}
            | {"field_t": made.field_t, "slice_mm": round(made.study.reference.spacing.slice_mm, 2)}
        )
    if not kept:
        return None
    return LevelSet(
        crops=packed(crops.array[kept]),
        presence=crops.presence[kept],
        edema_map=np.stack(maps),
        targets=np.stack(targets),
        about=tuple(about),
    )


def _signs(crops: LevelCrops, localisation: Localisation) -> dict[str, NDArray[np.float64]]:
    """Measured signs of every level, all but heights: those need calls."""
    judged = [vertebra.level != "S1" for vertebra in localisation.vertebrae]
    contrast = measure_contrast(crops, judged, ContrastRule())
    return measure_signs(crops, localisation, contrast)


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


def fill_cache(
    recipe: PhantomRecipe, out: Path, count: int, share: tuple[int, int] = (0, 1)
) -> int:
    """Draw patients of a recipe, one study each, until there are `count`; existing files are kept.

    Args:
        recipe: What patients and scans are drawn from.
        out: Folder of the cache.
        count: Patients.
        share: (which, of how many): this worker's part of them.

    Returns:
        How many studies were written.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = 0
    for number in range(share[0], count, share[1]):
        seed = recipe.seed(number)
        target = out / f"case-{seed}.npz"
        if target.exists():
            continue
        rng = np.random.default_rng([seed, 1])
        made = synthesise(recipe.scene(number), rng, mix=recipe.acquisition)
        levels = level_set(made, f"case-{seed}")
        if levels is not None:
            save_levels(target, levels)
            written += 1
    return written


def main() -> None:
    """Fill a crop cache from a recipe; run several with different --share on several cores."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--recipe", default="train", help="name or TOML file of a phantom recipe")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000, help="patients, one study each")
    parser.add_argument("--share", type=int, nargs=2, default=(0, 1), metavar=("WHICH", "OF"))
    given = parser.parse_args()
    fill_cache(load_recipe(given.recipe), given.out, given.count, (given.share[0], given.share[1]))


if __name__ == "__main__":
    main()
