"""Where a body's own mid-sagittal plane lies: its lateral place, its turn about the upright axis.

Slices are millimetres apart, so no single edge tells. The body's footprint and the canal behind it
are both symmetrical: their middles give the plane, the footprint's second moments the turn, and a
mild wish not to turn holds where neither says much (round thoracic bodies, no canal).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Vertebra
from models.localiser.classes import Structure
from models.morphometry.maps import SpineMaps
from models.morphometry.plane import Array, MidPlane

USUAL_TURN: Final = np.radians(8.0)
"""Standard deviation of the turn of a body against its slices, before anything is measured."""

MIDDLE_PART: Final = 0.25
"""Standard deviation of a measured middle, in slice pitches."""

MOMENT_PART: Final = 0.03
"""Standard deviation of a mixed second moment, as part of the mean of the two others."""

LEAST_CANAL_ML: Final = 0.3
"""Less canal than this behind a body gives no middle."""

REACH_MM: Final = 36.0
"""No voxel of a body is further from its centroid along an axis."""

_MOST_PLACES: Final = 128
"""Columns from front to back of a slice; pixels are at least 1 mm."""

LEAST_COLUMNS: Final = 20
"""A footprint of fewer columns of voxels is no body."""

CANAL_BEHIND_MM: Final = (12.0, 36.0)
"""Where the canal's middle is looked for behind the body's centroid."""

CANAL_HALF_HEIGHT_MM: Final = 8.0
CANAL_HALF_WIDTH_MM: Final = 18.0

_CANAL_CORNERS: Final = np.array(
    [
        [aside, behind, up]
        for aside in (-CANAL_HALF_WIDTH_MM, CANAL_HALF_WIDTH_MM)
        for behind in CANAL_BEHIND_MM
        for up in (-CANAL_HALF_HEIGHT_MM, CANAL_HALF_HEIGHT_MM)
    ]
)


def mid_plane(maps: SpineMaps, vertebra: Vertebra) -> MidPlane | None:
    """Find the mid-sagittal plane of a body.

    Args:
        maps: Of the study.
        vertebra: The body, with its axes.

    Returns:
        The plane; None where the label map hardly shows the body. A body that goes on beyond the
        slices has its middle from the canal alone, and no plane where that is cut too.
    """
    footprint = _footprint(maps, vertebra)
    if len(footprint) < LEAST_COLUMNS:
        return None
    left, back, head = vertebra.axes_lps
    middle = footprint.mean(axis=0)
    across, along = (footprint - middle).T
    mixed = float(np.mean(across * along))
    wide, deep = float(np.mean(across**2)), float(np.mean(along**2))
    pitch = maps.resolution.slice_mm
    # Unknowns: the middle at the centroid, and the tangent of the turn.
    rows: list[tuple[float, float]] = [(0.0, 1.0)]
    seen, deviation = [0.0], [float(USUAL_TURN)]
    canal = _canal_middle(maps, vertebra)
    if maps.cut_sideways(vertebra.index):
        if canal is None:
            return None
    else:
        moment_deviation = MOMENT_PART * (wide + deep) / 2 / max(abs(wide - deep), 1e-6)
        rows += [(1.0, float(middle[1])), (0.0, 1.0)]
        seen += [float(middle[0]), _tangent(mixed, wide, deep)]
        deviation += [MIDDLE_PART * pitch, max(moment_deviation, 0.02)]
    if canal is not None:
        rows.append((1.0, float(canal[1])))
        seen.append(float(canal[0]))
        deviation.append(MIDDLE_PART * pitch)
    weight = 1.0 / np.array(deviation)
    answer = np.linalg.lstsq(np.array(rows) * weight[:, None], np.array(seen) * weight, rcond=None)
    aside, tangent = (float(value) for value in answer[0])
    turned = back + tangent * left
    turned /= np.linalg.norm(turned)
    return MidPlane(
        origin_lps_mm=vertebra.centroid_lps_mm + aside * left,
        axes_lps=np.stack([np.cross(turned, head), turned, head]),
    )


def _tangent(mixed: float, wide: float, deep: float) -> float:
    """How far to the left the body's AP axis runs per mm to the back; the long axis lies across."""
    angle = 0.5 * np.arctan2(2.0 * mixed, wide - deep) if wide > deep else 0.0
    return -float(np.tan(angle))


def _footprint(maps: SpineMaps, vertebra: Vertebra) -> Array:
    """(n, 2) middles (left, back), from the centroid, of the body's columns along its own axis.

    Every column counts once, whatever its height, so a body crushed on one side keeps its middle.
    """
    centre = vertebra.centroid_lps_mm @ maps.inverse[:3, :3].T + maps.inverse[:3, 3]
    reach = REACH_MM * np.linalg.norm(maps.inverse[:3, :3], axis=1)
    low, box = _box(centre - reach, centre + reach, maps.labels.shape)
    # Every second row is enough to fill the columns.
    slices, rows, columns = np.nonzero(maps.labels[box][:, ::2] == vertebra.index)
    local = _local(maps, vertebra, np.stack([slices, 2 * rows, columns], axis=1) + low)[:, :2]
    place = np.clip((local[:, 1] + REACH_MM) / maps.resolution.pixel_mm, 0.0, _MOST_PLACES - 1)
    column = slices * _MOST_PLACES + place.astype(np.intp)
    count = np.bincount(column)
    filled = np.flatnonzero(count)
    sums = [np.bincount(column, weights=local[:, axis])[filled] for axis in (0, 1)]
    return np.asarray(np.stack(sums, axis=1) / count[filled, None])


def _box(
    low: Array, high: Array, shape: tuple[int, ...]
) -> tuple[NDArray[np.intp], tuple[slice, ...]]:
    """First voxel and slices of the box that holds two corners, cut to the volume."""
    first = np.clip(np.floor(low), 0, shape).astype(np.intp)
    last = np.clip(np.ceil(high) + 1, 0, shape).astype(np.intp)
    return first, tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))


def _local(maps: SpineMaps, vertebra: Vertebra, voxels: NDArray[Any]) -> Array:
    """(n, 3) mm to the left, back and head from the centroid, in the body's own axes."""
    turn = maps.affine[:3, :3].T @ vertebra.axes_lps.T
    return voxels @ turn + (maps.affine[:3, 3] - vertebra.centroid_lps_mm) @ vertebra.axes_lps.T


def _canal_middle(maps: SpineMaps, vertebra: Vertebra) -> Array | None:
    """(left, back) of the canal's middle from the body's centroid, in the body's axes, mm."""
    near, far = CANAL_BEHIND_MM
    spots = vertebra.centroid_lps_mm + _CANAL_CORNERS @ vertebra.axes_lps
    index = spots @ maps.inverse[:3, :3].T + maps.inverse[:3, 3]
    low, box = _box(index.min(axis=0), index.max(axis=0), maps.structures.shape)
    voxels = np.argwhere(maps.structures[box] == Structure.CANAL) + low
    last = len(maps.structures) - 1
    if np.isin(voxels[:, 0], (0, last)).any():
        return None  # the canal goes on beyond the slices
    local = _local(maps, vertebra, voxels)
    # The box is upright in the volume: keep what lies behind the body in its own axes.
    kept = (
        (np.abs(local[:, 0]) <= CANAL_HALF_WIDTH_MM)
        & (local[:, 1] >= near)
        & (local[:, 1] <= far)
        & (np.abs(local[:, 2]) <= CANAL_HALF_HEIGHT_MM)
    )
    voxel_ml = abs(float(np.linalg.det(maps.affine[:3, :3]))) / 1000.0
    if kept.sum() * voxel_ml < LEAST_CANAL_ML:
        return None
    return np.asarray(local[kept, :2].mean(axis=0))
