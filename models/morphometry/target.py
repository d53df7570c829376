"""The needle's target: anterior third, mid-line, half-way between the endplates that are there.

Source: the overview (needle into the anterior third) and CLINICAL section 5.3: 25 to 33 % of the
depth behind the anterior cortex and at least 5 mm from it. Diagrammatic, never a safe trajectory.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from models.morphometry.maps import Resolution
from models.morphometry.outline import BACK, Outline, heights_at
from models.morphometry.plane import Array
from models.morphometry.result import (
    CUT_SIDEWAYS,
    NARROW_AT_TARGET,
    Approach,
    Missing,
    Pedicle,
    Target,
)

AIMED_PART: Final = 0.29
"""Part of the body's depth behind its anterior cortex that is aimed at: between 25 and 33 %."""

DEPTH_PART: Final = 0.27
"""The same of the depth of an outline, which runs a millimetre or two inside the cortex."""

MOST_PART: Final = 1.0 / 3.0
"""The anterior third ends here."""

CUT_PITCHES: Final = 1.1
"""Uncertainty to the side, in slice pitches, of a body that goes on beyond the slices: what 95 % of
targets on synthetic studies kept (`python -m tests.integration.planning.targets`)."""

CORTEX_MM: Final = 5.0
"""Least distance from the anterior cortex."""

ROOM_MM: Final = 3.0
"""A nearer endplate makes a target narrow: an 11 G needle is 3 mm thick."""

DISPLACED_MM: Final = 1.5
"""A wall that stands further behind its neighbours' line than this is not whole."""

KEPT_PART: Final = 0.1
"""Part of the wall's height that a fragment leaves in place."""

_ROUNDS: Final = 4
_SETTLED_MM: Final = 0.05


def target_of(own: Outline, resolution: Resolution, limit: Array | None = None) -> Target | Missing:
    """Place the target.

    Args:
        own: Outline of the body.
        resolution: Of the maps.
        limit: (2, 2) ends of the line of the neighbours' posterior walls, where there are both: a
            fragment behind it is not counted into the depth whose third is aimed at.

    Returns:
        The target without approaches, or why there is none.
    """
    head = own.middle
    for _ in range(_ROUNDS):
        front, behind = _walls(own, head)
        depth = min(behind, _limit(own, limit, head)) - front
        if not depth * MOST_PART >= CORTEX_MM:
            return Missing.OUTLINE_UNCLEAR if np.isnan(depth) else Missing.BODY_TOO_SHALLOW
        back = front + min(max(DEPTH_PART * depth, CORTEX_MM), MOST_PART * depth)
        # The endplates at that depth decide the height, and the height what the depth is.
        upper, lower = (float(end[0]) for end in heights_at(own.body, np.array([back]), head))
        if not np.isfinite(upper + lower):
            return Missing.OUTLINE_UNCLEAR
        moved, head = abs((upper + lower) / 2 - head), (upper + lower) / 2
        if moved < _SETTLED_MM:
            break
    place = np.array([back, head])
    if own.body.sample(place) < 0.5:
        return Missing.OUTLINE_UNCLEAR
    narrow = min(upper - head, head - lower) < ROOM_MM
    return Target(
        point_lps_mm=own.plane.to_lps(place),
        depth_fraction=float((back - front) / depth),
        to_anterior_cortex_mm=float(back - front),
        to_posterior_wall_mm=float(behind - back),
        to_superior_endplate_mm=float(upper - head),
        to_inferior_endplate_mm=float(head - lower),
        to_basivertebral_vein_mm=_from_vein(own, place),
        uncertainty_lps_mm=_uncertainty(own, resolution),
        limited_by=(NARROW_AT_TARGET,) if narrow else (),
    )


def cut_sideways(target: Target, own: Outline, resolution: Resolution) -> Target:
    """Mark a target of a body that goes on beyond the slices: its middle is the canal's."""
    aside = np.abs(own.plane.left) * CUT_PITCHES * resolution.slice_mm
    return replace(
        target,
        limited_by=(*target.limited_by, CUT_SIDEWAYS),
        uncertainty_lps_mm=np.maximum(target.uncertainty_lps_mm, aside),
    )


def with_approaches(
    target: Target, own: Outline, left: Pedicle | None, right: Pedicle | None
) -> Target:
    """Add a line through each pedicle that was found."""
    return replace(
        target, left=_approach(target, own, left, 1), right=_approach(target, own, right, -1)
    )


def _limit(own: Outline, limit: Array | None, head: float) -> float:
    """Place along `back` behind which a wall counts as displaced, at a height.

    A fragment seldom takes the whole wall, so what is left of it tells as well as the neighbours
    do, which may be broken themselves.
    """
    left = float(np.nanquantile(own.wall[:, 0], KEPT_PART))
    if limit is not None:
        (low_back, low_head), (high_back, high_head) = limit
        part = (head - low_head) / (high_head - low_head)
        left = min(left, float(low_back + part * (high_back - low_back)))
    return left + DISPLACED_MM


def _walls(own: Outline, head: float) -> tuple[float, float]:
    """Anterior cortex and posterior wall at a height, along `back`."""
    middle = (own.front + own.behind) / 2
    place = np.array([middle, head])
    ahead, behind = own.body.outer_edge(place, np.stack([-BACK, BACK])).tolist()
    return middle - ahead, middle + behind


def _from_vein(own: Outline, place: Array) -> float:
    """Distance to the line from the middle of the posterior wall to the body's centre."""
    centre = np.array([(own.front + own.behind) / 2, own.middle])
    along = np.clip(place[0], centre[0], own.behind)
    return float(np.linalg.norm(place - np.array([along, own.middle])))


def _uncertainty(own: Outline, resolution: Resolution) -> Array:
    """(3,) along the patient's axes: half a span across slices, an edge in them."""
    own_axes = np.array([resolution.across_mm / 2, resolution.edge_mm, resolution.edge_mm])
    return np.asarray(np.linalg.norm(own.plane.axes_lps * own_axes[:, None], axis=0))


def _approach(target: Target, own: Outline, pedicle: Pedicle | None, side: int) -> Approach | None:
    if pedicle is None:
        return None
    way = target.point_lps_mm - pedicle.centre_lps_mm
    length = float(np.linalg.norm(way))
    left, back, head = (own.plane.axes_lps @ way).tolist()
    return Approach(
        through_lps_mm=pedicle.centre_lps_mm,
        direction_lps=way / length,
        medial_deg=float(np.degrees(np.arctan2(-side * left, -back))),
        caudal_deg=float(np.degrees(np.arcsin(np.clip(-head / length, -1.0, 1.0)))),
        length_mm=length,
    )
