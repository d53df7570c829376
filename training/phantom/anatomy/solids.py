"""Bones and ligaments made of stretched capsules: arches, ribs, sacral wings.

A part is a capsule with its own half-thickness along each axis of the bone's frame. Parts melt into
one solid under one cortex. A part may also meet a neighbour that is painted already: fuse with it,
or push it away and leave a joint space between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.phantom.anatomy.spine import Bone
from training.phantom.painting.grid import Canvas, Vector, block_box
from training.phantom.painting.kernels import (
    FAR_MM,
    Maps,
    Patch,
    Texture,
    grain,
    jit,
    put,
    row_count,
    row_start,
)
from training.phantom.painting.tissues import Tissue

Table = NDArray[np.float64]

NO_STRUCTURE: Final = -1
_CORTEX, _MARROW = int(Tissue.CORTEX), int(Tissue.MARROW)

# Columns of a table of parts.
_INVERSE, _ALONG, _LENGTH, _THIN, _SHELL, _JOINS = 3, 6, 9, 10, 11, 13
_MIDDLE, _REACH, _BOX = 14, 17, 20
COLUMNS: Final = 24
"""Of a table; the last four are first and last+1 fine slice and row (`solid_patch`)."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretched capsule in a bone's frame (left, back, head), mm.

    Attributes:
        start, end: (x, y, z).
        radii: Half-thickness along x, y and z.
        cortex: Thickness of its cortex.
        over: `Structure` value of a neighbour it pushes away, leaving a joint space.
        joins: `Structure` value of a neighbour whose cortex opens into this part's marrow.
    """

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radii: tuple[float, float, float]
    cortex: float = 0.9
    over: int = NO_STRUCTURE
    joins: int = NO_STRUCTURE


class SolidLook(NamedTuple):
    """What a solid is made of.

    Attributes:
        shell, core: Tissue of the cortex and of the inside.
        fat, spread: Fat percent inside and its standard deviation.
        texture: Of the inside.
        structure: Label to write; 0 leaves the label as it is.
        gap: Width of a joint space, mm.
        joint: Tissue in it.
    """

    shell: int
    core: int
    fat: float
    spread: float
    texture: Texture
    structure: int
    gap: float = 0.0
    joint: int = int(Tissue.CARTILAGE)


def table_of(parts: list[Part]) -> Table:
    """(n, COLUMNS) numbers of a solid's parts, ready for the painters."""
    numbers = np.array(
        [(*p.start, *p.end, *p.radii, p.cortex, p.over, p.joins) for p in parts], dtype=np.float64
    ).reshape(len(parts), 12)
    table = np.zeros((len(parts), COLUMNS))
    _fill_table(numbers, table)
    return table


@jit
def _fill_table(numbers: NDArray[np.float64], table: Table) -> None:
    """Write the columns of `table_of` from (n, 12) start, end, radii, cortex, over and joins."""
    for n in range(len(numbers)):
        part, row = numbers[n], table[n]
        square = 0.0
        for c in range(3):
            start, end, radius = part[c], part[3 + c], part[6 + c]
            along = (end - start) / radius
            square += along * along
            row[c], row[_INVERSE + c], row[_ALONG + c] = start, 1.0 / radius, along
            row[_MIDDLE + c] = 0.5 * (start + end)
            row[_REACH + c] = 0.5 * abs(end - start) + radius
        row[_LENGTH] = 1.0 / max(square, 1e-12) if square > 0.0 else 0.0
        row[_THIN] = min(part[6], part[7], part[8])
        row[_SHELL], row[_SHELL + 1], row[_JOINS] = part[9], part[10], part[11]


def near_grid(canvas: Canvas, bone: Bone, reach_mm: tuple[float, float, float]) -> bool:
    """Whether the grid comes near a bone's centre: cheaper to ask than to build its parts."""
    return canvas.patch(bone.centre, bone.axes, np.array(reach_mm)) is not None


def solid_patch(
    canvas: Canvas, centre: Vector, axes: Vector, table: Table, margin_mm: float = 0.0
) -> tuple[Patch, Table] | None:
    """The voxels around the parts that the grid reaches, and these parts; None without any.

    Args:
        canvas: Whose grid.
        centre: (3,) LPS mm: origin of the bone's frame.
        axes: (3, 3) rows: left, back, head.
        table: Of the parts.
        margin_mm: Around them.
    """
    grid = canvas.grid
    box, kept = np.empty(6, dtype=np.int64), np.empty_like(table)
    place = (np.ascontiguousarray(centre), np.ascontiguousarray(axes))
    count = _near_parts((grid.into_index, grid.shape), place, table, margin_mm, (kept, box))
    if count == 0:
        return None
    return Patch(box, canvas.into(*place)), kept[:count]


@jit
def _near_parts(
    grid: tuple[NDArray[np.float64], tuple[int, int, int]],
    place: tuple[Vector, Vector],
    table: Table,
    margin: float,
    found: tuple[Table, NDArray[np.int64]],
) -> int:
    """Copy the parts that a grid reaches, each with its slices and rows; the box around them."""
    (into, shape), (centre, axes), (kept, box) = grid, place, found
    middle, half, own = np.empty(3), np.empty(3), np.empty(6, np.int64)
    count = 0
    for n in range(len(table)):
        for c in range(3):
            middle[c] = centre[c]
            for axis in range(3):
                middle[c] += table[n, _MIDDLE + axis] * axes[axis, c]
            half[c] = table[n, _REACH + c] + margin
        if not block_box(into, shape, (middle, axes, half), own):
            continue
        kept[count] = table[n]
        for c in range(4):
            kept[count, _BOX + c] = own[c]
        for axis in range(3):
            low, high = own[2 * axis], own[2 * axis + 1]
            box[2 * axis] = low if count == 0 else min(box[2 * axis], low)
            box[2 * axis + 1] = high if count == 0 else max(box[2 * axis + 1], high)
        count += 1
    return count


NO_PARTS: Final[Table] = np.zeros((0, COLUMNS))


@jit
def part_distance(part: NDArray[np.float64], x: float, y: float, z: float) -> float:
    """Signed distance (mm, approximate) of a point to one part."""
    px, py, pz = (x - part[0]) * part[3], (y - part[1]) * part[4], (z - part[2]) * part[5]
    t = min(1.0, max(0.0, (px * part[6] + py * part[7] + pz * part[8]) * part[9]))
    px, py, pz = px - t * part[6], py - t * part[7], pz - t * part[8]
    return (np.sqrt(px * px + py * py + pz * pz) - 1.0) * part[10]


@jit
def solid_distance(table: Table, x: float, y: float, z: float) -> float:
    """Signed distance (mm, approximate) of a point to a union of parts; FAR_MM without parts."""
    nearest = FAR_MM
    for part in table:
        nearest = min(nearest, part_distance(part, x, y, z))
    return nearest


@jit
def paint_solid(maps: Maps, patch: Patch, table: Table, holes: Table, look: SolidLook) -> None:
    """Paint a union of parts wherever nothing is labelled, and where parts meet a neighbour.

    Args:
        maps: Painted in place.
        patch: The voxels around the parts.
        table: Of the parts (`table_of`).
        holes: Parts that stay free.
        look: What the solid is made of.
    """
    f = patch.frame
    step = (f[0, 2], f[1, 2], f[2, 2])
    near = np.empty(table.shape[0], np.int64)
    spans = np.empty((table.shape[0], 2), np.int64)
    lines = np.empty((6, patch.box[5]))
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        count, first, last = 0, patch.box[5], patch.box[4]
        for n in range(table.shape[0]):
            if k < table[n, 20] or k >= table[n, 21] or i < table[n, 22] or i >= table[n, 23]:
                continue
            margin = look.gap + 1.0 if table[n, 12] > 0.0 else 0.0
            start, end = chord(table, n, (x0, y0, z0), step, margin)
            low, high = max(patch.box[4], start), min(patch.box[5], end)
            if low < high:
                near[count] = n
                spans[n, 0], spans[n, 1] = low, high
                first, last = min(first, low), max(last, high)
                count += 1
        if first < last:
            line = ((x0, y0, z0), step)
            _measure_row(
                line, maps.structure[k, i], (table, near, spans, count, first, last), lines
            )
            _paint_row(maps, (k, i), line, (first, last, lines), (holes, look))


@jit
def _measure_row(
    line: tuple[tuple[float, float, float], tuple[float, float, float]],
    met: NDArray[np.uint8],
    seen: tuple[Table, NDArray[np.int64], NDArray[np.int64], int, int, int],
    lines: NDArray[np.float64],
) -> None:
    """Distances along one row to the parts that it meets, part by part.

    Args:
        line: Point of column 0, and the step from column to column.
        met: Labels of the row's voxels.
        seen: Table of parts; those near, their columns and how many; first and last+1 column.
        lines: (6, columns), written: distance to any part and to its core, for voxels without a
            label; the same to the parts that push or fuse with what is labelled there; to those
            that push; and to the core of those that fuse.
    """
    (start, step), (table, near, spans, count, first, last) = line, seen
    lines[:, first:last] = FAR_MM
    for m in range(count):
        part = table[near[m]]
        shell, over, joins = part[11], part[12], part[13]
        special = over > 0.0 or joins > 0.0
        for j in range(spans[near[m], 0], spans[near[m], 1]):
            d = part_distance(
                part, start[0] + step[0] * j, start[1] + step[1] * j, start[2] + step[2] * j
            )
            lines[0, j] = min(lines[0, j], d)
            lines[1, j] = min(lines[1, j], d + shell)
            if not special or met[j] == 0:
                continue
            if over == met[j] or joins == met[j]:
                lines[2, j] = min(lines[2, j], d)
                lines[3, j] = min(lines[3, j], d + shell)
            if over == met[j]:
                lines[4, j] = min(lines[4, j], d)
            if joins == met[j]:
                lines[5, j] = min(lines[5, j], d + shell)


@jit
def _paint_row(
    maps: Maps,
    row: tuple[int, int],
    line: tuple[tuple[float, float, float], tuple[float, float, float]],
    seen: tuple[int, int, NDArray[np.float64]],
    what: tuple[Table, SolidLook],
) -> None:
    """Paint the columns of one row from their distances (`_measure_row`)."""
    (start, step), (first, last, lines), (holes, look) = line, seen, what
    for j in range(first, last):
        at = (row[0], row[1], j)
        if maps.structure[at] == 0:
            solid, depth, push, join = lines[0, j], lines[1, j], FAR_MM, FAR_MM
        else:
            solid, depth, push, join = lines[2, j], lines[3, j], lines[4, j], lines[5, j]
        if solid >= 0.0 and min(push - look.gap, join) > 0.9:
            continue
        point = (start[0] + step[0] * j, start[1] + step[1] * j, start[2] + step[2] * j)
        if not _in_hole(holes, point):
            _fill(maps, at, (solid, depth, push, join), point, look)


@jit
def chord(
    table: Table,
    n: int,
    start: tuple[float, float, float],
    step: tuple[float, float, float],
    margin: float,
) -> tuple[int, int]:
    """First and last+1 column in which a row lies in part `n`, or nearer to it than a margin.

    In units of its radii a part is a round capsule. The row is cut with the cylinder around its
    axis and with the two planes where its caps end.
    """
    ax, ay, az, per_length = table[n, 6], table[n, 7], table[n, 8], table[n, 9]
    radius = 1.0 + margin / table[n, 10]
    px, vx = (start[0] - table[n, 0]) * table[n, 3], step[0] * table[n, 3]
    py, vy = (start[1] - table[n, 1]) * table[n, 4], step[1] * table[n, 4]
    pz, vz = (start[2] - table[n, 2]) * table[n, 5], step[2] * table[n, 5]
    low, high = -1e6, 1e6
    if per_length > 0.0:
        # Places along the axis, 0 at its start and 1 at its end, at column 0 and per column.
        along = (px * ax + py * ay + pz * az) * per_length
        gain = (vx * ax + vy * ay + vz * az) * per_length
        cap = radius * np.sqrt(per_length)
        if abs(gain) > 1e-9:
            one, other = (-cap - along) / gain, (1.0 + cap - along) / gain
            low, high = min(one, other), max(one, other)
        elif along < -cap or along > 1.0 + cap:
            return 0, 0
        px, py, pz = px - along * ax, py - along * ay, pz - along * az
        vx, vy, vz = vx - gain * ax, vy - gain * ay, vz - gain * az
    a = vx * vx + vy * vy + vz * vz
    b = px * vx + py * vy + pz * vz
    c = px * px + py * py + pz * pz - radius * radius
    root = b * b - a * c
    if root < 0.0 or (a < 1e-12 and c > 0.0):
        return 0, 0
    if a >= 1e-12:
        root = np.sqrt(root)
        low, high = max(low, (-b - root) / a), min(high, (-b + root) / a)
    if low > high:
        return 0, 0
    return int(np.ceil(low)), int(np.floor(high)) + 1


@jit
def _in_hole(holes: Table, point: tuple[float, float, float]) -> bool:
    return solid_distance(holes, point[0], point[1], point[2]) < 0.0


@jit
def _fill(
    maps: Maps,
    at: tuple[int, int, int],
    away: tuple[float, float, float, float],
    point: tuple[float, float, float],
    look: SolidLook,
) -> None:
    """Decide one voxel from its distance to the solid, its core, a pushing and a fusing part."""
    solid, depth, push, join = away
    free = maps.structure[at] == 0 and maps.body[at] == 0
    if (free and solid < 0.0) or push < 0.0:
        core = depth < 0.0
        _put_solid(maps, at, point, look, core)
        if look.structure > 0:
            maps.structure[at] = look.structure
    elif join < 0.0 and maps.tissue[at] == _CORTEX:
        # Marrow runs on into the neighbour; its label stays.
        _put_solid(maps, at, point, look, True)  # noqa: FBT003
    elif push < look.gap:
        put(maps, at, look.joint, 0.0, 0.0)
    elif push < look.gap + 0.9 and maps.tissue[at] == _MARROW:
        put(maps, at, _CORTEX, 0.0, 0.0)


@jit
def _put_solid(
    maps: Maps,
    at: tuple[int, int, int],
    point: tuple[float, float, float],
    look: SolidLook,
    core: bool,
) -> None:
    if not core:
        put(maps, at, look.shell, 0.0, 0.0)
        return
    fat = look.fat
    if look.spread > 0.0:
        fat += look.spread * grain(maps.noise, look.texture, point[0], point[1], point[2])
    put(maps, at, look.core, min(95.0, max(0.0, fat)), 0.0)
