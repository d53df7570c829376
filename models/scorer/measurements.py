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
from models.scorer.boxes import Box, body_voxels
from models.scorer.crops import CHANNELS, Channel, LevelCrops
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


FEWEST_VOXELS: Final = 20
"""Voxels of a crop that a body must have to be measured."""

VOID: Final = 0.35
"""Multiple of normal marrow under which a voxel shows no signal to speak of."""

_VOID_LOG: Final = float(np.log((VOID + DARK) / (1.0 + DARK)))


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
        medians = np.array([own_median(image[i], crops.array[i, -2]) for i in range(len(image))])
        ratios[name] = ratio_to_others(medians)
    return ratios


def ratio_to_others(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(level,) each value over the median of those of its neighbours; NaN without one."""
    return np.array(
        [value / _median_or_nan(_others(values, level)) for level, value in enumerate(values)]
    )


def own_median(log_ratio: NDArray[np.float32], own: NDArray[np.float32]) -> float:
    """Median of a body in multiples of normal marrow; NaN with fewer than 20 voxels."""
    values = log_ratio[own > OWN_BODY]
    enough = len(values) >= FEWEST_VOXELS
    return to_ratio(quantiles(values, (0.5,))[0]) if enough else float("nan")


def void_fractions(crops: NDArray[np.float32]) -> NDArray[np.float64]:
    """Part of each body that is dark in every series: cement, gas, metal or dense bone.

    Args:
        crops: (level, len(CHANNELS), slice, row, column); a channel of zeros was not acquired.

    Returns:
        (level,), NaN without a series or with fewer than 20 voxels of the body.
    """
    found = np.full(len(crops), np.nan)
    for level, crop in enumerate(crops):
        own = crop[-2] > OWN_BODY
        shown = [image[own] for image in crop[:-2] if image.any()]
        if shown and own.sum() >= FEWEST_VOXELS:
            found[level] = float((np.max(shown, axis=0) < _VOID_LOG).mean())
    return found


def to_ratio(log_ratio: float) -> float:
    """The reverse of `models.scorer.normalisation.to_log_ratio`."""
    return float(np.exp(log_ratio) * (1.0 + DARK) - DARK)


def _others(values: NDArray[np.float64], level: int) -> NDArray[np.float64]:
    near = np.abs(np.arange(len(values)) - level)
    chosen = values[(near > 0) & (near <= REACH)]
    return np.asarray(chosen[np.isfinite(chosen)])


def _median_or_nan(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if values.size else float("nan")


@dataclass(frozen=True, slots=True)
class DixonSigns:
    """What a Dixon pair shows of each body; NaN without a pair.

    Attributes:
        fat_fraction: (level,) median fat / (water + fat).
        opposed_ratio: (level,) median |water - fat| / (water + fat): the signal of an opposed-phase
            image over that of an in-phase one, but for T2*. Fatty marrow loses signal, replaced
            marrow does not.
    """

    fat_fraction: NDArray[np.float64]
    opposed_ratio: NDArray[np.float64]


def dixon_signs(crops: LevelCrops) -> DixonSigns:
    """Measure each body's fat where a Dixon pair exists.

    Weighted by T1 and T2 of the sequence, so signal fractions and not proton density ones.
    """
    signs = DixonSigns(*(np.full(len(crops.array), np.nan) for _ in range(2)))
    water, fat = crops.channels.get("fluid"), crops.channels.get("dixon_fat")
    if water is None or fat is None or water.volume.role is not Role.DIXON_WATER:
        return signs
    for level, grid in enumerate(crops.affines):
        inside = np.argwhere(crops.array[level, -2] > OWN_BODY)
        if len(inside) < FEWEST_VOXELS:
            continue
        points = to_lps(grid, inside)
        w, f = (signal_at(channel, points) for channel in (water, fat))
        total = w + f
        lit = total > 0
        if lit.any():
            signs.fat_fraction[level] = float(np.median(f[lit] / total[lit]))
            signs.opposed_ratio[level] = float(np.median(np.abs(w - f)[lit] / total[lit]))
    return signs


def signal_at(channel: Channel, points_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) signal of a series, as pooled for cropping; outside it the nearest border's."""
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
