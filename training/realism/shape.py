"""The ruler for shapes: sizes and angles of vertebral bodies from their label map.

Measured as the published statistics were: in a mid-sagittal slab of 9 mm, heights at 10, 50 and
90 % of the antero-posterior extent, depth and width at mid height, concavity as the largest
distance of an endplate from its chord.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, map_coordinates

Plane = NDArray[np.float64]

SLAB_MM: Final = 4.5
"""Half-thickness of the mid-sagittal slab."""

CHORD: Final = (0.08, 0.92)
"""Part of the antero-posterior extent that an endplate's chord and its slope are taken over."""

STEP_MM: Final = 0.5
REACH_MM: Final = 34.0

BODY_ROWS: Final = (
    "height ant", "height mid", "height post", "depth", "width", "concavity sup", "concavity inf",
    "volume mL", "ant/post", "mid/post",
)  # fmt: skip
DISC_ROWS: Final = (
    "disc ant", "disc mid", "disc post", "disc wedge", "endplate angle", "centroid distance",
    "AP offset", "lateral shift",
)  # fmt: skip
LORDOSIS_ROWS: Final = ("L1 sup - L5 sup", "L1 sup - L5 inf")


@dataclass(frozen=True, slots=True)
class Outline:
    """One body measured in its mid-sagittal slab.

    Attributes:
        sizes: The figures of `BODY_ROWS`, mm and mL.
        centre: (3,) slice, row, column mm of the body.
        superior, inferior: (n, 2) points (row, column) mm of the endplates, front to back.
    """

    sizes: Mapping[str, float]
    centre: Plane
    superior: Plane
    inferior: Plane


@dataclass(frozen=True, slots=True)
class Shapes:
    """All that is measured on one spine: by level, by disc ("L1/L2") and for the lordosis."""

    bodies: Mapping[str, Mapping[str, float]]
    discs: Mapping[str, Mapping[str, float]]
    lordosis: Mapping[str, float]


def measure_shapes(
    labels: NDArray[np.uint8], pitch_mm: tuple[float, float, float], levels: Mapping[int, str]
) -> Shapes:
    """Measure the bodies of a label map in sagittal order.

    Args:
        labels: (slice, row, column) body indices.
        pitch_mm: Voxel pitch.
        levels: Which indices to measure, and their names; neighbours in the chain when their
            indices are.
    """
    boxes = find_objects(labels)
    outlines: dict[str, Outline] = {}
    for index, level in sorted(levels.items()):
        if index <= len(boxes) and boxes[index - 1] is not None:
            found = _outline(labels, index, boxes[index - 1], np.array(pitch_mm))
            if found is not None:
                outlines[level] = found
    discs = {
        f"{upper}/{lower}": _between(outlines[upper], outlines[lower])
        for upper, lower in pairwise(sorted(outlines, key=lambda name: outlines[name].centre[1]))
        if (upper, lower) in NEIGHBOURS
    }
    bodies = {level: outline.sizes for level, outline in outlines.items()}
    return Shapes(bodies, discs, _lordosis(outlines))


NEIGHBOURS: Final = frozenset(pairwise(("T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5")))


def _outline(
    labels: NDArray[np.uint8], index: int, box: tuple[slice, slice, slice], pitch: Plane
) -> Outline | None:
    start = np.array([s.start for s in box])
    mask = np.pad(labels[box] == index, 1).astype(np.float32)
    voxels = np.argwhere(mask > 0)
    if len(voxels) < 200:
        return None
    middle = voxels.mean(axis=0)
    near = np.abs(np.arange(len(mask)) - middle[0]) * pitch[0] <= max(SLAB_MM, 0.5 * pitch[0])
    plane = mask[near].mean(axis=0)
    centre = np.argwhere(plane >= 0.5).mean(axis=0)
    angle = 0.0
    for _ in range(4):
        turned = _turn(plane, centre, pitch[1:], angle)
        top, bottom, front, back = _edges(turned)
        slopes = [_slope(edge, front, back) for edge in (top, bottom)]
        angle += float(np.arctan(0.5 * (slopes[0] + slopes[1])))
    turned = _turn(plane, centre, pitch[1:], angle)
    top, bottom, front, back = _edges(turned)
    heights = [
        _at(bottom, front, back, share) - _at(top, front, back, share) for share in (0.1, 0.5, 0.9)
    ]
    width = _width(mask, middle, pitch, angle)
    sizes = {
        "height ant": heights[0],
        "height mid": heights[1],
        "height post": heights[2],
        "depth": (back - front) * STEP_MM,
        "width": width,
        "concavity sup": _concavity(top, front, back, 1.0),
        "concavity inf": _concavity(bottom, front, back, -1.0),
        "volume mL": float(mask.sum() * np.prod(pitch) / 1000.0),
        "ant/post": heights[0] / heights[2],
        "mid/post": heights[1] / heights[2],
    }
    origin = (start[1:] - 1 + centre) * pitch[1:]
    points = [_points(edge, front, back, origin, angle) for edge in (top, bottom)]
    return Outline(sizes, (start - 1 + middle) * pitch, points[0], points[1])


def _axes(angle: float) -> tuple[Plane, Plane]:
    """Unit vectors (row, column) down and to the back in a frame turned by an angle."""
    return np.array([np.cos(angle), -np.sin(angle)]), np.array([np.sin(angle), np.cos(angle)])


def _turn(plane: NDArray[np.float32], centre: Plane, pitch: Plane, angle: float) -> Plane:
    """The slab's mask on a fine grid turned about its centre: rows down, columns to the back."""
    down, back = _axes(angle)
    steps = np.arange(-REACH_MM, REACH_MM + STEP_MM / 2, STEP_MM)
    at = steps[:, None, None] * down + steps[None, :, None] * back
    index = np.moveaxis(at / pitch + centre, -1, 0)
    return np.asarray(map_coordinates(plane, index, order=1, mode="constant"), dtype=np.float64)


def _edges(turned: Plane) -> tuple[Plane, Plane, float, float]:
    """Endplates (mm down, by column; NaN outside), and the first and last column at mid height."""
    steps = np.arange(-REACH_MM, REACH_MM + STEP_MM / 2, STEP_MM)
    band = turned[np.abs(steps) <= 2.0].mean(axis=0)
    front, back = _crossing(band), len(band) - 1 - _crossing(band[::-1])
    top = np.full(turned.shape[1], np.nan)
    bottom = top.copy()
    for column in np.flatnonzero(turned.max(axis=0) >= 0.5):
        line = turned[:, column]
        top[column] = steps[0] + STEP_MM * _crossing(line)
        bottom[column] = steps[-1] - STEP_MM * _crossing(line[::-1])
    return top, bottom, front, back


def _crossing(line: Plane) -> float:
    """Index at which a profile first rises through one half, interpolated."""
    first = int((line >= 0.5).argmax())
    if first == 0:
        return 0.0
    below, above = line[first - 1], line[first]
    return float(first - (above - 0.5) / max(above - below, 1e-9))


def _at(edge: Plane, front: float, back: float, share: float) -> float:
    known = np.flatnonzero(np.isfinite(edge))
    return float(np.interp(front + share * (back - front), known, edge[known]))


def _inner(edge: Plane, front: float, back: float) -> tuple[Plane, Plane]:
    """Columns and edge over the chord's part of the extent."""
    low, high = (front + share * (back - front) for share in CHORD)
    columns = np.arange(int(np.ceil(low)), int(np.floor(high)) + 1)
    columns = columns[np.isfinite(edge[columns])]
    return columns.astype(np.float64), edge[columns]


def _slope(edge: Plane, front: float, back: float) -> float:
    columns, depth = _inner(edge, front, back)
    return float(np.polyfit(columns * STEP_MM, depth, 1)[0]) if len(columns) > 3 else 0.0


def _concavity(edge: Plane, front: float, back: float, sign: float) -> float:
    """Largest distance of the endplate inside its chord, mm; `sign` is 1 for the upper one."""
    columns, depth = _inner(edge, front, back)
    if len(columns) < 4:
        return float("nan")
    chord = np.interp(columns, columns[[0, -1]], depth[[0, -1]])
    rise = (depth[-1] - depth[0]) / ((columns[-1] - columns[0]) * STEP_MM)
    return float(max(0.0, (sign * (depth - chord)).max()) / np.hypot(1.0, rise))


def _points(edge: Plane, front: float, back: float, origin: Plane, angle: float) -> Plane:
    """(n, 2) points (row, column) mm of an edge over its chord, and its 10, 50 and 90 % points."""
    down, behind = _axes(angle)
    shares = (CHORD[0], 0.1, 0.5, 0.9, CHORD[1])
    columns = np.array([front + share * (back - front) for share in shares])
    depth = np.array([_at(edge, front, back, share) for share in shares])
    across = columns * STEP_MM - REACH_MM
    return np.asarray(origin + depth[:, None] * down + across[:, None] * behind)


def _width(mask: NDArray[np.float32], middle: Plane, pitch: Plane, angle: float) -> float:
    """Left-right extent at mid height, mm."""
    down, _ = _axes(angle)
    rows = (np.arange(mask.shape[1]) - middle[1]) * pitch[1]
    columns = (np.arange(mask.shape[2]) - middle[2]) * pitch[2]
    level = np.abs(rows[:, None] * down[0] + columns[None, :] * down[1]) <= 1.5
    filled = (mask * level).sum(axis=(1, 2)) * pitch[1] * pitch[2] >= 6.0
    return float(filled.sum() * pitch[0])


def _angle(points: Plane) -> float:
    """Slope of an endplate in degrees, positive when it rises to the back."""
    step = points[-1] - points[0]
    return float(np.degrees(np.arctan2(-step[0], step[1])))


def _between(upper: Outline, lower: Outline) -> dict[str, float]:
    top, bottom = upper.inferior, lower.superior
    middle = np.radians(-0.5 * (_angle(top) + _angle(bottom)))
    down, back = _axes(middle)
    gap = bottom - top
    heights = [float(gap[n] @ down) for n in (1, 2, 3)]
    apart = lower.centre - upper.centre
    return {
        "disc ant": heights[0],
        "disc mid": heights[1],
        "disc post": heights[2],
        "disc wedge": _angle(bottom) - _angle(top),
        "endplate angle": _angle(lower.superior) - _angle(upper.superior),
        "centroid distance": float(np.linalg.norm(apart)),
        "AP offset": float(gap[3] @ back),
        "lateral shift": float(abs(apart[0])),
    }


def _lordosis(outlines: Mapping[str, Outline]) -> dict[str, float]:
    if not {"L1", "L5"} <= set(outlines):
        return {}
    start = _angle(outlines["L1"].superior)
    return {
        "L1 sup - L5 sup": _angle(outlines["L5"].superior) - start,
        "L1 sup - L5 inf": _angle(outlines["L5"].inferior) - start,
    }
