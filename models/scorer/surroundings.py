"""What lies around a body, measured: its discs, its arch and the muscle of the back.

Discs that shine between two wet bodies speak for infection, a wet and fat-free arch for a tumour,
and muscle is what marrow is held against where every body is diseased.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Localisation
from models.geometry import Affine, to_index, to_lps
from models.localiser.classes import Structure
from models.scorer.crops import CHANNELS, CROP_PITCH_MM, CROP_SHAPE, LevelCrops
from models.scorer.measurements import own_median, ratio_to_others, signal_at, to_ratio
from models.scorer.quantiles import quantiles
from models.scorer.resampling import PARALLEL_TOLERANCE

FEWEST: Final = 20
"""Voxels that a structure must have in a crop to be measured."""

ARCH_WITHIN_MM: Final = 14.0
"""An arch belongs to the body whose centre is at most this far above or below."""

MUSCLE_BOX_MM: Final = ((12.0, 26.0), (46.0, 62.0), (-9.0, 9.0))
"""Where erector spinae and multifidus lie: to either side, behind and above the body's centre."""

MUSCLE_STEP_MM: Final = 3.0
MUSCLE_QUANTILE: Final = 0.35
"""Of the box's signal: streaks of fat and the edge of the arch lie above or are few."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Signs around each body, in multiples of normal marrow unless said; NaN where not measured.

    Attributes:
        disc: (level,) median fluid-sensitive signal of the discs beside the body.
        disc_to_others: (level,) the same over that of the neighbouring levels' discs.
        arch: (level,) median fluid-sensitive signal of the arch and pedicles.
        arch_t1: (level,) their median T1 signal.
        t1_to_discs: (level,) T1 signal of the body over that of its discs.
        fluid_to_muscle, t1_to_muscle: (level,) signal of the body over that of the muscle.
    """

    disc: NDArray[np.float64]
    disc_to_others: NDArray[np.float64]
    arch: NDArray[np.float64]
    arch_t1: NDArray[np.float64]
    t1_to_discs: NDArray[np.float64]
    fluid_to_muscle: NDArray[np.float64]
    t1_to_muscle: NDArray[np.float64]


def measure_surroundings(crops: LevelCrops, localisation: Localisation) -> Surroundings:
    """Measure discs, arches and muscle of every level."""
    count = len(crops.array)
    disc, arch, arch_t1, t1_disc = (np.full(count, np.nan) for _ in range(4))
    fluid = CHANNELS.index("fluid") if "fluid" in crops.channels else None
    t1 = CHANNELS.index("t1") if "t1" in crops.channels else None
    for level, grid in enumerate(crops.affines):
        structures = structures_on(localisation, grid)
        discs = structures == Structure.DISC
        arches = _arch(structures)
        if fluid is not None:
            disc[level] = _median(crops.array[level, fluid], discs)
            arch[level] = _median(crops.array[level, fluid], arches)
        if t1 is not None:
            arch_t1[level] = _median(crops.array[level, t1], arches)
            t1_disc[level] = _median(crops.array[level, t1], discs)
    return Surroundings(
        disc=disc,
        disc_to_others=ratio_to_others(disc),
        arch=arch,
        arch_t1=arch_t1,
        t1_to_discs=_bodies(crops, "t1") / t1_disc,
        fluid_to_muscle=_bodies(crops, "fluid") / muscle(crops, localisation, "fluid"),
        t1_to_muscle=_bodies(crops, "t1") / muscle(crops, localisation, "t1"),
    )


def structures_on(localisation: Localisation, grid: Affine) -> NDArray[np.uint8]:
    """(*CROP_SHAPE,) structure of the reference voxel nearest to each crop voxel; 0 outside."""
    mapping = np.linalg.inv(localisation.affine) @ grid
    along = [
        (np.arange(size) - (size - 1) / 2).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, size in enumerate(CROP_SHAPE)
    ]
    middle = to_lps(mapping, (np.array(CROP_SHAPE) - 1) / 2)
    inside, flat = np.True_, np.int64(0)
    for axis, size in enumerate(localisation.structures.shape):
        # Crops turn in plane only, so most steps of a crop move along some axes of the reference
        # and by next to nothing along the others: left out, the sums stay small until the last.
        steps = [
            mapping[axis, a] * along[a]
            for a in range(3)
            if abs(mapping[axis, a]) * CROP_SHAPE[a] > PARALLEL_TOLERANCE
        ]
        voxel = np.rint(sum(steps, start=middle[axis])).astype(np.int64)
        inside = inside & (voxel >= 0) & (voxel < size)
        flat = flat * size + np.clip(voxel, 0, size - 1)
    found = np.take(localisation.structures.reshape(-1), flat) * inside
    return np.ascontiguousarray(np.broadcast_to(found, CROP_SHAPE))


def _arch(structures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Bone behind the canal at the height of the crop's own body."""
    rows = np.arange(CROP_SHAPE[1]) - (CROP_SHAPE[1] - 1) / 2
    near = np.abs(rows) * CROP_PITCH_MM[1] <= ARCH_WITHIN_MM
    return np.asarray((structures == Structure.POSTERIOR_ELEMENTS) & near[:, None])


def _median(log_ratio: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    values = log_ratio[where]
    return to_ratio(quantiles(values, (0.5,))[0]) if len(values) >= FEWEST else float("nan")


def _bodies(crops: LevelCrops, channel: str) -> NDArray[np.float64]:
    if channel not in crops.channels:
        return np.full(len(crops.array), np.nan)
    images = crops.array[:, CHANNELS.index(channel)]
    return np.array([own_median(image, crops.array[i, -2]) for i, image in enumerate(images)])


def muscle(crops: LevelCrops, localisation: Localisation, channel: str) -> NDArray[np.float64]:
    """Signal of the muscle behind each body.

    The coil's field is taken out as far as marrow tells it, which over the 5 cm to the muscle is a
    guess on the bright side.

    Returns:
        (level,) multiples of normal marrow, NaN where the series does not reach it.
    """
    found = np.full(len(crops.array), np.nan)
    series = crops.channels.get(channel)
    if series is None:
        return found
    centres = np.array([each.centroid_lps_mm for each in localisation.vertebrae])
    axes = np.array([each.axes_lps for each in localisation.vertebrae])
    points = centres[:, None] + _box_points() @ axes
    index = to_index(series.volume.affine, points)
    inside = ((index >= -0.5) & (index <= np.array(series.volume.shape) - 0.5)).all(axis=2)
    kept = inside & _may_be_muscle(localisation, points)
    ratio = signal_at(series, points[kept]) / np.exp(series.field.log_at(points[kept]))
    of_level = np.split(ratio, np.cumsum(kept.sum(axis=1))[:-1])
    for level, values in enumerate(of_level):
        if len(values) >= FEWEST:
            value = quantiles(values, (MUSCLE_QUANTILE,))[0]
            found[level] = value if value > 0 else np.nan
    return found


def _may_be_muscle(localisation: Localisation, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether (..., 3) LPS mm are no bone, canal or disc, or where the localiser did not see."""
    place = np.rint(to_index(localisation.affine, points)).astype(np.int64)
    shape = localisation.structures.shape
    known = ((place >= 0) & (place < shape)).all(axis=-1)
    held = np.clip(place, 0, np.array(shape) - 1)
    found = localisation.structures[tuple(np.moveaxis(held, -1, 0))]
    return np.asarray(~known | (found == Structure.BACKGROUND))


def _box_points() -> NDArray[np.float64]:
    """(n, 3) left, back, head mm of the muscle boxes on both sides."""
    along = [np.arange(low, high + 0.1, MUSCLE_STEP_MM) for low, high in MUSCLE_BOX_MM]
    one = np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.concatenate([one, one * (-1.0, 1.0, 1.0)])
