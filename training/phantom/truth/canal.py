"""The canal's AP diameters, measured on the shapes that bound it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.morphometry.canal import DISC_HALF_MM, NO_DISC_MM
from training.phantom.anatomy.body import body_distances
from training.phantom.anatomy.canal import canal_course, frames_along
from training.phantom.anatomy.disc import DiscLook, DiscPair, disc_pair, in_disc
from training.phantom.anatomy.spine import BodyShape, Bone, Spine
from training.phantom.disease.parts import Fragment
from training.phantom.painting.kernels import jit
from training.phantom.truth.model import CanalTruth
from training.phantom.truth.outline import Array, Outline, fragment_rows, in_fragment

PITCH_MM: Final = 0.8
"""Distance between the places at which the diameter is read."""

SAMPLES: Final = 161
"""Points along each diameter: not more than 0.2 mm apart."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may narrow the canal of a spine.

    Attributes:
        spine: Whose.
        discs: Level to the look of the disc below it.
        fragments: Level to the fragments of its posterior wall.
    """

    spine: Spine
    discs: Mapping[str, DiscLook]
    fragments: Mapping[str, tuple[Fragment, ...]]


@dataclass(frozen=True, slots=True)
class Stretch:
    """The canal from the disc below a body to the disc above it.

    Attributes:
        heads: (n,) places along the body's own axis, mm.
        ends: (n, 2, 3) LPS mm, anterior and posterior end of each diameter.
        body: (from, to) of the body itself, along its axis.
        discs: (below, above) middles of the discs, along its axis; None without a neighbour.
    """

    heads: Array
    ends: Array
    body: tuple[float, float]
    discs: tuple[float | None, float | None]

    @property
    def diameters(self) -> Array:
        """(n,) mm."""
        return np.asarray(np.linalg.norm(self.ends[:, 1] - self.ends[:, 0], axis=1))

    def between(self, low: float, high: float) -> Array:
        """Diameters between two heights, mm; of a body flatter than the pitch the nearest one."""
        away = np.abs(self.heads - 0.5 * (low + high))
        return self.diameters[away <= max(0.5 * (high - low), float(away.min()))]


def stretch_of(
    bounds: Bounds, own: Outline, above: Outline | None, below: Outline | None
) -> Stretch:
    """Measure the canal behind a body and the discs beside it.

    Args:
        bounds: Of the spine.
        own: Of the body.
        above: Of the body above, where there is one.
        below: Likewise.
    """
    low, high = float(own.lower[-1]), float(own.upper[-1])
    discs = (
        None if below is None else _half_way(own, low, below, below.upper),
        None if above is None else _half_way(own, high, above, above.lower),
    )
    start = low - NO_DISC_MM if discs[0] is None else discs[0] - DISC_HALF_MM
    stop = high + NO_DISC_MM if discs[1] is None else discs[1] + DISC_HALF_MM
    course = canal_course(bounds.spine, PITCH_MM)
    away = (course.line - own.bone.centre) @ own.bone.axes.T
    # The canal of a bent spine comes by the same height again, far behind.
    near = (away[:, 2] >= start) & (away[:, 2] <= stop) & (np.abs(away[:, 1]) < 60.0)
    back = frames_along(-np.gradient(course.line, axis=0))[near, 1]
    radius, depth = course.radius[near], (course.radius + course.ventral)[near]
    parts = np.linspace(0.0, 1.0, SAMPLES)
    offsets = -depth[:, None] + parts * (radius + depth)[:, None]
    points = course.line[near][:, None] + offsets[:, :, None] * back[:, None]
    bones = [outline.bone for outline in (above, own, below) if outline is not None]
    first = _first_free(_blocked(bounds, bones, points))
    rear = course.line[near] + radius[:, None] * back
    front = rear - ((1.0 - first) * (radius + depth))[:, None] * back
    return Stretch(away[near, 2], np.stack([front, rear], axis=1), (low, high), discs)


def canal_of(own: Stretch, neighbours: tuple[Stretch | None, Stretch | None]) -> CanalTruth:
    """The diameters of one level.

    Args:
        own: Canal at the level.
        neighbours: At the levels above and below, where there are any.
    """
    low, high = own.body
    quarter = (high - low) / 4
    least = int(np.argmin(own.diameters))
    others = [float(other.between(*other.body).min()) for other in neighbours if other is not None]
    compromise = None
    if others:
        smallest = float(own.between(low, high).min())
        compromise = max(0.0, 100.0 * (1.0 - smallest / float(np.mean(others))))
    below, above = (_at_disc(own, disc) for disc in own.discs)
    return CanalTruth(
        ap_body_mm=float(np.median(own.between(low + quarter, high - quarter))),
        ap_disc_above_mm=above,
        ap_disc_below_mm=below,
        ap_minimum_mm=float(own.diameters[least]),
        minimum_line_lps_mm=own.ends[least],
        compromise_percent=compromise,
    )


def _half_way(own: Outline, end: float, neighbour: Outline, endplate: Array) -> float:
    """Half-way between the body's end and the neighbour's facing endplate, along the axis."""
    corner = np.array([neighbour.along[-1], endplate[-1]])
    return float(end + own.to_places(neighbour.to_lps(corner))[1]) / 2


def _at_disc(own: Stretch, disc: float | None) -> float | None:
    if disc is None:
        return None
    return float(np.median(own.between(disc - DISC_HALF_MM, disc + DISC_HALF_MM)))


def _first_free(blocked: NDArray[np.bool_]) -> Array:
    """(n,) part of each (n, SAMPLES) line, front to back, behind which nothing blocks it."""
    last = SAMPLES - 1 - np.argmax(blocked[:, ::-1], axis=1)
    return np.where(blocked.any(axis=1), np.minimum(last + 0.5, SAMPLES - 1) / (SAMPLES - 1), 0.0)


def _blocked(bounds: Bounds, bones: list[Bone], points: Array) -> NDArray[np.bool_]:
    """Which of (n, SAMPLES, 3) LPS points lie in one of these neighbouring bodies or discs."""
    blocked = np.zeros(points.shape[:-1], np.bool_)
    flat = blocked.reshape(-1)
    for bone in bones:
        rows = fragment_rows(bone.shape, bounds.fragments[bone.level])
        _block_bone(bone.shape, rows, ((points - bone.centre) @ bone.axes.T).reshape(-1, 3), flat)
    for upper, lower in pairwise(bones):
        middle, axes, pair = disc_pair(upper, lower)
        _block_disc(
            pair, bounds.discs[upper.level], ((points - middle) @ axes.T).reshape(-1, 3), flat
        )
    return blocked


@jit
def _block_bone(
    shape: BodyShape, fragments: Array, points: Array, blocked: NDArray[np.bool_]
) -> None:
    for n in range(len(points)):
        x, y, z = points[n]
        if body_distances(shape, x, y, z)[0] < 0.0 or in_fragment(fragments, x, y, z):
            blocked[n] = True


@jit
def _block_disc(pair: DiscPair, look: DiscLook, points: Array, blocked: NDArray[np.bool_]) -> None:
    for n in range(len(points)):
        if in_disc(pair, look, points[n, 0], points[n, 1], points[n, 2]):
            blocked[n] = True
