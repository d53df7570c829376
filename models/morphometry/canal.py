"""The canal behind a body: mid-sagittal AP diameters and what part of it is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.morphometry.outline import BACK, Outline
from models.morphometry.plane import STEP_MM, Array, Picture
from models.morphometry.result import Canal
from models.morphometry.runs import longest_runs

HEIGHT_STEP_MM: Final = 1.0
"""Distance between the heights at which the diameter is read."""

BEFORE_WALL_MM: Final = 6.0
BEHIND_WALL_MM: Final = 34.0
"""The canal is looked for from here before the posterior wall to here behind it."""

LEAST_AP_MM: Final = 2.0
"""A shorter run is no canal."""

COURSE_MM: Final = 10.0
"""Up and down this far the canal's own direction is fitted."""

SMOOTHED: Final = 3
"""Neighbouring readings of which the median is taken: single rows of a map stick out."""

NO_DISC_MM: Final = 3.0
"""Beyond an endplate without a neighbour the canal is followed this far."""

DISC_HALF_MM: Final = 2.0


@dataclass(frozen=True, slots=True)
class Course:
    """The canal in a body's plane, from the disc below to the disc above.

    Attributes:
        heads: (n,) places along `head`, ascending.
        fronts, backs: (n,) places of its walls along `back`; NaN where no canal was found.
        lean: (n,) tangent of its course: mm to the back per mm to the head.
        body: (from, to) of the body itself, along `head`.
        discs: (below, above) middles of the discs, along `head`; None without a neighbour.
    """

    heads: Array
    fronts: Array
    backs: Array
    lean: Array
    body: tuple[float, float]
    discs: tuple[float | None, float | None]

    @property
    def diameters(self) -> Array:
        """(n,) mm at right angles to its course."""
        return np.asarray((self.backs - self.fronts) / np.sqrt(1.0 + self.lean**2))

    def between(self, low: float, high: float) -> Array:
        """Diameters found between two heights."""
        chosen = self.diameters[(self.heads >= low) & (self.heads <= high)]
        return np.asarray(chosen[np.isfinite(chosen)])

    @property
    def smallest_at_body_mm(self) -> float | None:
        """Smallest diameter behind the body itself."""
        found = self.between(*self.body)
        return float(found.min()) if len(found) else None


def follow(
    canal: Picture, own: Outline, above: Outline | None, below: Outline | None
) -> Course | None:
    """Follow the canal from the disc below to the disc above.

    Args:
        canal: In the body's plane.
        own: Of the body.
        above: Of its direct neighbour, where there is one.
        below: Likewise.

    Returns:
        The canal's course; None where none lies behind the body.
    """
    low, high = float(own.lower[-1]), float(own.upper[-1])
    discs = (
        _disc(own, low, below, below.upper) if below is not None else None,
        _disc(own, high, above, above.lower) if above is not None else None,
    )
    start = low - NO_DISC_MM if discs[0] is None else discs[0] - DISC_HALF_MM
    stop = high + NO_DISC_MM if discs[1] is None else discs[1] + DISC_HALF_MM
    heads = np.arange(start, stop + HEIGHT_STEP_MM, HEIGHT_STEP_MM)
    walls = np.interp(heads, own.wall[:, 1], own.wall[:, 0])
    fronts, backs = _runs(canal, heads, walls)
    course = Course(heads, fronts, backs, _lean(heads, (fronts + backs) / 2), (low, high), discs)
    return course if len(course.between(low, high)) else None


def canal_of(
    course: Course,
    own: Outline,
    neighbours: tuple[Course | None, Course | None],
    uncertainty_mm: float,
) -> Canal:
    """Measure the canal at one level.

    Args:
        course: Of this level.
        own: Outline of the body.
        neighbours: Courses of the levels above and below, where there are any.
        uncertainty_mm: Of a distance between two edges.
    """
    low, high = course.body
    quarter = (high - low) / 4
    middle = course.between(low + quarter, high - quarter)
    least = int(np.nanargmin(course.diameters))
    own_least = course.smallest_at_body_mm
    others = [
        other.smallest_at_body_mm
        for other in neighbours
        if other is not None and other.smallest_at_body_mm
    ]
    compromise = spread = None
    if others and own_least is not None:
        usual = float(np.mean([value for value in others if value is not None]))
        compromise = max(0.0, 100.0 * (1.0 - own_least / usual))
        part = np.hypot(1.0, own_least / usual / np.sqrt(len(others)))
        spread = float(100.0 * uncertainty_mm / usual * part)
    below, above = (_at_disc(course, disc) for disc in course.discs)
    return Canal(
        ap_body_mm=float(np.median(middle if len(middle) else course.between(low, high))),
        ap_disc_above_mm=above,
        ap_disc_below_mm=below,
        ap_minimum_mm=float(course.diameters[least]),
        minimum_line_lps_mm=own.plane.to_lps(_diameter(course, least)),
        compromise_percent=compromise,
        uncertainty_mm=uncertainty_mm,
        compromise_uncertainty_percent=spread,
    )


def _disc(own: Outline, end: float, neighbour: Outline, endplate: Array) -> float:
    """Half-way between the body's end and the neighbour's facing endplate, along `head`."""
    corner = np.array([neighbour.along[-1], endplate[-1]])
    facing = own.plane.to_places(neighbour.plane.to_lps(corner))
    return float(end + facing[1]) / 2


def _at_disc(course: Course, disc: float | None) -> float | None:
    if disc is None:
        return None
    found = course.between(disc - DISC_HALF_MM, disc + DISC_HALF_MM)
    return float(np.median(found)) if len(found) else None


def _runs(canal: Picture, heads: Array, walls: Array) -> tuple[Array, Array]:
    """Front and back, along `back`, of the longest run of canal at each height."""
    offsets = np.arange(-BEFORE_WALL_MM, BEHIND_WALL_MM + STEP_MM, STEP_MM)
    start = np.stack([walls + offsets[0], heads], axis=1)
    steps = (offsets - offsets[0])[:, None] * BACK
    values = canal.sample(start[:, None] + steps)
    values[:, [0, -1]] = 0.0
    first, last = longest_runs(values >= 0.5)
    found = (last - first) * STEP_MM >= LEAST_AP_MM
    # The first and the last sample are never inside, so a run that is found has both sides.
    fronts = first - _past_half(values, first, first - 1)
    backs = last + _past_half(values, last, np.minimum(last + 1, len(offsets) - 1))
    start_mm = walls + offsets[0]
    return (
        _smoothed(np.where(found, start_mm + STEP_MM * fronts, np.nan)),
        _smoothed(np.where(found, start_mm + STEP_MM * backs, np.nan)),
    )


def _past_half(
    values: Array, inside: NDArray[np.intp], outside: NDArray[np.intp]
) -> NDArray[np.float64]:
    """(n,) parts of a step from the samples `inside` to where lines cross one half."""
    each = np.arange(len(values))
    here, beyond = values[each, inside], values[each, outside]
    return np.asarray((here - 0.5) / np.maximum(here - beyond, 1e-6))


def _smoothed(values: Array) -> Array:
    """Running median over found neighbours; what was not found stays so."""
    half = SMOOTHED // 2
    padded = np.pad(values, half, mode="edge")
    shifted = np.stack([padded[i : i + len(values)] for i in range(SMOOTHED)])
    whole = np.isfinite(shifted).all(axis=0)
    return np.where(whole, np.median(np.where(whole, shifted, 0.0), axis=0), values)


def _lean(heads: Array, centres: Array) -> Array:
    """(n,) slope of the centres' line, fitted up to `COURSE_MM` up and down."""
    known = np.isfinite(centres)
    near = (np.abs(heads[:, None] - heads) <= COURSE_MM) & known
    count = np.maximum(near.sum(axis=1), 1)
    filled = np.where(known, centres, 0.0)
    head_mean, centre_mean = near @ heads / count, near @ filled / count
    spread = near @ heads**2 / count - head_mean**2
    mixed = near @ (heads * filled) / count - head_mean * centre_mean
    return np.where(spread > 1.0, mixed / np.maximum(spread, 1e-6), 0.0)


def _diameter(course: Course, i: int) -> Array:
    """(2, 2) ends (back, head) of the diameter at reading `i`, at right angles to the course."""
    centre = np.array([(course.fronts[i] + course.backs[i]) / 2, course.heads[i]])
    lean = course.lean[i]
    way = np.array([1.0, -lean]) / np.sqrt(1.0 + lean**2)
    half = course.diameters[i] / 2
    return np.stack([centre - half * way, centre + half * way])
