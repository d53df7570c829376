"""The stage "geometry": bodies and maps in, what a plan needs of every level out.

geometries = measure_levels(localisation, fractured)
scores = with_geometry(localisation, scores)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Call, Coverage, Localisation, Scores, Vertebra
from models.localiser.chain import USUAL_MM
from models.localiser.classes import Structure
from models.morphometry.canal import Course, canal_of, follow
from models.morphometry.maps import Resolution, SpineMaps
from models.morphometry.midline import mid_plane
from models.morphometry.outline import Outline, trace
from models.morphometry.pedicles import pedicle
from models.morphometry.plane import picture_of
from models.morphometry.result import (
    Angles,
    BodyVolume,
    Canal,
    Heights,
    LevelGeometry,
    Missing,
    Pedicle,
    Target,
)
from models.morphometry.target import cut_sideways, target_of, with_approaches
from models.morphometry.wall import neighbours_line, posterior_wall

SACRUM: Final = "S1"

BODY_WINDOW_MM: Final = ((-32.0, 32.0), (-28.0, 28.0))
"""What is drawn of a body around its centroid, (back from, to), (head from, to)."""

CANAL_WINDOW_MM: Final = ((6.0, 54.0), (-34.0, 34.0))
"""What is drawn of the canal behind it."""

ENDPLATE_SPAN: Final = 0.7
"""Distance between the two rims that give an endplate's direction, as part of the depth."""

PARTS: Final = (
    "posterior_wall", "canal", "pedicle_left", "pedicle_right", "volume", "heights", "angles",
    "target",
)  # fmt: skip
"""Fields of `LevelGeometry` that may be missing as a whole."""

Neighbours = tuple[int | None, int | None]
"""Places in the chain of the direct neighbours above and below."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """What the levels share, by place in the chain."""

    maps: SpineMaps
    outlines: list[Outline | None]
    courses: list[Course | None]


def with_geometry(localisation: Localisation, scores: Scores) -> Scores:
    """Add the geometry to every level's findings.

    Args:
        localisation: Of the study.
        scores: Of the same study, one entry per vertebra.

    Returns:
        The same scores with `LevelFindings.geometry`; the sacrum has none.

    Raises:
        GeometryError: The grid's axes do not follow three patient axes.
    """
    fractured = [
        level.fracture is not None and level.fracture.call is Call.PRESENT
        for level in scores.levels
    ]
    geometries = measure_levels(localisation, fractured)
    levels = zip(scores.levels, geometries, strict=True)
    return replace(
        scores, levels=tuple(replace(level, geometry=geometry) for level, geometry in levels)
    )


def measure_levels(
    localisation: Localisation, fractured: Sequence[bool]
) -> tuple[LevelGeometry | None, ...]:
    """Measure every level.

    Args:
        localisation: Of the study.
        fractured: Whether each vertebra is called fractured.

    Returns:
        One per vertebra, in their order; None for the sacrum.

    Raises:
        GeometryError: The grid's axes do not follow three patient axes.
    """
    vertebrae = localisation.vertebrae
    if not vertebrae:
        return ()
    maps = SpineMaps.of(localisation)
    beside = neighbours_of(vertebrae)
    outlines = [_outline(maps, vertebra) for vertebra in vertebrae]
    courses = [_course(maps, outlines, place, beside[place]) for place in range(len(vertebrae))]
    chain = _Chain(maps, outlines, courses)
    geometries: list[LevelGeometry | None] = []
    for place, vertebra in enumerate(vertebrae):
        if vertebra.level == SACRUM:
            geometries.append(None)
            continue
        near = tuple(
            vertebrae[other].index
            for other in beside[place]
            if other is not None and fractured[other]
        )
        geometry = _level(chain, vertebra, place, beside[place])
        geometries.append(replace(geometry, adjacent_fractures=near))
    return tuple(geometries)


def neighbours_of(vertebrae: Sequence[Vertebra]) -> list[Neighbours]:
    """Which bodies are direct neighbours; a missed body between two leaves a wide gap."""
    last = len(vertebrae) - 1

    def near(one: int, other: int) -> int | None:
        step = vertebrae[one].centroid_lps_mm - vertebrae[other].centroid_lps_mm
        return other if float(np.linalg.norm(step)) <= USUAL_MM else None

    return [
        (near(i, i - 1) if i > 0 else None, near(i, i + 1) if i < last else None)
        for i in range(len(vertebrae))
    ]


def _outline(maps: SpineMaps, vertebra: Vertebra) -> Outline | None:
    """Outline of a complete body; None for others, and where the label map does not show it.

    A body that goes on beyond the slices has one where the canal shows its middle.
    """
    plane = mid_plane(maps, vertebra) if vertebra.coverage is Coverage.COMPLETE else None
    if plane is None:
        return None
    picture = picture_of(maps, maps.labels, vertebra.index, plane, BODY_WINDOW_MM)
    return None if picture is None else trace(plane, picture)


def _at(values: Sequence[Outline | None], place: int | None) -> Outline | None:
    return None if place is None else values[place]


def _course(
    maps: SpineMaps, outlines: Sequence[Outline | None], place: int, beside: Neighbours
) -> Course | None:
    own = outlines[place]
    if own is None:
        return None
    canal = picture_of(maps, maps.structures, Structure.CANAL, own.plane, CANAL_WINDOW_MM)
    above, below = (_at(outlines, other) for other in beside)
    return None if canal is None else follow(canal, own, above, below)


def _level(chain: _Chain, vertebra: Vertebra, place: int, beside: Neighbours) -> LevelGeometry:
    """Measure one level, and say why what is missing is missing."""
    own = chain.outlines[place]
    resolution = chain.maps.resolution
    if own is None:
        cut = vertebra.coverage is Coverage.PARTIAL or chain.maps.cut_sideways(vertebra.index)
        why = Missing.PARTIAL_BODY if cut else Missing.OUTLINE_UNCLEAR
        return LevelGeometry(reasons=dict.fromkeys(PARTS, why))
    reasons: dict[str, Missing] = {}
    above, below = (_at(chain.outlines, other) for other in beside)
    canal = _canal(chain, own, place, beside, reasons)
    sides = {
        name: _pedicle(chain.maps, vertebra.index, own, name, reasons)
        for name in ("pedicle_left", "pedicle_right")
    }
    if above is None or below is None:
        reasons["angles.kyphosis_deg"] = Missing.NEIGHBOUR_MISSING
    cut = chain.maps.cut_sideways(vertebra.index)
    if vertebra.size is None:
        reasons |= dict.fromkeys(("volume", "heights"), Missing.OUTLINE_UNCLEAR)
    elif cut:
        reasons["volume"] = Missing.PARTIAL_BODY
    target = _target(own, sides, resolution, neighbours_line(own, above, below), reasons)
    if cut and target is not None:
        target = cut_sideways(target, own, resolution)
    return LevelGeometry(
        posterior_wall=posterior_wall(own, above, below, resolution.span_mm),
        canal=canal,
        pedicle_left=sides["pedicle_left"],
        pedicle_right=sides["pedicle_right"],
        volume=None if cut else _volume(vertebra, resolution),
        heights=_heights(vertebra, resolution),
        angles=_angles(own, above, below, resolution),
        target=target,
        reasons=reasons,
    )


def _canal(
    chain: _Chain, own: Outline, place: int, beside: Neighbours, reasons: dict[str, Missing]
) -> Canal | None:
    course = chain.courses[place]
    if course is None:
        reasons["canal"] = Missing.NOT_FOUND
        return None
    above, below = (None if other is None else chain.courses[other] for other in beside)
    canal = canal_of(course, own, (above, below), chain.maps.resolution.span_mm)
    for name in ("ap_disc_above_mm", "ap_disc_below_mm", "compromise_percent"):
        if getattr(canal, name) is None:
            reasons[f"canal.{name}"] = Missing.NEIGHBOUR_MISSING
    return canal


def _pedicle(
    maps: SpineMaps, index: int, own: Outline, name: str, reasons: dict[str, Missing]
) -> Pedicle | None:
    found = pedicle(maps, index, own, 1 if name == "pedicle_left" else -1)
    if isinstance(found, Missing):
        reasons[name] = found
        return None
    if found.width_mm is None:
        reasons[f"{name}.width_mm"] = Missing.INSUFFICIENT_RESOLUTION
    return found


def _target(
    own: Outline,
    sides: dict[str, Pedicle | None],
    resolution: Resolution,
    limit: NDArray[np.float64] | None,
    reasons: dict[str, Missing],
) -> Target | None:
    target = target_of(own, resolution, limit)
    if isinstance(target, Missing):
        reasons["target"] = target
        return None
    for name in ("left", "right"):
        if sides[f"pedicle_{name}"] is None:
            reasons[f"target.{name}"] = reasons[f"pedicle_{name}"]
    return with_approaches(target, own, sides["pedicle_left"], sides["pedicle_right"])


def _volume(vertebra: Vertebra, resolution: Resolution) -> BodyVolume | None:
    """Volume with the uncertainty that three independent spans give it."""
    size = vertebra.size
    if size is None:
        return None
    parts = (
        resolution.span_mm / size.height_middle_mm,
        resolution.span_mm / size.depth_mm,
        resolution.across_mm / max(size.width_mm, resolution.slice_mm),
    )
    return BodyVolume(size.volume_ml, float(size.volume_ml * np.linalg.norm(parts)))


def _heights(vertebra: Vertebra, resolution: Resolution) -> Heights | None:
    size = vertebra.size
    if size is None:
        return None
    return Heights(
        size.height_anterior_mm,
        size.height_middle_mm,
        size.height_posterior_mm,
        resolution.span_mm,
    )


def _angles(
    own: Outline, above: Outline | None, below: Outline | None, resolution: Resolution
) -> Angles:
    """Wedge of the body, and kyphosis over its neighbours, in its own sagittal plane."""
    kyphosis = None
    if above is not None and below is not None:
        kyphosis = _rise(own, above.endplate_lps(above.upper)) - _rise(
            own, below.endplate_lps(below.lower)
        )
    wedge = _rise(own, own.endplate_lps(own.upper)) - _rise(own, own.endplate_lps(own.lower))
    # Two edges tilt an endplate, two endplates make the angle.
    tilt = 2.0 * resolution.edge_mm / (ENDPLATE_SPAN * own.depth)
    return Angles(wedge, kyphosis, float(np.degrees(np.arctan(tilt))))


def _rise(own: Outline, endplate_lps: NDArray[np.float64]) -> float:
    """Degrees by which an endplate rises to the back, in the body's own plane."""
    return float(
        np.degrees(np.arctan2(endplate_lps @ own.plane.head, endplate_lps @ own.plane.back))
    )
