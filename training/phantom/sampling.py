"""From fine voxels to acquired voxels: separable sampling matrices along slices, rows and columns.

A slice profile, an in-plane point spread with its Gibbs ringing, a scanner's smoothing filter, a
sub-voxel shift and the interpolation to the reconstructed matrix are all linear and separable, so
they are folded into three small dense matrices, and acquiring a volume is three matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from models.errors import GeometryError
from models.geometry import Affine

Matrix = NDArray[np.float32]
Positions = NDArray[np.float64]
"""Centres of output voxels along one axis, in fine voxels."""

SIDE_LOBES: Final = 8
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
class Sampler:
    """Three matrices that turn a fine map into an acquired one; each is (count, fine count)."""

    slices: Matrix
    rows: Matrix
    columns: Matrix

    def __call__(self, fine: NDArray[np.generic]) -> NDArray[np.float32]:
        """Sample a (slice, row, column) fine map; float32 of the acquired shape."""
        flat = np.asarray(fine, dtype=np.float32).reshape(fine.shape[0], -1)
        thick = (self.slices @ flat).reshape(-1, *fine.shape[1:])
        return np.asarray(np.matmul(self.rows, thick) @ self.columns.T)


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


def slice_profile(positions: Positions, count: int, thickness: float, edge: float) -> Matrix:
    """Soft-edged box of an excited slice: (slices, fine slices); weights of a full slice sum to 1.

    Args:
        positions: Slice centres, in fine slices.
        count: How many fine slices there are.
        thickness: Full width at half maximum, in fine slices.
        edge: Standard deviation of the edges as a part of the thickness.
    """
    parts = 8
    offsets = (np.arange(parts) + 0.5) / parts - 0.5
    distance = np.arange(count)[None, :, None] + offsets - positions[:, None, None]
    softness = np.sqrt(2.0) * max(edge * thickness, 1e-3)
    inside = erf((distance + thickness / 2) / softness) - erf((distance - thickness / 2) / softness)
    return np.asarray(inside.mean(axis=2) / (2.0 * thickness), dtype=np.float32)


def point_spread(positions: Positions, count: int, resolution: float, window: float) -> Matrix:
    """Band-limited sampling of one in-plane axis: (count, fine count).

    Args:
        positions: Voxel centres, in fine voxels.
        count: How many fine voxels there are.
        resolution: Acquired resolution, in fine voxels.
        window: k-space filter: 0 rings like a bare transform, 0.46 (Hamming) hardly rings.
    """
    resolution = max(resolution, FINEST)
    margin = int(np.ceil(SIDE_LOBES * resolution))
    index = np.arange(-margin, count + margin)
    distance = (index[None, :] - positions[:, None]) / resolution
    spread = (1.0 - window) * np.sinc(distance)
    spread += window / 2 * (np.sinc(distance - 1.0) + np.sinc(distance + 1.0))
    spread *= np.cos(np.pi / 2 * np.clip(distance / SIDE_LOBES, -1.0, 1.0)) ** 2
    spread /= spread.sum(axis=1, keepdims=True)
    return spread[:, margin : margin + count].astype(np.float32)


def box(positions: Positions, count: int, width: float) -> Matrix:
    """Plain averaging over an acquired voxel's width (in fine voxels): for label fractions."""
    index = np.arange(count)[None, :]
    centre = positions[:, None]
    upper = np.minimum(index + 0.5, centre + width / 2)
    lower = np.maximum(index - 0.5, centre - width / 2)
    return np.asarray(np.clip(upper - lower, 0.0, None) / width, dtype=np.float32)


def filtered(matrix: Matrix, strength: float) -> Matrix:
    """A sampling matrix with a three-point scanner filter behind it.

    Args:
        matrix: (count, fine count).
        strength: Below 0 smooths, above 0 sharpens.
    """
    if abs(strength) < 0.02 or len(matrix) < 3:
        return matrix
    side = -0.25 * float(np.clip(strength, -1.0, 0.8))
    padded = np.concatenate([matrix[:1], matrix, matrix[-1:]])
    return np.asarray((1 - 2 * side) * matrix + side * (padded[:-2] + padded[2:]))


def nearest(positions: Positions, count: int) -> NDArray[np.intp]:
    """Index of the fine voxel nearest to each acquired voxel, held at the edges."""
    return np.clip(np.rint(positions), 0, count - 1).astype(np.intp)


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
