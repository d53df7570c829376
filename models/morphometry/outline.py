"""A body's outline in its mid-sagittal plane: endplates, posterior wall, corners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.morphometry.plane import Array, MidPlane, Picture

PLACES: Final = np.linspace(0.1, 0.9, 17)
"""Parts of the AP depth at which the endplates are read."""

RIM: Final = 0.2
"""Outer parts of an endplate that give its direction; a concave middle does not."""

WALL_PLACES: Final = np.linspace(0.08, 0.92, 9)
"""Parts of the posterior height at which the wall is read; corners are rounded beyond."""

POSTERIOR: Final = 14
"""Which of `PLACES` gives the posterior height: further back a bulging wall has no full height."""

LEAST_DEPTH_MM: Final = 8.0

BACK: Final = np.array([1.0, 0.0])
HEAD: Final = np.array([0.0, 1.0])

_FOUR_WAYS: Final = np.stack([BACK, -BACK, HEAD, -HEAD])


@dataclass(frozen=True, slots=True)
class Outline:
    """Places (back, head) in mm of the plane.

    Attributes:
        plane: Whose places they are.
        body: Picture of the body alone.
        front, behind: Of the walls at mid height, along `back`.
        middle: Of mid height, along `head`.
        along: (n,) of the endplate readings, along `back`.
        upper, lower: (n,) of the endplates there, along `head`.
        wall: (m, 2) the posterior wall, caudal to cranial.
    """

    plane: MidPlane
    body: Picture
    front: float
    behind: float
    middle: float
    along: Array
    upper: Array
    lower: Array
    wall: Array

    @property
    def depth(self) -> float:
        """AP depth at mid height, mm."""
        return self.behind - self.front

    @property
    def lower_corner(self) -> Array:
        """(2,) the wall just above the inferior endplate."""
        return np.asarray(self.wall[0])

    @property
    def upper_corner(self) -> Array:
        """(2,) the wall just below the superior endplate."""
        return np.asarray(self.wall[-1])

    def endplate_lps(self, endplate: Array) -> Array:
        """(3,) LPS unit vector along `upper` or `lower`, to the back, through its two rims."""
        return np.asarray(_line(self.along, endplate) @ self.plane.axes_lps[1:])


def trace(plane: MidPlane, body: Picture) -> Outline | None:
    """Trace a body.

    Args:
        plane: Its mid-sagittal plane.
        body: Picture of this body alone in it.

    Returns:
        The outline; None where an edge is not found.
    """
    middle = np.zeros(2)
    front = behind = 0.0
    for _ in range(2):
        to_back, to_front, to_head, to_feet = body.outer_edge(middle, _FOUR_WAYS).tolist()
        behind, front = middle[0] + to_back, middle[0] - to_front
        middle = np.array([(behind + front) / 2, middle[1] + (to_head - to_feet) / 2])
        if not np.isfinite(middle).all():
            return None
    if behind - front < LEAST_DEPTH_MM:
        return None
    along = front + PLACES * (behind - front)
    upper, lower = heights_at(body, along, float(middle[1]))
    if not (np.isfinite(upper).all() and np.isfinite(lower).all()):
        return None
    wall = _posterior_wall(body, middle, upper, lower)
    if not np.isfinite(wall).all():
        return None
    return Outline(plane, body, front, behind, float(middle[1]), along, upper, lower, wall)


def heights_at(body: Picture, along: Array, middle: float) -> tuple[Array, Array]:
    """(n,) places of the superior and the inferior endplate at places `along` the depth."""
    places = np.stack([along, np.full(len(along), middle)], axis=1)
    ways = np.repeat([HEAD, -HEAD], len(along), axis=0)
    edges = body.outer_edge(np.tile(places, (2, 1)), ways).reshape(2, -1)
    return middle + edges[0], middle - edges[1]


def _posterior_wall(body: Picture, middle: Array, upper: Array, lower: Array) -> Array:
    """(m, 2) the wall between the posterior ends of the endplates."""
    head = lower[POSTERIOR] + WALL_PLACES * (upper[POSTERIOR] - lower[POSTERIOR])
    places = np.stack([np.full(len(head), middle[0]), head], axis=1)
    return np.stack([middle[0] + body.outer_edge(places, BACK), head], axis=1)


def _line(along: Array, endplate: Array) -> Array:
    """(2,) unit vector to the back, from the middle of the front rim to that of the back rim."""
    part = (along - along[0]) / (along[-1] - along[0])
    first, last = part <= RIM, part >= 1.0 - RIM
    way = np.array(
        [
            along[last].mean() - along[first].mean(),
            endplate[last].mean() - endplate[first].mean(),
        ]
    )
    return np.asarray(way / np.linalg.norm(way))
