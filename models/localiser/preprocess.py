"""From a volume to what the network sees, and back: working grid, normalisation, return map.

The working grid has the volume's own slices in sagittal order (thin slices are averaged to about
4 mm), pixels of 1 mm, and a plane padded to a multiple of 32. Everything is separable, so numpy
alone does it: each axis is a short table of taps and weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.geometry import Affine, sagittal_order
from models.volume import Volume, in_sagittal_order, restore

PIXEL_MM: Final = 1.0
"""Pixel pitch of the working grid."""

OFFSET_UNIT_MM: Final = 10.0
"""One unit of the network's offset channels."""

THIN_SLICE_MM: Final = 2.5
"""Stacks with a smaller slice pitch are averaged to about `SLICE_MM`; others keep their slices."""

SLICE_MM: Final = 4.0

PLANE_MULTIPLE: Final = 32
"""Rows and columns of the network's input are multiples of this (its coarsest pixel)."""

LOCAL_MEAN_MM: Final = 50.0
"""Width of the neighbourhood whose mean the second channel is divided by."""

_SAME_PITCH: Final = 1e-4
"""Pitches this close (relative) are the same: nothing is resampled."""

_TINY_SPREAD: Final = 1e-9

_POOL: Final = 8
"""The local mean is computed on blocks of this many pixels: it has no finer detail."""


@dataclass(frozen=True, slots=True)
class Taps:
    """How one axis is resampled: output i is the weighted sum of a few inputs.

    Attributes:
        index: (outputs, taps) input positions.
        weight: (outputs, taps) float32; each row sums to 1.
    """

    index: NDArray[np.intp]
    weight: NDArray[np.float32]

    def apply(self, array: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """Resample `array` along `axis`."""
        shape = [1] * array.ndim
        shape[axis] = len(self.index)
        total: NDArray[np.float32] | None = None
        for tap in range(self.index.shape[1]):
            part = np.take(array, self.index[:, tap], axis=axis)
            part *= self.weight[:, tap].reshape(shape)
            total = part if total is None else np.add(total, part, out=total)
        assert total is not None  # noqa: S101 (a table has at least one tap)
        return total


def linear_taps(inputs: int, outputs: int, start: float, step: float) -> Taps:
    """Table for linear resampling, with a wider (antialiasing) triangle when it shrinks.

    Args:
        inputs: Samples along the axis.
        outputs: Samples wanted.
        start: Input position (in samples) of output 0.
        step: Input samples per output sample.

    Returns:
        The table; positions outside take the edge sample.
    """
    reach = max(step, 1.0)
    centre = start + step * np.arange(outputs)
    count = int(np.ceil(2 * reach)) + 1
    index = np.floor(centre - reach).astype(np.intp)[:, None] + 1 + np.arange(count)
    weight = np.clip(1.0 - np.abs(index - centre[:, None]) / reach, 0.0, None)
    weight /= weight.sum(axis=1, keepdims=True)
    # A sampled triangle's balance is off by up to a tenth of a pixel: tilt it until it is right.
    mean = (weight * index).sum(axis=1, keepdims=True)
    spread = (weight * (index - mean) ** 2).sum(axis=1, keepdims=True)
    lean = (centre[:, None] - mean) / np.maximum(spread, _TINY_SPREAD)
    weight *= 1.0 + np.where(spread > _TINY_SPREAD, lean, 0.0) * (index - mean)
    used = weight.any(axis=0)
    clipped = np.clip(index[:, used], 0, inputs - 1)
    return Taps(clipped, weight[:, used].astype(np.float32))


def _resized(inputs: int, pitch_mm: float, wanted_mm: float) -> tuple[int, float, float]:
    """(outputs, start, step) of an axis whose field of view is kept centred."""
    step = wanted_mm / pitch_mm
    if abs(step - 1.0) < _SAME_PITCH:
        return inputs, 0.0, 1.0
    outputs = max(1, int(np.ceil(inputs / step - 1e-6)))
    start = (inputs - 1) / 2 - step * (outputs - 1) / 2
    return outputs, start, step


@dataclass(frozen=True, slots=True)
class WorkingGrid:
    """Where the working grid lies, and how to go there and back.

    Attributes:
        shape: (slices, rows, columns) without padding.
        affine: Index of the working grid to LPS mm.
        sagittal_shape: Shape of the volume in sagittal order, before resampling.
        stored_affine: Affine of the volume as stored.
        start: Position of working voxel 0 on each axis of the sagittal-ordered volume.
        step: Voxels of that volume per working voxel.
    """

    shape: tuple[int, int, int]
    affine: Affine
    sagittal_shape: tuple[int, int, int]
    stored_affine: Affine
    start: tuple[float, float, float]
    step: tuple[float, float, float]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """(3,) pitch of the working grid, (slice, row, column)."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def coarser(self, side: int) -> WorkingGrid:
        """The grid whose pixels are squares of `side` by `side` pixels of this one."""
        if side == 1:
            return self
        to_this = np.diag([1.0, side, side, 1.0])
        to_this[1:3, 3] = (side - 1) / 2
        slices, rows, columns = self.shape
        start, step = np.array(self.start), np.array(self.step)
        first = start + step * to_this[:3, 3]
        wide = step * np.diag(to_this)[:3]
        return replace(
            self,
            shape=(slices, -(-rows // side), -(-columns // side)),
            affine=self.affine @ to_this,
            start=(float(first[0]), float(first[1]), float(first[2])),
            step=(float(wide[0]), float(wide[1]), float(wide[2])),
        )

    def bring_in(self, sagittal: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample an array of the sagittal-ordered volume to the working grid."""
        for axis in range(3):
            if self.step[axis] != 1.0 or self.start[axis] != 0.0:
                taps = linear_taps(
                    self.sagittal_shape[axis], self.shape[axis], self.start[axis], self.step[axis]
                )
                sagittal = taps.apply(sagittal, axis)
        return sagittal

    def bring_back(
        self, values: NDArray[np.float32], corner: tuple[int, int, int] = (0, 0, 0)
    ) -> tuple[NDArray[np.float32], tuple[slice, slice, slice]]:
        """Resample a block of the working grid to the sagittal-ordered volume.

        Args:
            values: (slices, rows, columns) block; outside it the values are taken to be zero,
                so the caller leaves a margin.
            corner: Working index of the block's first voxel.

        Returns:
            The resampled block and where it lies in the sagittal-ordered volume.
        """
        where = []
        for axis in range(3):
            start, step = self.start[axis], self.step[axis]
            last = corner[axis] + values.shape[axis] - 1
            low = max(0, int(np.ceil(start + step * (corner[axis] - 0.5))))
            high = int(np.floor(start + step * (last + 0.5)))
            high = max(low, min(self.sagittal_shape[axis] - 1, high))
            where.append(slice(low, high + 1))
            if step != 1.0 or start != 0.0:
                first = (low - start) / step - corner[axis]
                taps = linear_taps(values.shape[axis], high - low + 1, first, 1.0 / step)
                values = taps.apply(values, axis)
        return values, (where[0], where[1], where[2])

    def restore(self, sagittal: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring an array of the sagittal-ordered volume to the volume's stored order."""
        axes, flips = sagittal_order(self.stored_affine)
        return np.ascontiguousarray(restore(sagittal, axes, flips))


def finer(
    values: NDArray[np.float32], corner: tuple[int, int, int], side: int, shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], tuple[int, int, int]]:
    """Bring a block of `WorkingGrid.coarser(side)` to that grid, linear between its values.

    Args:
        values: (…, slices, rows, columns).
        corner: Coarse index of the block's first voxel.
        side: Pixels along the side of a square.
        shape: (slices, rows, columns) of the finer grid, which the block must not leave.

    Returns:
        The finer block and the index of its first voxel.
    """
    if side == 1:
        return values, corner
    first = (corner[0], corner[1] * side, corner[2] * side)
    for axis in (1, 2):
        outputs = shape[axis] - first[axis]
        values = _between(values, values.ndim - 3 + axis, side, outputs)
    return values, first


def _between(values: NDArray[np.float32], axis: int, side: int, most: int) -> NDArray[np.float32]:
    """`side` samples for each along an axis, at most `most`; the ends go on outside."""
    wide = [(0, 0)] * values.ndim
    wide[axis] = (1, 1)
    padded = np.pad(values, wide, mode="edge")
    size = values.shape[axis]
    before = (slice(None),) * axis
    rises = np.diff(padded, axis=axis)
    total = np.empty((*values.shape[:axis], size * side, *values.shape[axis + 1 :]), np.float32)
    for phase in range(side):
        at = (phase + 0.5) / side - 0.5
        low = 1 + int(np.floor(at))
        # Whole slices are added: a gather by a table of taps takes longer.
        out = total[*before, phase::side]
        np.multiply(rises[*before, low : low + size], np.float32(at + 1 - low), out=out)
        out += padded[*before, low : low + size]
    return total[*before, :most]


def working_grid(volume: Volume, sagittal: Volume) -> WorkingGrid:
    """Lay out the working grid of a volume.

    Args:
        volume: As stored.
        sagittal: The same volume in sagittal order.
    """
    pitch = sagittal.spacing.mm
    slice_mm = pitch[0]
    if slice_mm < THIN_SLICE_MM:
        slice_mm *= max(1, round(SLICE_MM / slice_mm))
    wanted = (slice_mm, PIXEL_MM, PIXEL_MM)
    layout = [_resized(*axis) for axis in zip(sagittal.shape, pitch, wanted, strict=True)]
    start = np.array([axis[1] for axis in layout])
    step = np.array([axis[2] for axis in layout])
    to_sagittal = np.eye(4)
    to_sagittal[:3, :3] = np.diag(step)
    to_sagittal[:3, 3] = start
    return WorkingGrid(
        shape=(layout[0][0], layout[1][0], layout[2][0]),
        affine=sagittal.affine @ to_sagittal,
        sagittal_shape=sagittal.shape,
        stored_affine=volume.affine,
        start=(float(start[0]), float(start[1]), float(start[2])),
        step=(float(step[0]), float(step[1]), float(step[2])),
    )


def local_mean(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over about 50 mm inside each slice of an image with `PIXEL_MM` pixels.

    Three box means approach a Gaussian; blocks of pixels stand for the pixels, and the mean is
    over the pixels that exist, so image edges do not darken it.
    """
    rows, columns = image.shape[1:]
    padded = np.pad(image, ((0, 0), (0, -rows % _POOL), (0, -columns % _POOL)))
    # Rows first: whole rows are added at a time, and an eighth is left for the columns.
    few_rows = padded.reshape(len(padded), -1, _POOL, padded.shape[2]).sum(2)
    blocks = few_rows.reshape(*few_rows.shape[:2], -1, _POOL).sum(3)
    down, right = (_smoothing(size) for size in blocks.shape[1:])
    count = np.outer(down @ _pixels_per_block(rows), right @ _pixels_per_block(columns))
    mean = (down @ blocks @ right) / count
    start = -(_POOL - 1) / 2 / _POOL
    # Columns first: along them a gather is slow, and there are few rows yet.
    for axis, size in ((2, columns), (1, rows)):
        mean = linear_taps(mean.shape[axis], size, start, 1.0 / _POOL).apply(mean, axis)
    return np.asarray(mean)


def _smoothing(size: int) -> NDArray[np.float32]:
    """(size, size) sums over neighbouring blocks, three times over; nothing lies outside."""
    half = max(1, round(LOCAL_MEAN_MM / PIXEL_MM / _POOL / 4))
    place = np.arange(size)
    box = np.abs(place[:, None] - place) <= half
    return np.asarray(np.linalg.matrix_power(box.astype(np.float32), 3))


def _pixels_per_block(pixels: int) -> NDArray[np.float32]:
    """How many pixels of an axis lie in each of its blocks."""
    starts = np.arange(0, pixels, _POOL)
    return np.minimum(pixels - starts, _POOL).astype(np.float32)


def network_image(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The network's two channels, padded: invariant to gain, offset and slow shading.

    Args:
        image: (slices, rows, columns) on the working grid, any units.

    Returns:
        (1, 2, slices, H, W) float32, H and W multiples of `PLANE_MULTIPLE`, zero-padded below
        and to the right.
    """
    sample = image[:, ::3, ::3]
    low, high = (float(v) for v in np.percentile(sample, (1.0, 99.5)))
    scale = 1.0 / max(high - low, 1e-6)
    normal = image - np.float32(low)
    normal *= np.float32(scale)
    np.clip(normal, 0.0, 1.2, out=normal)
    relative = local_mean(normal)
    # The floor keeps air, where the mean is noise, from looking like tissue.
    relative += np.float32(0.05)
    np.divide(normal, relative, out=relative)
    np.clip(relative, 0.0, 4.0, out=relative)
    relative *= np.float32(0.5)
    slices, rows, columns = image.shape
    padded = np.zeros(
        (1, 2, slices, rows + -rows % PLANE_MULTIPLE, columns + -columns % PLANE_MULTIPLE),
        np.float32,
    )
    padded[0, 0, :, :rows, :columns] = normal
    padded[0, 1, :, :rows, :columns] = relative
    return padded


def prepare(volume: Volume) -> tuple[WorkingGrid, NDArray[np.float32]]:
    """Bring a volume to the working grid.

    Returns:
        The grid, and the image (slices, rows, columns) on it in the volume's units.

    Raises:
        GeometryError: The volume's axes do not follow three patient axes.
    """
    sagittal = in_sagittal_order(volume)
    grid = working_grid(volume, sagittal)
    return grid, grid.bring_in(sagittal.array)
