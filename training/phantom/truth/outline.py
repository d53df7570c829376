"""A body's outline in its mid-sagittal plane, traced on its shape: wall and angles are read on it.

The surface is that of the label (`anatomy.body.in_label`), with a fragment of the posterior wall.
Endplates and wall are read at the same parts of depth and height as the report reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.morphometry.outline import PLACES, POSTERIOR, RIM, WALL_PLACES
from models.morphometry.result import WallReference
from training.phantom.anatomy.body import body_reach, in_label
from training.phantom.anatomy.spine import BodyShape, Bone
from training.phantom.disease.parts import Ball, Fragment
from training.phantom.disease.surroundings import corner_distance, fragment_ball
from training.phantom.painting.kernels import jit
from training.phantom.truth.model import AnglesTruth, PosteriorWallTruth

Array = NDArray[np.float64]

FARTHEST_MM: Final = 45.0
"""No edge is further from a body's centre."""

_STEP_MM: Final = 0.25
_LATTICE_MM: Final = 1.0
_HALVINGS: Final = 10

_BACK: Final = (1.0, 0.0)
_FRONT: Final = (-1.0, 0.0)
_HEAD: Final = (0.0, 1.0)
_FEET: Final = (0.0, -1.0)


@dataclass(frozen=True, slots=True)
class Outline:
    """Places (back, head) in the bone's frame, mm, in its mid-sagittal plane.

    Attributes:
        bone: Whose outline it is.
        behind: Of the posterior wall at mid height, along the back.
        along: (n,) of the endplate readings, along the back.
        upper, lower: (n,) of the endplates there, along the head.
        wall: (m, 2) the posterior wall, caudal to cranial.
    """

    bone: Bone
    behind: float
    along: Array
    upper: Array
    lower: Array
    wall: Array

    def to_lps(self, places: Array) -> Array:
        """Map (..., 2) places to (..., 3) LPS mm."""
        return np.asarray(self.bone.centre + places @ self.bone.axes[1:])

    def to_places(self, points_lps_mm: Array) -> Array:
        """Map (..., 3) LPS mm to the nearest (..., 2) places."""
        return np.asarray((points_lps_mm - self.bone.centre) @ self.bone.axes[1:].T)

    def direction_lps(self, endplate: Array) -> Array:
        """(3,) LPS, to the back, from the middle of an endplate's front rim to its back rim's."""
        part = (self.along - self.along[0]) / (self.along[-1] - self.along[0])
        places = np.stack([self.along, endplate], axis=1)
        way = places[part >= 1.0 - RIM].mean(axis=0) - places[part <= RIM].mean(axis=0)
        return np.asarray(way @ self.bone.axes[1:])


def fragment_rows(shape: BodyShape, fragments: tuple[Fragment, ...]) -> Array:
    """(n, 6) fragments of a body's wall in its frame, mm, as kernels read them."""
    rows = [fragment_ball(shape, piece) for piece in fragments]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 6)


def trace(bone: Bone, fragments: tuple[Fragment, ...] = ()) -> Outline | None:
    """Trace a body.

    Args:
        bone: The vertebra.
        fragments: Of its posterior wall.

    Returns:
        The outline; None where endplates have met, so that labels leave a hole in the body.
    """
    solid = (bone.shape, fragment_rows(bone.shape, fragments))
    top, bottom = _edge(*solid, (0.0, 0.0), _HEAD), _edge(*solid, (0.0, 0.0), _FEET)
    middle = 0.5 * (top - bottom)
    behind = _edge(*solid, (0.0, middle), _BACK)
    front = -_edge(*solid, (0.0, middle), _FRONT)
    along = front + PLACES * (behind - front)
    upper = np.array([middle + _edge(*solid, (float(y), middle), _HEAD) for y in along])
    lower = np.array([middle - _edge(*solid, (float(y), middle), _FEET) for y in along])
    heads = lower[POSTERIOR] + WALL_PLACES * (upper[POSTERIOR] - lower[POSTERIOR])
    backs = np.array([_edge(*solid, (0.0, float(z)), _BACK) for z in heads])
    if not np.isfinite([*upper, *lower, *backs]).all():
        return None
    return Outline(bone, behind, along, upper, lower, np.stack([backs, heads], axis=1))


def wall_of(
    own: Outline, above: Outline | None, below: Outline | None, fragments: tuple[Fragment, ...]
) -> PosteriorWallTruth:
    """The posterior wall against its own chord and against the neighbours' facing corners.

    Args:
        own: Of the body.
        above: Of the body above, where there is one.
        below: Likewise.
        fragments: Drawn at this level.
    """
    ends = own.wall[[0, -1]]
    bulge = _behind_line(own.wall, ends)
    reference = WallReference.OWN_ENDPLATES
    if above is not None and below is not None:
        corners = np.stack([below.to_lps(below.wall[-1]), above.to_lps(above.wall[0])])
        ends, reference = own.to_places(corners), WallReference.NEIGHBOURS
    return PosteriorWallTruth(
        points_lps_mm=own.to_lps(own.wall),
        convexity_mm=float(bulge[np.argmax(np.abs(bulge))]),
        retropulsion_mm=float(_behind_line(own.wall, ends).max()),
        reference=reference,
        fragment_mm=max((piece.out for piece in fragments), default=0.0),
    )


def angles_of(own: Outline, above: Outline | None, below: Outline | None) -> AnglesTruth:
    """Wedge of a body, and kyphosis over its neighbours, in its own sagittal plane.

    Args:
        own: Of the body.
        above: Of the body above, where there is one.
        below: Likewise.
    """
    kyphosis = None
    if above is not None and below is not None:
        kyphosis = _rise(own, above.direction_lps(above.upper)) - _rise(
            own, below.direction_lps(below.lower)
        )
    wedge = _rise(own, own.direction_lps(own.upper)) - _rise(own, own.direction_lps(own.lower))
    return AnglesTruth(wedge, kyphosis)


def volume_ml(shape: BodyShape, fragments: tuple[Fragment, ...] = ()) -> float:
    """Volume that the label of a body fills, with fragments and without holes, mL.

    Holes that an endplate's disease leaves (Schmorl nodes, erosions, a limbus) are not taken away.

    Args:
        shape: Of the body.
        fragments: Of its posterior wall.
    """
    rows = fragment_rows(shape, fragments)
    low, high = -np.array(body_reach(shape)), np.array(body_reach(shape))
    if len(rows):
        high[1] = max(high[1], float((rows[:, 1] + rows[:, 4]).max()))
    return float(_filled(shape, rows, low, high)) * _LATTICE_MM**3 / 1000.0


def _rise(own: Outline, way_lps: Array) -> float:
    """Degrees by which an endplate rises to the back, in the body's own plane."""
    _, back, head = own.bone.axes
    return float(np.degrees(np.arctan2(way_lps @ head, way_lps @ back)))


def _behind_line(places: Array, ends: Array) -> Array:
    """(n,) signed distances of (n, 2) places behind the line from `ends[0]` up to `ends[1]`."""
    way = ends[1] - ends[0]
    normal = np.array([way[1], -way[0]]) / np.linalg.norm(way)
    return np.asarray((places - ends[0]) @ normal)


@jit
def in_fragment(rows: Array, x: float, y: float, z: float) -> bool:
    """Whether a point of the body's frame lies in a fragment (`fragment_rows`)."""
    for n in range(rows.shape[0]):
        row = rows[n]
        ball = Ball(row[0], row[1], row[2], row[3], row[4], row[5])
        # It has no front of its own: there it goes over into the body.
        if y > ball.y - ball.half_y and corner_distance(ball, x, y, z) < 0.0:
            return True
    return False


@jit
def _edge(
    shape: BodyShape, rows: Array, start: tuple[float, float], way: tuple[float, float]
) -> float:
    """Distance from a place of the mid-sagittal plane to the outermost edge along a direction.

    Negative where all of the body lies the other way, as under a deep dish; NaN where it lies on
    neither side.
    """
    inner = FARTHEST_MM
    while True:
        y, z = start[0] + inner * way[0], start[1] + inner * way[1]
        if in_label(shape, 0.0, y, z) or in_fragment(rows, 0.0, y, z):
            break
        inner -= _STEP_MM
        if inner < -FARTHEST_MM:
            return np.nan
    outer = inner + _STEP_MM
    for _ in range(_HALVINGS):
        middle = 0.5 * (inner + outer)
        y, z = start[0] + middle * way[0], start[1] + middle * way[1]
        if in_label(shape, 0.0, y, z) or in_fragment(rows, 0.0, y, z):
            inner = middle
        else:
            outer = middle
    return 0.5 * (inner + outer)


@jit
def _filled(shape: BodyShape, rows: Array, low: Array, high: Array) -> int:
    """How many points of a lattice lie in the body or a fragment."""
    count = 0
    for x in np.arange(low[0], high[0], _LATTICE_MM):
        for y in np.arange(low[1], high[1], _LATTICE_MM):
            for z in np.arange(low[2], high[2], _LATTICE_MM):
                if in_label(shape, x, y, z) or in_fragment(rows, x, y, z):
                    count += 1
    return count
