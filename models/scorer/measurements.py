"""Signs that are measured, not learned: signal against neighbours, heights, the posterior wall.

They stand beside the network's answers so that a reader can check one against the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Localisation, Vertebra
from models.geometry import to_index, to_lps
from models.localiser.classes import Structure
from models.scorer.boxes import Box, body_voxels
from models.scorer.crops import CHANNELS, CROP_SHAPE, Channel, LevelCrops
from models.scorer.distribution import OWN_BODY
from models.scorer.normalisation import DARK
from models.scorer.quantiles import quantiles
from models.scorer.resampling import sample_points
from models.volume import Role

GENANT_PERCENT: Final = (20.0, 25.0, 40.0)
"""Height loss from which a deformity is mild, moderate, severe (Genant 1993)."""

REACH: Final = 3
"""Bodies up to this many places away serve as reference for heights and signal."""

NEAR_MIDDLE_MM: Final = 7.0
"""Half the width of the part of a body whose posterior wall is measured; pedicles lie outside."""


@dataclass(frozen=True, slots=True)
class HeightLoss:
    """Height lost against the expected height, in percent (negative: taller than expected)."""

    anterior: float
    middle: float
    posterior: float

    @property
    def percent(self) -> float:
        """The largest loss, at least 0: what Genant's grades are made of."""
        return max(0.0, self.anterior, self.middle, self.posterior)


def genant_grade(loss_percent: float) -> int:
    """0 none, 1 mild, 2 moderate, 3 severe."""
    return sum(loss_percent >= threshold for threshold in GENANT_PERCENT)


def height_losses(
    vertebrae: Sequence[Vertebra],
    intact: Sequence[bool],
    reference_mm: Mapping[str, tuple[float, float, float]],
) -> list[HeightLoss | None]:
    """Compare each body's heights with what its intact neighbours lead one to expect.

    Every intact neighbour gives one scale: its heights over those of a mean spine at its level.
    The expected height is the mean spine's at this level times the median scale, so the growth
    of bodies downwards and the wedge of L5 are no loss.

    Args:
        vertebrae: Cranial to caudal.
        intact: Whether each may serve as reference.
        reference_mm: Level to mean (anterior, middle, posterior) heights. A level it does not
            know, and an unnamed body, is taken to be like its neighbours.

    Returns:
        One per vertebra; None for bodies without a size and for the sacrum.
    """
    heights = [_heights(vertebra) for vertebra in vertebrae]
    expected = [reference_mm.get(vertebra.level or "", None) for vertebra in vertebrae]
    losses: list[HeightLoss | None] = []
    for level, (vertebra, own) in enumerate(zip(vertebrae, heights, strict=True)):
        if own is None or vertebra.level == "S1":
            losses.append(None)
            continue
        scales = []
        for other in range(max(0, level - REACH), min(len(vertebrae), level + REACH + 1)):
            theirs = heights[other]
            if other != level and intact[other] and theirs is not None:
                scales.append(_scale(theirs, expected[level], expected[other]))
        profile = np.array(expected[level] or (1.0, 1.0, 1.0))
        # With no intact neighbour the body's own best-kept height is all there is to go by.
        scale = float(np.median(scales)) if scales else float((own / profile).max())
        if expected[level] is None:
            profile = np.ones(3)
        loss = 100.0 * (1.0 - own / (profile * scale))
        losses.append(HeightLoss(*(float(value) for value in loss)))
    return losses


def _heights(vertebra: Vertebra) -> NDArray[np.float64] | None:
    if vertebra.size is None or vertebra.level == "S1":
        return None
    size = vertebra.size
    return np.array([size.height_anterior_mm, size.height_middle_mm, size.height_posterior_mm])


def _scale(
    theirs: NDArray[np.float64],
    at_level: tuple[float, float, float] | None,
    at_other: tuple[float, float, float] | None,
) -> float:
    """A neighbour's size against the mean spine, or its mean height where levels are unknown."""
    if at_level is None or at_other is None:
        return float(theirs.mean() / (np.mean(at_level) if at_level else 1.0))
    return float(np.median(theirs / np.array(at_other)))


def signal_ratios(crops: LevelCrops) -> dict[str, NDArray[np.float64]]:
    """Each body's median signal over the median of its neighbours', field taken out.

    Returns:
        Channel name to (level,) ratios, NaN where the body or all its neighbours have no voxel.
    """
    ratios = {}
    for name in crops.channels:
        image = crops.array[:, CHANNELS.index(name)]
        medians = np.array([_own_median(image[i], crops.array[i, -2]) for i in range(len(image))])
        ratios[name] = np.array(
            [
                medians[i] / _median_or_nan(_others(medians, i))
                for i in range(len(medians))
            ]
        )  # fmt: skip
    return ratios


def _own_median(log_ratio: NDArray[np.float32], own: NDArray[np.float32]) -> float:
    inside = own > OWN_BODY
    values = log_ratio[inside]
    return _to_ratio(quantiles(values, (0.5,))[0]) if len(values) >= 20 else float("nan")


def _to_ratio(log_ratio: float) -> float:
    return float(np.exp(log_ratio) * (1.0 + DARK) - DARK)


def _others(values: NDArray[np.float64], level: int) -> NDArray[np.float64]:
    near = np.abs(np.arange(len(values)) - level)
    chosen = values[(near > 0) & (near <= REACH)]
    return np.asarray(chosen[np.isfinite(chosen)])


def _median_or_nan(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if values.size else float("nan")


def ratio_to_discs(
    crops: LevelCrops, localisation: Localisation, channel: str
) -> NDArray[np.float64]:
    """Body signal over that of the discs in its crop: marrow darker than discs on T1 is suspect.

    Returns:
        (level,) ratios, NaN where no disc is marked.
    """
    ratios = np.full(len(crops.array), np.nan)
    if channel not in crops.channels:
        return ratios
    for level, grid in enumerate(crops.affines):
        discs = _structure_on(localisation, Structure.DISC, grid)
        image = crops.array[level, CHANNELS.index(channel)]
        body = _own_median(image, crops.array[level, -2])
        if discs.sum() >= 20:
            ratios[level] = body / _to_ratio(float(np.median(image[discs])))
    return ratios


def _structure_on(
    localisation: Localisation, structure: Structure, grid: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Crop voxels whose nearest voxel of the reference grid is of a structure."""
    mapping = np.linalg.inv(localisation.affine) @ grid
    places = [np.arange(size) for size in CROP_SHAPE]
    inside = np.ones(CROP_SHAPE, dtype=np.bool_)
    flat = np.zeros(CROP_SHAPE, dtype=np.int64)
    for axis, size in enumerate(localisation.structures.shape):
        along = [mapping[axis, a] * places[a] for a in range(3)]
        away = along[0][:, None, None] + along[1][:, None] + along[2] + mapping[axis, 3]
        voxel = np.rint(away).astype(np.int64)
        inside &= (voxel >= 0) & (voxel < size)
        flat = flat * size + np.clip(voxel, 0, size - 1)
    found = np.take(localisation.structures.reshape(-1), flat) == structure
    return np.asarray(found & inside)


def fat_fractions(crops: LevelCrops) -> NDArray[np.float64]:
    """Median fat / (water + fat) of each body where a Dixon pair exists.

    Weighted by T1 and T2 of the sequence, so a signal fraction and not a proton density one.

    Returns:
        (level,) in [0, 1], NaN without a pair.
    """
    fractions = np.full(len(crops.array), np.nan)
    water, fat = crops.channels.get("fluid"), crops.channels.get("dixon_fat")
    if water is None or fat is None or water.volume.role is not Role.DIXON_WATER:
        return fractions
    for level, grid in enumerate(crops.affines):
        inside = np.argwhere(crops.array[level, -2] > OWN_BODY)
        if len(inside) < 20:
            continue
        points = to_lps(grid, inside)
        w, f = (_signal(channel, points) for channel in (water, fat))
        total = w + f
        if np.any(total > 0):
            fractions[level] = float(np.median(f[total > 0] / total[total > 0]))
    return fractions


def _signal(channel: Channel, points_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    index = to_index(channel.volume.affine, points_lps_mm)
    value, _ = sample_points(channel.volume.array, index)
    return np.maximum(value, 0.0).astype(np.float64)


def posterior_walls_mm(localisation: Localisation, boxes: Mapping[int, Box]) -> NDArray[np.float64]:
    """How far each posterior wall bulges (+) or hollows (-) from its chord, in mm.

    Measured within 7 mm of the body's middle, between 15 and 85 % of its height.

    Args:
        localisation: Of the study.
        boxes: Of `body_boxes` of its labels.

    Returns:
        (level,), NaN when a body has too few voxels there.
    """
    walls = np.full(len(localisation.vertebrae), np.nan)
    for level, vertebra in enumerate(localisation.vertebrae):
        if vertebra.index in boxes:
            voxels = body_voxels(localisation.labels, vertebra.index, boxes[vertebra.index])
            # Index to the body's own axes in one step, sideways first: most voxels lie aside.
            turned = vertebra.axes_lps @ localisation.affine[:3, :3]
            start = vertebra.axes_lps @ (localisation.affine[:3, 3] - vertebra.centroid_lps_mm)
            near = np.abs(voxels @ turned[0] + start[0]) <= NEAR_MIDDLE_MM
            walls[level] = _bulge_mm(voxels[near] @ turned.T + start)
    return walls


def _bulge_mm(local: NDArray[np.float64]) -> float:
    """Largest signed distance of the posterior wall from its chord; `local` in the body's axes."""
    if len(local) < 50:
        return float("nan")
    low, high = quantiles(local[:, 2], (0.02, 0.98))
    part = (local[:, 2] - low) / max(high - low, 1e-6)
    centres = np.linspace(0.15, 0.85, 8)
    wall = []
    for centre in centres:
        near = local[np.abs(part - centre) <= 0.06, 1]
        if near.size < 3:
            return float("nan")
        # Single voxels stick out of a mask.
        wall.append(quantiles(near, (0.97,))[0])
    chord = np.interp(centres, centres[[0, -1]], [wall[0], wall[-1]])
    away = np.asarray(wall) - chord
    return float(away[np.argmax(np.abs(away))])
