"""The pedicles: in which slices bone bridges from the body to the arch, and how high it is.

Sagittal slices are as far apart as a thoracic pedicle is wide, so a width needs thin slices, and a
map that was made on thin slices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.localiser.classes import Structure
from models.morphometry.maps import SpineMaps
from models.morphometry.outline import Outline
from models.morphometry.plane import Array
from models.morphometry.result import Missing, Pedicle
from models.morphometry.runs import longest_runs

BEHIND_WALL_MM: Final = np.array([2.5, 4.0, 5.5, 7.0])
"""Behind the posterior wall, where a pedicle is bone all along."""

BESIDE_MM: Final = (5.0, 26.0)
"""How far from the middle pedicles lie, T1 to L5."""

MUST_SEE_MM: Final = 14.0
"""A field that ends nearer to the middle cannot show whether there is a pedicle."""

ABOVE_ENDPLATE_MM: Final = 4.0
"""A pedicle may rise this far above the superior endplate."""

LEAST_HEIGHT_MM: Final = 5.0
MOST_HEIGHT_MM: Final = 24.0
"""Lower runs are noise of the map; higher ones are several things in one."""

WIDTH_PITCH_MM: Final = 2.0
"""Wider slices give no width: at 4 mm a thoracic pedicle of 6 mm was seen in one to three."""

_STEP_MM: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Bridge:
    """Bone from body to arch in one slice: its height, and its middle (left, back, head) in mm."""

    slice_number: int
    height: float
    middle: Array


def pedicle(maps: SpineMaps, index: int, own: Outline, side: int) -> Pedicle | Missing:
    """Find the pedicle of one side.

    Args:
        maps: Of the study.
        index: The body's label.
        own: Outline of the body.
        side: +1 for the patient's left, -1 for the right.

    Returns:
        The pedicle, or why there is none.
    """
    slices = _slices_beside(maps, own, side)
    if not len(slices) or np.abs(slices[:, 1]).max() < MUST_SEE_MM - maps.resolution.slice_mm:
        return Missing.OUTSIDE_FIELD_OF_VIEW
    bridges = _largest_group(_bridges(maps, index, own, slices))
    if not bridges:
        return Missing.NOT_FOUND
    heights = np.array([bridge.height for bridge in bridges])
    middle = np.average([bridge.middle for bridge in bridges], axis=0, weights=heights)
    fine = maps.resolution.slice_mm <= WIDTH_PITCH_MM
    centre = own.plane.to_lps(middle[1:]) + middle[0] * own.plane.left
    return Pedicle(
        slices=len(bridges),
        height_mm=float(heights.max()),
        height_uncertainty_mm=maps.resolution.span_mm,
        width_mm=len(bridges) * _pitch(maps) if fine else None,
        width_uncertainty_mm=maps.resolution.across_mm if fine else None,
        centre_lps_mm=centre,
    )


def _pitch(maps: SpineMaps) -> float:
    return float(1.0 / np.linalg.norm(maps.inverse[0, :3]))


def _slices_beside(maps: SpineMaps, own: Outline, side: int) -> Array:
    """(n, 2) slice number and place to the left, at the posterior wall, of slices on one side."""
    plane = own.plane
    wall = plane.to_lps(np.array([own.behind + BEHIND_WALL_MM.mean(), own.middle]))
    at_wall = float(wall @ maps.inverse[0, :3] + maps.inverse[0, 3])
    per_mm = float(plane.left @ maps.inverse[0, :3])
    numbers = np.arange(len(maps.structures))
    aside = (numbers - at_wall) / per_mm
    kept = (aside * side >= BESIDE_MM[0]) & (aside * side <= BESIDE_MM[1])
    return np.stack([numbers[kept], aside[kept]], axis=1).astype(np.float64)


def _bridges(maps: SpineMaps, index: int, own: Outline, slices: Array) -> list[_Bridge]:
    """Slices in which bone goes on behind the wall, each with its longest run along `head`."""
    low, high = float(own.lower[-1]), float(own.upper[-1]) + ABOVE_ENDPLATE_MM
    heads = np.arange(low, high, _STEP_MM)
    backs = own.behind + BEHIND_WALL_MM
    grid = np.stack(np.meshgrid(backs, heads, indexing="ij"), axis=-1)
    within = own.plane.to_lps(grid) @ maps.inverse[:3, :3].T + maps.inverse[:3, 3]
    sideways = maps.inverse[:3, :3] @ own.plane.left
    places = within + slices[:, 1, None, None, None] * sideways
    first, last = longest_runs(np.asarray(_bone(maps, index, places).all(axis=1)))
    runs = (last - first + 1) * _STEP_MM
    middles = low + (first + last + 1) / 2 * _STEP_MM
    return [
        _Bridge(int(number), float(run), np.array([aside, backs.mean(), middle]))
        for (number, aside), run, middle in zip(slices, runs, middles, strict=True)
        if LEAST_HEIGHT_MM <= run <= MOST_HEIGHT_MM
    ]


def _bone(maps: SpineMaps, index: int, places: Array) -> NDArray[np.bool_]:
    """Whether the nearest voxel is an arch or this body; False outside the volume."""
    shape = np.array(maps.structures.shape)
    voxel = np.rint(places).astype(np.intp)
    inside = np.all((voxel >= 0) & (voxel < shape), axis=-1)
    at = tuple(np.moveaxis(np.clip(voxel, 0, shape - 1), -1, 0))
    bone = (maps.structures[at] == Structure.POSTERIOR_ELEMENTS) | (maps.labels[at] == index)
    return np.asarray(bone & inside)


def _largest_group(bridges: list[_Bridge]) -> list[_Bridge]:
    """The most neighbouring slices in a row."""
    groups: list[list[_Bridge]] = []
    for bridge in bridges:
        if groups and bridge.slice_number == groups[-1][-1].slice_number + 1:
            groups[-1].append(bridge)
        else:
            groups.append([bridge])
    return max(groups, key=len, default=[])
