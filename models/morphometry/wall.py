"""The posterior wall: how far it bulges, and how far it stands back."""

from __future__ import annotations

import numpy as np

from models.morphometry.outline import Outline
from models.morphometry.plane import Array
from models.morphometry.result import PosteriorWall, WallReference


def posterior_wall(
    own: Outline, above: Outline | None, below: Outline | None, uncertainty_mm: float
) -> PosteriorWall:
    """Measure the posterior wall.

    Args:
        own: Of the body.
        above: Of its direct neighbour, where there is one.
        below: Likewise.
        uncertainty_mm: Of a distance between two edges.

    Returns:
        The wall, held against both neighbours' facing corners where both are there.
    """
    ends = np.stack([own.lower_corner, own.upper_corner])
    bulge = behind_line(own.wall, ends)
    reference = WallReference.OWN_ENDPLATES
    line = neighbours_line(own, above, below)
    if line is not None:
        ends = line
        reference = WallReference.NEIGHBOURS
    return PosteriorWall(
        points_lps_mm=own.plane.to_lps(own.wall),
        convexity_mm=float(bulge[np.argmax(np.abs(bulge))]),
        retropulsion_mm=float(behind_line(own.wall, ends).max()),
        reference=reference,
        uncertainty_mm=uncertainty_mm,
    )


def neighbours_line(own: Outline, above: Outline | None, below: Outline | None) -> Array | None:
    """(2, 2) facing posterior corners of the neighbours below and above, in the body's plane."""
    if above is None or below is None:
        return None
    corners = (below.plane.to_lps(below.upper_corner), above.plane.to_lps(above.lower_corner))
    return np.asarray(own.plane.to_places(np.stack(corners)))


def behind_line(places: Array, ends: Array) -> Array:
    """(n,) signed distances of places (n, 2) behind the line from `ends[0]` up to `ends[1]`."""
    way = ends[1] - ends[0]
    normal = np.array([way[1], -way[0]]) / np.linalg.norm(way)
    return np.asarray((places - ends[0]) @ normal)
