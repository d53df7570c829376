"""Trilinear interpolation in patient space with numpy alone.

Serving has neither scipy nor torch. A crop whose slices are parallel to the series' slices (nearly
always) blends slices first and then gathers the same in-plane neighbours for all of them: 2 ms a
crop instead of 30.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.geometry import Affine, spacing_of

PARALLEL_TOLERANCE: Final = 0.15
"""Largest drift over the wanted grid, in source voxels, at which slices still count as parallel."""


def pooled(
    array: NDArray[np.float32], affine: Affine, pitch_mm: tuple[float, float, float]
) -> tuple[NDArray[np.float32], Affine]:
    """Average neighbouring voxels until the pitch is near, never above, the one wanted.

    Args:
        array: (slice, row, column).
        affine: Index to LPS mm.
        pitch_mm: Pitch wanted on each array axis.

    Returns:
        The averaged array and its affine; the same objects where nothing is to be averaged.
    """
    own = spacing_of(affine).mm
    factors = [
        max(1, min(int(wanted / have + 0.1), size))
        for wanted, have, size in zip(pitch_mm, own, array.shape, strict=True)
    ]
    if factors == [1, 1, 1]:
        return array, affine
    whole = [size // factor for size, factor in zip(array.shape, factors, strict=True)]
    for axis, (size, factor) in enumerate(zip(whole, factors, strict=True)):
        if factor > 1:
            part = np.moveaxis(array, axis, 0)[: size * factor]
            total = part[::factor].astype(np.float32)
            for offset in range(1, factor):
                total += part[offset::factor]
            array = np.moveaxis(total / np.float32(factor), 0, axis)
    change = np.diag([*map(float, factors), 1.0])
    change[:3, 3] = [(factor - 1) / 2 for factor in factors]
    return np.ascontiguousarray(array), affine @ change


def sample_points(
    array: NDArray[np.float32], index: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Trilinear values at fractional indices.

    Args:
        array: (slice, row, column), or with one axis more: of several maps side by side.
        index: (n, 3) fractional indices.

    Returns:
        (n,) or (n, maps) values, those outside taken at the nearest border; (n,) whether a point
        lies inside (half a voxel beyond the outermost centres included).
    """
    maps = array.shape[3:]
    flat = np.ascontiguousarray(array).reshape(-1, *maps)
    strides = (array.shape[1] * array.shape[2], array.shape[2], 1)
    inside = np.ones(len(index), dtype=np.bool_)
    corner = np.zeros(len(index), dtype=np.int64)
    steps, parts = [], []
    for axis, (size, stride) in enumerate(zip(array.shape[:3], strides, strict=True)):
        _, within, low, part = _line(np.ascontiguousarray(index[:, axis]), size)
        inside &= within
        corner += low * stride
        steps.append(stride if size > 1 else 0)
        parts.append(part.reshape(-1, *(1 for _ in maps)))
    planes = []
    for over_slice in (0, steps[0]):
        rows = []
        for over_row in (0, steps[1]):
            first = corner + (over_slice + over_row)
            near = np.take(flat, first, axis=0)
            far = np.take(flat, first + steps[2], axis=0)
            rows.append(near + (far - near) * parts[2])
        planes.append(rows[0] + (rows[1] - rows[0]) * parts[1])
    value = planes[0] + (planes[1] - planes[0]) * parts[0]
    return value.astype(np.float32, copy=False), inside


def resample(
    array: NDArray[np.float32], affine: Affine, grid: Affine, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Interpolate an array on another grid.

    Args:
        array: (slice, row, column).
        affine: Of `array`.
        grid: Affine of the wanted grid.
        shape: Of the wanted grid.

    Returns:
        Values, and whether each voxel lies inside `array`; both of `shape`.
    """
    values, inside = resample_together((array,), affine, grid, shape)
    return values[0], inside


def resample_together(
    arrays: Sequence[NDArray[np.float32]], affine: Affine, grid: Affine, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Interpolate several arrays of one grid on another, as `resample` does one.

    Returns:
        (array, *shape) values, and whether each voxel of `shape` lies inside.
    """
    mapping = np.linalg.inv(affine) @ grid
    # Parallel: moving in plane keeps the source slice, moving by a slice keeps the place in plane.
    drift = max(
        abs(mapping[0, 1]) * shape[1],
        abs(mapping[0, 2]) * shape[2],
        float(np.abs(mapping[1:3, 0]).max()) * shape[0],
    )
    if drift <= PARALLEL_TOLERANCE:
        return _resample_parallel(arrays, mapping, shape)
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = indices.reshape(-1, 3) @ mapping[:3, :3].T + mapping[:3, 3]
    sampled = [sample_points(array, points) for array in arrays]
    values = np.stack([value.reshape(shape) for value, _ in sampled])
    return values, sampled[0][1].reshape(shape)


def _resample_parallel(
    arrays: Sequence[NDArray[np.float32]],
    mapping: NDArray[np.float64],
    shape: tuple[int, int, int],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    size = arrays[0].shape
    middle = (np.array(shape) - 1) / 2.0
    slices, slices_inside, slice_low, slice_part = _line(
        mapping[0, 0] * np.arange(shape[0])
        + mapping[0, 1] * middle[1]
        + mapping[0, 2] * middle[2]
        + mapping[0, 3],
        size[0],
    )
    rows, columns = np.arange(shape[1])[:, None], np.arange(shape[2])
    axes = []
    inside = slices_inside[:, None, None]
    for axis in (1, 2):
        place = (
            mapping[axis, 0] * middle[0]
            + mapping[axis, 1] * rows
            + mapping[axis, 2] * columns
            + mapping[axis, 3]
        )
        high, within, low, part = _line(place.reshape(-1), size[axis])
        axes.append((low, high, part))
        inside = inside & within.reshape(1, shape[1], shape[2])
    box = tuple(slice(int(low.min()), int(high.max()) + 1) for low, high, _ in axes)
    first, last = int(slice_low.min()), int(slices.max()) + 1
    width = box[1].stop - box[1].start
    # (pixel, array and slice): what one pixel needs lies side by side, so that one gather fetches
    # it all. Slices are blended two by two: a matrix product would wake BLAS threads for nothing.
    low, high, part = slice_low - first, slices - first, slice_part[:, None]
    blocks = [array[first:last, box[0], box[1]].reshape(last - first, -1) for array in arrays]
    blended = [
        block[low] * (np.float32(1.0) - part) + block[high] * part
        for block in (block.astype(np.float32, copy=False) for block in blocks)
    ]
    flat = np.ascontiguousarray(np.concatenate(blended).T)
    (row_low, row_high, row_part), (col_low, col_high, col_part) = axes
    above, below = (row_low - box[0].start) * width, (row_high - box[0].start) * width
    front, behind = col_low - box[1].start, col_high - box[1].start
    value = np.take(flat, above + front, axis=0)
    value *= ((1 - row_part) * (1 - col_part))[:, None]
    for corner, weight in (
        (above + behind, (1 - row_part) * col_part),
        (below + front, row_part * (1 - col_part)),
        (below + behind, row_part * col_part),
    ):
        term = np.take(flat, corner, axis=0)
        term *= weight[:, None]
        value += term
    whole = np.ascontiguousarray(value.T).reshape(len(arrays), *shape)
    return whole, np.broadcast_to(inside, shape)


def _line(
    place: NDArray[np.float64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64], NDArray[np.float32]]:
    """Upper neighbour, inside, lower neighbour and weight of the upper one along an axis."""
    inside = (place >= -0.5) & (place <= size - 0.5)
    held = np.clip(place, 0.0, size - 1.0)
    low = np.minimum(held.astype(np.int64), max(size - 2, 0))
    return np.minimum(low + 1, size - 1), inside, low, (held - low).astype(np.float32)
