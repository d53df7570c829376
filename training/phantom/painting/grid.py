"""The fine grid that is painted, and the boxes of it that a solid can reach.

A grid follows the slices of the scan it is painted for: any geometry can be cut from one scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.geometry import Affine
from training.phantom.painting.kernels import Maps, Patch, jit, noise_lattice
from training.phantom.painting.tissues import TissueGrid

Vector = NDArray[np.float64]

FINE_IN_PLANE_MM: Final = 0.8
COARSEST_IN_PLANE_MM: Final = 1.0
FINEST_IN_PLANE_MM: Final = 0.7
FINE_PER_SLICE: Final = 3
MARGIN_MM: Final = 4.0
"""Painted beyond the first and last voxel, for point spread, motion and chemical shift."""


@dataclass(frozen=True)
class FineGrid:
    """Where the fine voxels lie: shape (slice, row, column) in sagittal order, index to LPS mm."""

    shape: tuple[int, int, int]
    affine: Affine

    @property
    def pitch_mm(self) -> Vector:
        """(3,) distance of neighbouring voxels along slices, rows and columns."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @cached_property
    def into_index(self) -> Affine:
        """(4, 4) LPS mm to fine index."""
        return np.asarray(np.linalg.inv(self.affine), dtype=np.float64)

    def box_around(
        self, middles: Vector, axes: Vector, half_mm: Vector
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last+1 index of blocks, (..., 3) each, not yet held inside the grid.

        Args:
            middles: (..., 3) LPS mm: of the blocks.
            axes: (..., 3, 3) rows: left, back, head of the blocks.
            half_mm: (..., 3) half-extents along these axes.
        """
        into = self.into_index
        index = middles @ into[:3, :3].T + into[:3, 3]
        half = (half_mm[..., None, :] @ np.abs(axes @ into[:3, :3].T))[..., 0, :]
        first = np.floor(index - half).astype(np.int64)
        return first, np.ceil(index + half).astype(np.int64) + 1


def fine_grid(
    affine: Affine,
    shape: tuple[int, int, int],
    thickness_mm: float,
    *,
    in_plane_mm: float | tuple[float, float] = FINE_IN_PLANE_MM,
    per_slice: int = FINE_PER_SLICE,
) -> FineGrid:
    """The fine grid under a stack of slices, a margin around it included.

    Args:
        affine: Acquired index to LPS mm; the fine grid takes its axes.
        shape: Acquired (slices, rows, columns).
        thickness_mm: Of a slice; the outermost slices are covered whole.
        in_plane_mm: Pitch of fine rows and columns; one number for both.
        per_slice: Fine slices per acquired slice pitch.
    """
    pitch = np.linalg.norm(affine[:3, :3], axis=0)
    fine = np.array([pitch[0] / per_slice, 0.0, 0.0])
    fine[1:] = in_plane_mm
    margin = np.array([0.75 * thickness_mm, MARGIN_MM, MARGIN_MM])
    extent = (np.array(shape) - 1) * pitch + 2 * margin
    count = np.ceil(extent / fine).astype(int) + 1
    axes = affine[:3, :3] / pitch
    placed = np.eye(4)
    placed[:3, :3] = axes * fine
    middle = affine[:3, 3] + affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    placed[:3, 3] = middle - placed[:3, :3] @ ((count - 1) / 2)
    return FineGrid((int(count[0]), int(count[1]), int(count[2])), placed)


@dataclass(frozen=True, slots=True)
class Canvas:
    """Maps being painted and where they lie."""

    grid: FineGrid
    maps: Maps

    @classmethod
    def blank(cls, grid: FineGrid) -> Canvas:
        """Air everywhere."""
        tissue, fat, water, structure, body, mark = (
            np.zeros(grid.shape, dtype=np.uint8) for _ in range(6)
        )
        return cls(grid, Maps(tissue, fat, water, structure, body, mark, noise_lattice()))

    def patch(self, centre: Vector, axes: Vector, reach_mm: float | Vector) -> Patch | None:
        """The voxels near a solid, or None when it lies outside the grid.

        Args:
            centre: (3,) LPS mm: origin of the solid's frame.
            axes: (3, 3) rows: left, back, head of the solid.
            reach_mm: Half-extent along each own axis, (3,) or one number.
        """
        half = np.zeros(3)
        half += reach_mm
        box, frame = np.empty(6, dtype=np.int64), np.empty((3, 4))
        grid = self.grid
        if block_box(grid.into_index, grid.shape, (centre, axes, half), box):
            frame_of(grid.affine, centre, axes, frame)
            return Patch(box, frame)
        return None

    def everywhere(self) -> Patch:
        """All voxels, in patient coordinates (LPS mm)."""
        box = np.array([[0, n] for n in self.grid.shape], dtype=np.int64).ravel()
        return Patch(box, self.into(np.zeros(3), np.eye(3)))

    def into(self, centre: Vector, axes: Vector) -> Vector:
        """(3, 4) fine index (slice, row, column, 1) to a solid's own frame, mm."""
        frame = np.empty((3, 4))
        frame_of(self.grid.affine, centre, axes, frame)
        return frame

    def finish(self) -> TissueGrid:
        """The maps as an immutable grid."""
        maps = self.maps
        return TissueGrid(
            maps.tissue,
            maps.fat,
            maps.water,
            maps.structure,
            maps.body,
            self.grid.affine,
            maps.mark,
        )


@jit
def block_box(
    into: Affine,
    shape: tuple[int, int, int],
    block: tuple[Vector, Vector, Vector],
    box: NDArray[np.int64],
) -> bool:
    """Find the voxels of a grid that a block reaches; compiled, as solids ask by the hundred.

    Args:
        into: LPS mm to fine index.
        shape: Of the grid.
        block: (3,) middle, LPS mm; (3, 3) axes; (3,) half-extents along them, mm.
        box: (6,) written: first and last+1 slice, row and column, held inside the grid.

    Returns:
        Whether there are any.
    """
    middle, axes, half = block
    some = True
    for axis in range(3):
        at, reach = into[axis, 3], 0.0
        for c in range(3):
            at += into[axis, c] * middle[c]
        for own in range(3):
            part = 0.0
            for c in range(3):
                part += axes[own, c] * into[axis, c]
            reach += half[own] * abs(part)
        box[2 * axis] = max(int(np.floor(at - reach)), 0)
        box[2 * axis + 1] = min(int(np.ceil(at + reach)) + 1, shape[axis])
        some = some and box[2 * axis] < box[2 * axis + 1]
    return some


@jit
def frame_of(affine: Affine, centre: Vector, axes: Vector, frame: Vector) -> None:
    """Write the (3, 4) way from fine index to a solid's own frame, mm."""
    for own in range(3):
        for axis in range(4):
            total = 0.0
            for c in range(3):
                place = affine[c, axis]
                if axis == 3:
                    place -= centre[c]
                total += axes[own, c] * place
            frame[own, axis] = total
