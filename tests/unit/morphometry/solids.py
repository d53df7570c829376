"""Vertebrae of known geometry, voxelised into oblique stacks as the localiser would label them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.findings import Anchor, Coverage, LevelName, Localisation, Vertebra
from models.geometry import Affine, to_lps
from models.localiser.bodies import measure
from models.localiser.classes import Structure

Array = NDArray[np.float64]

WITHIN = np.random.default_rng(0).uniform(-0.5, 0.5, (5, 3))
"""Places in a voxel at which a body is asked for; the rest is asked for at its centre."""

BODY_MM, AROUND_MM = 32.0, 40.0
"""How far from its centre a body, and what belongs to it, reaches."""


def turned(degrees: Sequence[float]) -> Array:
    """(3, 3) rows left, back, head turned about x (lean), y (tilt) and z (turn)."""
    axes = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        axes = turn @ axes
    return axes.T


@dataclass(frozen=True)
class Solid:
    """A body by its front, middle and back height; (left, back, head) mm from its centre.

    Attributes:
        heights: Anterior, middle and posterior, at the rims; a parabola runs through them.
        rounding: Exponent of the superellipse that the footprint is; 2 an ellipse, 20 a box.
        left_loss: Part of the height lost at the left edge, none at the right edge.
        bulge: Of the posterior wall at mid height, + into the canal.
        axes: (3, 3) rows to the left, back and head.
    """

    centre: Array = field(default_factory=lambda: np.zeros(3))
    heights: tuple[float, float, float] = (26.0, 26.0, 26.0)
    depth: float = 34.0
    width: float = 44.0
    rounding: float = 20.0
    left_loss: float = 0.0
    bulge: float = 0.0
    axes: Array = field(default_factory=lambda: np.eye(3))
    canal_ap: float = 16.0
    pedicles: bool = True

    def local(self, points: Array) -> Array:
        """LPS mm to (left, back, head) from the centre."""
        return np.asarray((points - self.centre) @ self.axes.T)

    def height(self, back: Array | float) -> Array:
        """Distance between the endplates at a place of the depth, in the middle."""
        place = np.asarray(back) / self.depth * 2.0
        front, middle, behind = self.heights
        return np.asarray(
            middle + (behind - front) / 2 * place + ((front + behind) / 2 - middle) * place**2
        )

    def body(self, points: Array) -> NDArray[np.bool_]:
        """Whether LPS points lie in the body."""
        left, back, head = np.moveaxis(self.local(points), -1, 0)
        kept = 1.0 - self.left_loss * (left / self.width + 0.5)
        half = self.height(back) * kept / 2
        # A curved wall pushes what lies behind the middle with it.
        arch = self.bulge * (
            1.0 - np.clip(np.abs(head) / (self.height(self.depth / 2) / 2), 0, 1) ** 2
        )
        stretched = np.where(back > 0, back * (self.depth / 2) / (self.depth / 2 + arch), back)
        footprint = (
            np.abs(left / (self.width / 2)) ** self.rounding
            + np.abs(stretched / (self.depth / 2)) ** self.rounding
        )
        return np.asarray((footprint <= 1.0) & (np.abs(head) <= half))

    def canal(self, points: Array, narrowed: float = 0.0) -> NDArray[np.bool_]:
        """Whether LPS points lie in the canal, from half a disc below to half a disc above."""
        left, back, head = np.moveaxis(self.local(points), -1, 0)
        front = self.depth / 2 + 1.0 + narrowed * (np.abs(head) < 8.0)
        behind = self.depth / 2 + 1.0 + self.canal_ap
        return np.asarray(
            (np.abs(left) <= 11.0) & (back >= front) & (back <= behind) & (np.abs(head) <= 18.0)
        )

    def arch(self, points: Array) -> NDArray[np.bool_]:
        """Whether LPS points lie in one of two pedicles, 14 mm high in the upper part."""
        left, back, head = np.moveaxis(self.local(points), -1, 0)
        beside = (np.abs(left) >= 12.0) & (np.abs(left) <= 21.0)
        behind = (back > self.depth / 2 - 1.0) & (back <= self.depth / 2 + 14.0)
        return np.asarray(beside & behind & (head >= -3.0) & (head <= 11.0) & self.pedicles)

    @property
    def target(self) -> Array:
        """(3,) LPS: 29 % of the depth behind the front, half-way between the endplates."""
        behind_front = 0.29 * (self.depth + self.bulge)
        return np.asarray(self.centre + (behind_front - self.depth / 2) * self.axes[1])


@dataclass(frozen=True)
class Stack:
    """A sagittal stack: storage axes (of slice, row, column), which of them run backwards."""

    spacing: tuple[float, float, float] = (4.0, 1.0, 0.8)
    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    order: tuple[int, int, int] = (0, 1, 2)
    backwards: tuple[bool, bool, bool] = (False, False, False)
    shape: tuple[int, int, int] = (15, 72, 106)
    middle: tuple[float, float, float] = (1.3, 9.0, 0.4)

    @property
    def affine(self) -> Affine:
        """Index of the stored array to LPS mm."""
        base = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]]) @ turned(self.degrees)
        steps = base * np.array(self.spacing)[:, None]
        steps = steps * np.where(self.backwards, -1.0, 1.0)[:, None]
        affine = np.eye(4)
        affine[:3, :3] = steps[list(self.order)].T
        centre = (np.array(self.stored_shape) - 1) / 2
        affine[:3, 3] = np.array(self.middle) - affine[:3, :3] @ centre
        return affine

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """As stored."""
        first, second, third = (self.shape[axis] for axis in self.order)
        return first, second, third


def localised(
    solids: Sequence[Solid],
    stack: Stack,
    *,
    narrowed: Sequence[float] | None = None,
    names: Sequence[str] = ("T12", "L1", "L2", "L3", "L4"),
    partial: Sequence[int] = (),
) -> Localisation:
    """Label the solids, cranial to caudal, and measure them as the localiser does."""
    shape, affine = stack.stored_shape, stack.affine
    labels = np.zeros(shape, np.uint8)
    structures = np.zeros(shape, np.uint8)
    narrow = list(narrowed or [0.0] * len(solids))
    found = []
    for index, (solid, less) in enumerate(zip(solids, narrow, strict=True), start=1):
        where, points = _voxels(solid, shape, affine, AROUND_MM)
        structures[where][solid.arch(points)] = Structure.POSTERIOR_ELEMENTS
        structures[where][solid.canal(points, less)] = Structure.CANAL
        where, points = _voxels(solid, shape, affine, BODY_MM)
        inside = [solid.body(points + affine[:3, :3] @ away) for away in WITHIN]
        occupancy = np.mean(inside, axis=0)
        structures[where][occupancy > 0.5] = Structure.BODY
        labels[where][occupancy > 0.5] = index
        low = np.array([part.start for part in where])
        found.append(_vertebra(index, names[index - 1], solid, occupancy, low, stack))
        if index in partial:
            found[-1] = Vertebra(
                index, found[-1].name, (), Coverage.PARTIAL, found[-1].centroid_lps_mm,
                found[-1].axes_lps, None, 0.9,
            )  # fmt: skip
    return Localisation(labels, affine, tuple(found), Anchor.SACRUM, structures)


def _voxels(
    solid: Solid, shape: tuple[int, int, int], affine: Affine, reach_mm: float
) -> tuple[tuple[slice, ...], Array]:
    """A block around a solid, and (i, j, k, 3) LPS mm of its voxels."""
    inverse: Affine = np.asarray(np.linalg.inv(affine), dtype=np.float64)
    centre = to_lps(inverse, solid.centre)
    reach = reach_mm * np.linalg.norm(inverse[:3, :3], axis=1)
    low = np.clip(np.floor(centre - reach), 0, shape).astype(int)
    high = np.clip(np.ceil(centre + reach), 0, shape).astype(int)
    sides = [np.arange(a, b, dtype=np.float64) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1)
    where = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return where, to_lps(affine, grid)


def _vertebra(
    index: int, name: str, solid: Solid, occupancy: Array, low: NDArray[np.int_], stack: Stack
) -> Vertebra:
    """Measured by the localiser's own function, in sagittal order."""
    axes = tuple(int(axis) for axis in np.argsort(stack.order))
    turn = np.transpose(occupancy, axes)
    affine = np.eye(4)
    start = low.astype(np.float64)
    for new, old in enumerate(axes):
        sign = -1.0 if stack.backwards[new] else 1.0
        affine[:3, new] = stack.affine[:3, old] * sign
        if sign < 0:
            start[old] += occupancy.shape[old] - 1
            turn = np.flip(turn, new)
    affine[:3, 3] = to_lps(stack.affine, start)
    # The chain's direction is only a hint: a few degrees off.
    hint = solid.axes[2] + 0.04 * solid.axes[1]
    measured = measure(np.ascontiguousarray(turn, np.float32), affine, hint / np.linalg.norm(hint))
    return Vertebra(
        index, LevelName(name, 0.95), (), Coverage.COMPLETE, measured.centroid_lps_mm,
        measured.axes_lps, measured.size, 0.99,
    )  # fmt: skip


def column(middle: Solid, pitch_mm: float = 36.0) -> list[Solid]:
    """A body between two whole ones, in a straight line."""
    step = middle.axes[2] * pitch_mm
    return [
        Solid(centre=middle.centre + step, axes=middle.axes),
        middle,
        Solid(centre=middle.centre - step, axes=middle.axes),
    ]
