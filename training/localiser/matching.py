"""Compare a localisation with truth masks, body by body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.findings import BodySize, Localisation, Vertebra
from models.geometry import Affine, to_index, to_lps
from models.localiser.bodies import chain_directions, measure

FOUND_IOU = 0.3
CENTRAL_SLICES = 5
MERGED_SHARE = 0.3
"""A prediction that holds this part of two true bodies has merged them."""


@dataclass(frozen=True, slots=True)
class BodyScore:
    """How one true body was found.

    Attributes:
        level: Its true name.
        found: A centroid lies inside it and that prediction's IoU is above `FOUND_IOU`.
        named: The level the prediction was given, or None.
        dice, central_dice: Of the whole body and of its five central slices; 0 when not found.
        volume_ratio: Predicted over true volume.
        centroid_error_mm: Between the centroids of the two masks.
        height_errors_mm: Absolute errors (anterior, middle, posterior), by the same measurement on
            both masks; None where either cannot be measured.
    """

    level: str
    found: bool
    named: str | None
    dice: float
    central_dice: float
    volume_ratio: float
    centroid_error_mm: float
    height_errors_mm: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class StudyScore:
    """How one series was localised.

    Attributes:
        bodies: One per true body, cranial to caudal.
        false_bodies: Predictions inside the annotated range that lie on no true body.
        duplicates: Surplus predictions on one true body.
        merged: Predictions that hold large parts of two true bodies.
        sacrum_recognised: S1 is named, directly under the body that is truly the last lumbar one
            (or on the true S1 where it has a mask).
        levels_right: Every true body was found and has its true name.
    """

    bodies: tuple[BodyScore, ...]
    false_bodies: int
    duplicates: int
    merged: int
    sacrum_recognised: bool
    levels_right: bool


def score_localisation(
    localisation: Localisation, truth: NDArray[np.integer], levels: Mapping[int, str]
) -> StudyScore:
    """Score a localisation against masks.

    Args:
        localisation: On the grid of `truth`, slices first (sagittal stacks as stored).
        truth: (slice, row, column) labels; 0 is no body.
        levels: Truth label to level name.

    Returns:
        Scores; true bodies ordered from head to foot.
    """
    affine = localisation.affine
    present = [value for value in levels if (truth == value).any()]
    true_centres = {value: _centroid(truth == value, affine) for value in present}
    present.sort(key=lambda value: -true_centres[value][2])
    at = {v.index: _value_at(truth, affine, v.centroid_lps_mm) for v in localisation.vertebrae}
    directions = chain_directions(np.array([true_centres[value] for value in present]))
    bodies = []
    for value, direction in zip(present, directions, strict=True):
        on_it = [v for v in localisation.vertebrae if at[v.index] == value]
        mask = truth == value
        best = max(on_it, key=lambda v: _iou(localisation.labels == v.index, mask), default=None)
        bodies.append(_score_body(localisation, best, mask, levels[value], direction))
    claimed = [value for value in at.values() if value in present]
    return StudyScore(
        bodies=tuple(bodies),
        false_bodies=_false_bodies(localisation, truth, at, present),
        duplicates=len(claimed) - len(set(claimed)),
        merged=_merged(localisation, truth, present),
        sacrum_recognised=_sacrum_recognised(localisation, at, {v: levels[v] for v in present}),
        levels_right=all(body.found and body.named == body.level for body in bodies),
    )


def _score_body(
    localisation: Localisation,
    vertebra: Vertebra | None,
    mask: NDArray[np.bool_],
    level: str,
    direction: NDArray[np.float64],
) -> BodyScore:
    if vertebra is None:
        return BodyScore(level, False, None, 0.0, 0.0, 0.0, float("nan"), None)  # noqa: FBT003
    affine = localisation.affine
    predicted = localisation.labels == vertebra.index
    middle = round(float(np.argwhere(mask).mean(axis=0)[0]))
    central = slice(max(0, middle - CENTRAL_SLICES // 2), middle + CENTRAL_SLICES // 2 + 1)
    true_size = measure_mask(mask, affine, direction)
    return BodyScore(
        level=level,
        found=bool(_iou(predicted, mask) > FOUND_IOU),
        named=vertebra.level,
        dice=_dice(predicted, mask),
        central_dice=_dice(predicted[central], mask[central]),
        volume_ratio=float(predicted.sum() / mask.sum()),
        centroid_error_mm=float(np.linalg.norm(vertebra.centroid_lps_mm - _centroid(mask, affine))),
        height_errors_mm=_height_errors(vertebra.size, true_size),
    )


def measure_mask(
    mask: NDArray[np.bool_], affine: Affine, direction: NDArray[np.float64]
) -> BodySize | None:
    """Size of a mask by the localiser's own measurement.

    The mask's array must be in sagittal order (slices, rows down, columns back).
    """
    places = np.argwhere(mask)
    low = np.maximum(places.min(axis=0) - 3, 0)
    high = places.max(axis=0) + 4
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    placed = affine.copy()
    placed[:3, 3] = to_lps(affine, low)
    return measure(mask[box].astype(np.float32), placed, direction).size


def _height_errors(
    ours: BodySize | None, true: BodySize | None
) -> tuple[float, float, float] | None:
    if ours is None or true is None:
        return None
    return (
        abs(ours.height_anterior_mm - true.height_anterior_mm),
        abs(ours.height_middle_mm - true.height_middle_mm),
        abs(ours.height_posterior_mm - true.height_posterior_mm),
    )


def _false_bodies(
    localisation: Localisation,
    truth: NDArray[np.integer],
    at: Mapping[int, int],
    present: list[int],
) -> int:
    """Predictions on nothing, between the top of the first and the bottom of the last mask."""
    heights = to_lps(localisation.affine, np.argwhere(np.isin(truth, present)))[:, 2]
    low, high = float(heights.min()), float(heights.max())
    false = 0
    for vertebra in localisation.vertebrae:
        inside = low <= float(vertebra.centroid_lps_mm[2]) <= high
        mask = localisation.labels == vertebra.index
        on_truth = float((truth[mask] > 0).mean()) if mask.any() else 0.0
        false += bool(inside and at[vertebra.index] not in present and on_truth < 0.1)
    return false


def _merged(localisation: Localisation, truth: NDArray[np.integer], present: list[int]) -> int:
    sizes = {value: int((truth == value).sum()) for value in present}
    merged = 0
    for vertebra in localisation.vertebrae:
        held = truth[localisation.labels == vertebra.index]
        shares = [(held == value).sum() / sizes[value] for value in present]
        merged += bool(sum(share > MERGED_SHARE for share in shares) > 1)
    return merged


def _sacrum_recognised(
    localisation: Localisation, at: Mapping[int, int], levels: Mapping[int, str]
) -> bool:
    for above, body in zip((None, *localisation.vertebrae), localisation.vertebrae, strict=False):
        if body.level == "S1":
            if "S1" in levels.values():
                return levels.get(at[body.index]) == "S1"
            lumbar = [level for level in levels.values() if level.startswith("L")]
            return above is not None and levels.get(at[above.index]) in lumbar[-1:]
    return False


def _centroid(mask: NDArray[np.bool_], affine: Affine) -> NDArray[np.float64]:
    return to_lps(affine, np.argwhere(mask).mean(axis=0))


def _value_at(truth: NDArray[np.integer], affine: Affine, point: NDArray[np.float64]) -> int:
    index = np.rint(to_index(affine, point)).astype(int)
    inside = bool(((index >= 0) & (index < truth.shape)).all())
    return int(truth[tuple(index)]) if inside else 0


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = int((one | other).sum())
    return float((one & other).sum() / union) if union else 0.0


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    total = int(one.sum() + other.sum())
    return float(2 * (one & other).sum() / total) if total else 0.0
