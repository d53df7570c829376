"""Pedicle screws and rods of an operated spine: metal, which is void and bends the field around it.

Screws follow the pedicles into the bodies; their heads carry one rod on each side. A level that was
operated keeps its body, its label and its disease.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from models.errors import GeometryError
from training.phantom.anatomy.arch import Arch, pedicle_parts
from training.phantom.anatomy.solids import Part, Table, chord, part_distance, solid_patch, table_of
from training.phantom.anatomy.spine import Bone, Spine
from training.phantom.painting.grid import Canvas, Vector
from training.phantom.painting.kernels import Maps, Patch, jit, put, row_count, row_start
from training.phantom.painting.tissues import Tissue

MOST_LEVELS: Final = 4
"""Of one construct."""

HEAD_RADIUS_MM: Final = 6.0
_METAL: Final = int(Tissue.METAL)


@dataclass(frozen=True, slots=True)
class Implants:
    """One construct of screws and rods.

    Attributes:
        levels: Screwed levels, cranial to caudal, without a gap.
        screw_mm: Radius of the screws; `rod_mm` of the rods.
        rod_mm: See above.
        depth: How far the screws reach into the body, as a part of its depth.
    """

    levels: tuple[str, ...]
    screw_mm: float
    rod_mm: float
    depth: float


def sample_implants(
    rng: np.random.Generator, levels: tuple[str, ...], middle: int, share: float
) -> Implants | None:
    """Draw whether a spine was operated, and where: about the level that is imaged.

    Args:
        rng: Source.
        levels: Names of the presacral levels.
        middle: Index of the level that the stack is aimed at.
        share: Of spines with a construct.
    """
    if rng.random() >= share:
        return None
    count = int(rng.integers(2, MOST_LEVELS + 1))
    first = int(np.clip(middle + rng.integers(-3, 3), 7, len(levels) - count))
    return construct(levels[first : first + count], levels, rng)


def construct(
    chosen: tuple[str, ...], levels: tuple[str, ...], rng: np.random.Generator
) -> Implants:
    """Screws and rods over neighbouring levels.

    Args:
        chosen: Levels to screw, cranial to caudal.
        levels: Names of the presacral levels.
        rng: Sizes.

    Raises:
        GeometryError: A level that there is not, or levels that are not neighbours.
    """
    unknown = [name for name in chosen if name not in levels]
    if unknown:
        raise GeometryError(f"this spine has no level {unknown[0]}")
    places = [levels.index(name) for name in chosen]
    if len(places) < 2 or any(b != a + 1 for a, b in pairwise(places)):
        raise GeometryError("screws and rods need two neighbouring levels or more")
    return Implants(
        levels=tuple(chosen),
        screw_mm=float(rng.uniform(2.4, 3.4)),
        rod_mm=float(rng.uniform(2.5, 3.1)),
        depth=float(rng.uniform(0.55, 0.8)),
    )


def paint_implants(
    canvas: Canvas, spine: Spine, arches: Mapping[str, Arch], implants: Implants
) -> None:
    """Put metal over whatever is painted; labels stay.

    Args:
        canvas: Painted in place; everything else of the patient is there already.
        spine: Whose.
        arches: Level to its arch: screws follow the pedicles.
        implants: What was implanted.
    """
    heads: list[list[Vector]] = [[], []]
    for level in implants.levels:
        bone = spine.bone(level)
        parts = []
        for side, (front, back) in enumerate(_axes(bone, spine.canal(level), arches[level])):
            along = (front - back) / np.linalg.norm(front - back)
            tip = back + along * (np.linalg.norm(front - back) + _beyond(bone, implants, front))
            head = back - along * (0.5 * HEAD_RADIUS_MM)
            parts.append(_rod(head, tip, implants.screw_mm))
            parts.append(_rod(head, head, HEAD_RADIUS_MM))
            heads[side].append(bone.centre + head @ bone.axes)
        _paint(canvas, bone.centre, bone.axes, parts)
    for row in heads:
        for upper, lower in pairwise(row):
            middle = 0.5 * (upper + lower)
            _paint(
                canvas, middle, np.eye(3), [_rod(upper - middle, lower - middle, implants.rod_mm)]
            )


def _axes(bone: Bone, tube: tuple[float, float], arch: Arch) -> list[tuple[Vector, Vector]]:
    """Front and back end of the left and the right pedicle in the body's frame."""
    table = pedicle_parts(bone, tube, arch)
    starts = table[:, 0:3]
    ends = starts + table[:, 6:9] / table[:, 3:6]
    return list(zip(starts, ends, strict=True))


def _beyond(bone: Bone, implants: Implants, front: Vector) -> float:
    """How far a screw runs on before the front end of its pedicle."""
    wanted = bone.shape.half_depth * (1.0 - 2.0 * implants.depth)
    return max(0.0, float(front[1]) - wanted)


def _rod(start: Vector, end: Vector, radius: float) -> Part:
    a, b = ((float(v[0]), float(v[1]), float(v[2])) for v in (start, end))
    return Part(a, b, (radius, radius, radius))


def _paint(canvas: Canvas, centre: Vector, axes: Vector, parts: list[Part]) -> None:
    found = solid_patch(canvas, centre, axes, table_of(parts))
    if found is not None:
        _paint_metal(canvas.maps, *found)


@jit
def _paint_metal(maps: Maps, patch: Patch, table: Table) -> None:
    f = patch.frame
    step = (f[0, 2], f[1, 2], f[2, 2])
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        for n in range(table.shape[0]):
            if k < table[n, 20] or k >= table[n, 21] or i < table[n, 22] or i >= table[n, 23]:
                continue
            first, last = chord(table, n, (x0, y0, z0), step, 0.0)
            for j in range(max(first, patch.box[4]), min(last, patch.box[5])):
                x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
                if part_distance(table[n], x, y, z) < 0.0:
                    put(maps, (k, i, j), _METAL, 0.0, 0.0)
