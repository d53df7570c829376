"""The fine grid being painted, and the random fields and solids that paint it.

A `Canvas` holds the maps of a `TissueGrid` while they are written. Solids are evaluated only inside
their bounding boxes: a `Patch` is such a box with its points in the solid's own frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.geometry import Affine, to_index
from training.phantom.tissues import TissueGrid

Field = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class FineGrid:
    """Where the fine voxels lie: shape (slice, row, column) and index to LPS mm."""

    shape: tuple[int, int, int]
    affine: Affine

    def axes_lps(self, box: Box | None = None) -> tuple[Field, Field, Field]:
        """LPS x, y, z of every voxel of the grid (or of a box of it), float32."""
        ranges = [np.arange(n, dtype=np.float64) for n in self.shape]
        if box is not None:
            ranges = [r[b] for r, b in zip(ranges, box, strict=True)]
        k, i, j = ranges
        matrix = self.affine
        return (
            _plane(matrix, 0, k, i, j),
            _plane(matrix, 1, k, i, j),
            _plane(matrix, 2, k, i, j),
        )


def _plane(
    matrix: Affine,
    row: int,
    k: NDArray[np.float64],
    i: NDArray[np.float64],
    j: NDArray[np.float64],
) -> Field:
    along = matrix[row, 0] * k[:, None, None] + matrix[row, 3]
    across = matrix[row, 1] * i[None, :, None] + matrix[row, 2] * j[None, None, :]
    return np.asarray(along + across, dtype=np.float32)


@dataclass(slots=True)
class Canvas:
    """The maps while they are painted; `finish` freezes them."""

    grid: FineGrid
    tissue: NDArray[np.uint8]
    fat_percent: NDArray[np.uint8]
    free_water: NDArray[np.uint8]
    structure: NDArray[np.uint8]
    body: NDArray[np.uint8]

    @classmethod
    def blank(cls, grid: FineGrid) -> Canvas:
        """Air everywhere."""
        return cls(grid, *(np.zeros(grid.shape, dtype=np.uint8) for _ in range(5)))

    def patch(
        self,
        centre: NDArray[np.float64],
        axes: NDArray[np.float64],
        reach_mm: float | NDArray[np.float64],
    ) -> Patch | None:
        """Points near a solid in its own frame, or None when it lies outside the grid.

        Args:
            centre: (3,) LPS mm.
            axes: (3, 3) rows: left, back, head of the solid.
            reach_mm: Half-extent along each own axis, (3,) or one number.
        """
        half = np.broadcast_to(np.asarray(reach_mm, dtype=np.float64), (3,))
        box = self._box(centre, axes, -half, half)
        if box is None:
            return None
        into = np.eye(4)
        into[:3, :3] = axes @ self.grid.affine[:3, :3]
        into[:3, 3] = axes @ (self.grid.affine[:3, 3] - centre)
        ranges = [np.arange(b.start, b.stop, dtype=np.float64) for b in box]
        x, y, z = (_plane(into, row, *ranges) for row in range(3))
        return Patch(self, box, x, y, z, centre, axes)

    def _box(
        self,
        centre: NDArray[np.float64],
        axes: NDArray[np.float64],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
    ) -> Box | None:
        """Voxels around the block low..high of a solid's frame, or None outside the grid."""
        ends = np.stack([low, high])
        corners = np.array(
            [[ends[a, 0], ends[b, 1], ends[c, 2]] for a, b, c in np.ndindex(2, 2, 2)]
        )
        index = to_index(self.grid.affine, centre + corners @ axes)
        first = np.maximum(np.floor(index.min(axis=0)).astype(int), 0)
        last = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 1, self.grid.shape)
        if np.any(first >= last):
            return None
        return (slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2]))

    def finish(self) -> TissueGrid:
        """The maps as an immutable grid."""
        return TissueGrid(
            tissue=self.tissue,
            fat_percent=self.fat_percent,
            free_water=self.free_water,
            structure=self.structure,
            body=self.body,
            affine=self.grid.affine,
        )


@dataclass(slots=True)
class Patch:
    """A box of the canvas; x, y, z in the solid's frame (left, back, head), mm."""

    canvas: Canvas
    box: Box
    x: Field
    y: Field
    z: Field
    centre: NDArray[np.float64]
    axes: NDArray[np.float64]

    def window(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> Box | None:
        """The part of this patch's arrays around the block low..high of its frame."""
        wanted = self.canvas._box(self.centre, self.axes, low, high)
        if wanted is None:
            return None
        inner = [
            slice(max(w.start, b.start) - b.start, min(w.stop, b.stop) - b.start)
            for w, b in zip(wanted, self.box, strict=True)
        ]
        return None if any(s.start >= s.stop for s in inner) else (inner[0], inner[1], inner[2])

    @property
    def tissue(self) -> NDArray[np.uint8]:
        """View of the canvas' tissue."""
        return self.canvas.tissue[self.box]

    @property
    def fat(self) -> NDArray[np.uint8]:
        """View of the canvas' fat percent."""
        return self.canvas.fat_percent[self.box]

    @property
    def water(self) -> NDArray[np.uint8]:
        """View of the canvas' free water."""
        return self.canvas.free_water[self.box]

    @property
    def structure(self) -> NDArray[np.uint8]:
        """View of the canvas' structure truth."""
        return self.canvas.structure[self.box]

    @property
    def body(self) -> NDArray[np.uint8]:
        """View of the canvas' body index."""
        return self.canvas.body[self.box]

    def paint(
        self,
        where: Mask,
        tissue: int,
        *,
        fat: int | NDArray[np.uint8] = 0,
        water: int | NDArray[np.uint8] = 0,
        structure: int | None = None,
        body: int | None = None,
    ) -> None:
        """Write a tissue with its state where `where`; arrays are indexed by it."""
        self.tissue[where] = tissue
        self.fat[where] = fat if np.isscalar(fat) else np.asarray(fat)[where]
        self.water[where] = water if np.isscalar(water) else np.asarray(water)[where]
        if structure is not None:
            self.structure[where] = structure
        if body is not None:
            self.body[where] = body


def smooth_field(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    correlation_mm: float,
    rng: np.random.Generator,
) -> Field:
    """A random field of about zero mean and unit variance with a correlation length.

    Made on a coarse lattice and spread by separable cubic weights: three small matrix products
    instead of a filter over the whole grid.
    """
    coarse = [
        max(4, int(np.ceil(n * mm / correlation_mm)) + 4)
        for n, mm in zip(shape, spacing_mm, strict=True)
    ]
    out = rng.standard_normal(coarse).astype(np.float32)
    for axis, (n, mm) in enumerate(zip(shape, spacing_mm, strict=True)):
        weights = _cubic_weights(n, mm / correlation_mm, coarse[axis], float(rng.random()))
        out = np.moveaxis(np.tensordot(weights, out, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(out / max(float(out.std()), 1e-6))


def _cubic_weights(n: int, step: float, lattice: int, shift: float) -> Field:
    position = np.arange(n) * step + shift + 1.0
    distance = np.abs(position[:, None] - np.arange(lattice)[None, :])
    inner = (4 - 6 * distance**2 + 3 * distance**3) / 6
    outer = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.asarray(np.where(distance < 1, inner, outer), dtype=np.float32)


def rounded_max(first: Field, second: Field, radius: float) -> Field:
    """Signed distance to the intersection of two solids, its edge rounded by `radius` mm."""
    a = first + radius
    b = second + radius
    outside = np.hypot(np.maximum(a, 0), np.maximum(b, 0))
    inside = np.minimum(np.maximum(a, b), 0)
    return np.asarray(outside + inside - radius)


@dataclass(frozen=True, slots=True)
class Capsule:
    """A stretched capsule in a patch's frame, mm.

    `radii` is its half-thickness along x, y and z.
    """

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    radii: tuple[float, float, float]


FAR_MM = 99.0
"""Distance given to points too far from a solid to be worth evaluating."""


def distance_to(patch: Patch, solids: list[Capsule], margin: float = 4.0) -> Field:
    """Signed distance (mm, approximate) to the union of capsules; `FAR_MM` beyond the margin."""
    out = np.full(patch.x.shape, FAR_MM, dtype=np.float32)
    for solid in solids:
        reach = np.array(solid.radii) + margin
        low = np.minimum(solid.start, solid.end) - reach
        window = patch.window(low, np.maximum(solid.start, solid.end) + reach)
        if window is not None:
            near = _capsule_distance(patch, window, solid)
            out[window] = np.minimum(out[window], near)
    return out


def _capsule_distance(patch: Patch, window: Box, solid: Capsule) -> Field:
    scale = np.array(solid.radii, dtype=np.float32)
    a = (solid.start / scale).astype(np.float32)
    along = (solid.end / scale).astype(np.float32) - a
    px = patch.x[window] / scale[0] - a[0]
    py = patch.y[window] / scale[1] - a[1]
    pz = patch.z[window] / scale[2] - a[2]
    length = float(along @ along)
    if length > 0:
        t = np.clip((px * along[0] + py * along[1] + pz * along[2]) / np.float32(length), 0, 1)
        px, py, pz = px - t * along[0], py - t * along[1], pz - t * along[2]
    return np.asarray((np.sqrt(px * px + py * py + pz * pz) - 1.0) * scale.min())


def ellipsoid(
    patch: Patch, centre: NDArray[np.float64], radii: tuple[float, float, float]
) -> Field:
    """Signed distance (mm, approximate) to an ellipsoid in the patch's frame."""
    return distance_to(patch, [Capsule(centre, centre, radii)], margin=16.0)
