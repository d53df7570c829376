"""From fine voxels to acquired voxels: separable band matrices along slices, rows and columns.

A slice profile, an in-plane point spread with its Gibbs ringing, motion blur, a scanner's filter,
a sub-voxel shift and the interpolation to the reconstructed matrix are all linear and separable, so
they are folded into three narrow matrices, and acquiring a volume is three short sums per voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from models.errors import GeometryError
from models.geometry import Affine
from training.phantom.scanner.kernels import resample

Positions = NDArray[np.float64]
"""Centres of output voxels along one axis, in fine voxels."""

SIDE_LOBES: Final = 6
"""Side lobes of the point spread that are kept on each side."""

FINEST: Final = 1.15
"""Point spread of at least this many fine voxels, or the stairs of the fine grid would show."""


@dataclass(frozen=True, slots=True)
class SliceGeometry:
    """Where the acquired voxels lie: (slices, rows, columns), index to LPS mm, slice thickness."""

    shape: tuple[int, int, int]
    affine: Affine
    thickness_mm: float


@dataclass(frozen=True, slots=True)
class Band:
    """A matrix whose rows are nearly all zero.

    Attributes:
        start: (outputs,) int64 first input of each output.
        weights: (outputs, taps) float32 of the inputs from there on.
    """

    start: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def parts(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Start and weights, as the kernels take them."""
        return self.start, self.weights

    def dense(self, count: int) -> NDArray[np.float32]:
        """The (outputs, count) matrix."""
        matrix = np.zeros((len(self.start), count), dtype=np.float32)
        at = self.start[:, None] + np.arange(self.weights.shape[1])
        np.put_along_axis(matrix, at, self.weights, axis=1)
        return matrix


@dataclass(frozen=True, slots=True)
class Sampler:
    """Three bands that turn a fine map into an acquired one."""

    slices: Band
    rows: Band
    columns: Band

    def __call__(self, fine: NDArray[np.generic]) -> NDArray[np.float32]:
        """Sample a (slice, row, column) fine map; float32 of the acquired shape."""
        flat = np.asarray(fine, dtype=np.float32).reshape(fine.shape[0], -1)
        thick = (self.slices.dense(fine.shape[0]) @ flat).reshape(-1, *fine.shape[1:])
        return self.in_plane(thick)

    def in_plane(self, thick: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sample rows and columns of slices that are already mixed."""
        shape = (len(thick), len(self.rows.start), len(self.columns.start))
        out = np.empty(shape, dtype=np.float32)
        resample(thick, self.rows.parts, self.columns.parts, out)
        return out


def axis_positions(
    fine: Affine, geometry: Affine, shape: tuple[int, int, int]
) -> tuple[Positions, Positions, Positions]:
    """Centres of acquired voxels in fine voxels, per axis.

    Raises:
        GeometryError: The two grids do not share their axes.
    """
    mapping = np.linalg.inv(fine) @ geometry
    scale = np.diag(mapping)[:3]
    if np.abs(mapping[:3, :3] - np.diag(scale)).max() > 1e-4 or scale.min() <= 0:
        raise GeometryError("the slices do not follow the axes of the fine grid")
    centres = [mapping[axis, 3] + scale[axis] * np.arange(shape[axis]) for axis in range(3)]
    return centres[0], centres[1], centres[2]


def slice_profile(positions: Positions, count: int, thickness: float, edge: float) -> Band:
    """Soft-edged box of an excited slice, held at the edges; weights of a slice sum to 1.

    Args:
        positions: Slice centres, in fine slices.
        count: How many fine slices there are.
        thickness: Full width at half maximum, in fine slices.
        edge: Standard deviation of the edges as a part of the thickness.
    """
    parts = 8
    offsets = (np.arange(parts) + 0.5) / parts - 0.5
    index = _taps(positions, thickness / 2 * (1.0 + 5.0 * edge) + 1.0)
    distance = index[:, :, None] + offsets - positions[:, None, None]
    softness = np.sqrt(2.0) * max(edge * thickness, 1e-3)
    inside = erf((distance + thickness / 2) / softness) - erf((distance - thickness / 2) / softness)
    weights = inside.mean(axis=2)
    return _held(index, weights / weights.sum(axis=1, keepdims=True), count)


def point_spread(positions: Positions, count: int, resolution: float, window: float) -> Band:
    """Band-limited sampling of one in-plane axis, held at the edges; weights sum to 1.

    Args:
        positions: Voxel centres, in fine voxels.
        count: How many fine voxels there are.
        resolution: Acquired resolution, in fine voxels.
        window: k-space filter: 0 rings like a bare transform, 0.46 (Hamming) hardly rings.
    """
    resolution = max(resolution, FINEST)
    index = _taps(positions, SIDE_LOBES * resolution)
    distance = (index - positions[:, None]) / resolution
    spread = (1.0 - window) * np.sinc(distance)
    spread += window / 2 * (np.sinc(distance - 1.0) + np.sinc(distance + 1.0))
    spread *= np.cos(np.pi / 2 * np.clip(distance / SIDE_LOBES, -1.0, 1.0)) ** 2
    return _held(index, spread / spread.sum(axis=1, keepdims=True), count)


def stretched(few: int, many: int) -> Band:
    """Linear interpolation of `few` inputs onto `many` outputs, first and last in their places."""
    at = np.linspace(0.0, few - 1.0, many)
    index = np.floor(at).astype(np.int64)[:, None] + np.arange(2)
    return _held(index, 1.0 - np.abs(at[:, None] - index), few)


def box(positions: Positions, count: int, width: float) -> Band:
    """Plain averaging over an acquired voxel's width (in fine voxels): for label fractions.

    What lies beyond the fine grid counts as nothing: weights there sum to less than 1.
    """
    index = _taps(positions, width / 2 + 0.5)
    centre = positions[:, None]
    upper = np.minimum(index + 0.5, centre + width / 2)
    lower = np.maximum(index - 0.5, centre - width / 2)
    weights = np.clip(upper - lower, 0.0, None) / width
    return _held(index, np.where((index >= 0) & (index < count), weights, 0.0), count)


def filtered(band: Band, strength: float) -> Band:
    """A sampling band with a three-point scanner filter behind it.

    Args:
        band: Of evenly spaced outputs.
        strength: Below 0 smooths, above 0 sharpens.
    """
    if abs(strength) < 0.02 or len(band.start) < 3:
        return band
    side = -0.25 * float(np.clip(strength, -1.0, 0.8))
    return combined(band, {-1: side, 0: 1.0 - 2.0 * side, 1: side})


def combined(band: Band, shares: dict[int, float]) -> Band:
    """Weighted sum of a band's outputs and their neighbours, held at the edges.

    Args:
        band: Of evenly spaced outputs.
        shares: Distance of the neighbour in outputs to its weight.
    """
    outputs = np.arange(len(band.start))
    sources = {step: np.clip(outputs + step, 0, outputs[-1]) for step in shares}
    starts = np.stack([band.start[source] for source in sources.values()])
    first = starts.min(axis=0)
    reach = int((starts.max(axis=0) - first).max()) + band.weights.shape[1]
    total = np.zeros((len(first), reach), dtype=np.float32)
    taps = np.arange(band.weights.shape[1])
    for (step, share), start in zip(shares.items(), starts, strict=True):
        at = (start - first)[:, None] + taps
        add = np.take_along_axis(total, at, axis=1)
        np.put_along_axis(total, at, add + np.float32(share) * band.weights[sources[step]], axis=1)
    return _inside(first, total, int((band.start + band.weights.shape[1]).max()))


def nearest(positions: Positions, count: int) -> NDArray[np.int64]:
    """Index of the fine voxel nearest to each acquired voxel, held at the edges."""
    return np.clip(np.rint(positions), 0, count - 1).astype(np.int64)


def label_sampler(fine: Affine, shape: tuple[int, ...], geometry: SliceGeometry) -> Sampler:
    """Box averaging from a fine grid of a shape onto acquired voxels, for fractions of labels."""
    positions = axis_positions(fine, geometry.affine, geometry.shape)
    pitch = np.linalg.norm(fine[:3, :3], axis=0)
    step = np.linalg.norm(geometry.affine[:3, :3], axis=0) / pitch
    return Sampler(
        box(positions[0], shape[0], geometry.thickness_mm / pitch[0]),
        box(positions[1], shape[1], max(float(step[1]), 1.0)),
        box(positions[2], shape[2], max(float(step[2]), 1.0)),
    )


def _taps(positions: Positions, reach: float) -> NDArray[np.int64]:
    """(outputs, taps) inputs within a reach of each position."""
    first = np.ceil(positions - reach).astype(np.int64)
    return np.asarray(first[:, None] + np.arange(int(np.floor(2 * reach)) + 1))


def _held(index: NDArray[np.int64], weights: NDArray[np.float64], count: int) -> Band:
    """A band whose inputs beyond the grid are taken from its edge."""
    taps = min(index.shape[1], count)
    start = np.clip(index[:, 0], 0, count - taps)
    at = np.clip(index, 0, count - 1) - start[:, None]
    held = np.zeros((len(index), taps))
    np.add.at(held, (np.arange(len(index))[:, None], at), weights)
    return Band(start, held.astype(np.float32))


def _inside(first: NDArray[np.int64], weights: NDArray[np.float32], count: int) -> Band:
    """Shift starts so that no tap lies beyond `count` inputs."""
    taps = weights.shape[1]
    if taps > count:
        padded = np.zeros((len(first), count + taps), dtype=np.float32)
        np.put_along_axis(padded, first[:, None] + np.arange(taps), weights, axis=1)
        return Band(np.zeros_like(first), padded[:, :count])
    over = np.clip(first + taps - count, 0, None)
    at = np.arange(taps)[None, :] - over[:, None]
    moved = np.where(at >= 0, np.take_along_axis(weights, np.clip(at, 0, None), axis=1), 0.0)
    return Band(first - over, moved.astype(np.float32))
