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
from training.phantom.painting.grid import Canvas, Vector
from training.phantom.painting.kernels import (
    FAR_MM,
    Maps,
    Patch,
    Texture,
    columns_within,
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
_MIDDLE, _REACH = 14, 17
COLUMNS: Final = 20


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
    start, end, radii = numbers[:, 0:3], numbers[:, 3:6], numbers[:, 6:9]
    along = (end - start) / radii
    square = (along * along).sum(axis=1)
    table = np.empty((len(parts), COLUMNS))
    table[:, :3], table[:, _INVERSE : _INVERSE + 3] = start, 1 / radii
    table[:, _ALONG : _ALONG + 3] = along
    table[:, _LENGTH] = np.where(square > 0, 1 / np.maximum(square, 1e-12), 0.0)
    table[:, _THIN] = radii.min(axis=1)
    table[:, _SHELL : _JOINS + 1] = numbers[:, 9:12]
    table[:, _MIDDLE : _MIDDLE + 3] = 0.5 * (start + end)
    table[:, _REACH : _REACH + 3] = 0.5 * np.abs(end - start) + radii
    return table


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
    into_index = np.linalg.inv(grid.affine)
    middles = centre + table[:, _MIDDLE : _MIDDLE + 3] @ axes
    index = middles @ into_index[:3, :3].T + into_index[:3, 3]
    half = (table[:, _REACH : _REACH + 3] + margin_mm) @ np.abs(into_index[:3, :3] @ axes.T).T
    first, last = np.floor(index - half), np.ceil(index + half) + 1
    seen = np.all((last > 0) & (first < np.array(grid.shape)), axis=1)
    if not seen.any():
        return None
    low = np.maximum(first[seen].min(axis=0), 0).astype(np.int64)
    high = np.minimum(last[seen].max(axis=0), grid.shape).astype(np.int64)
    frame = np.empty((3, 4))
    frame[:, :3] = axes @ grid.affine[:3, :3]
    frame[:, 3] = axes @ (grid.affine[:3, 3] - centre)
    return Patch(np.stack([low, high], axis=1).ravel(), frame), np.ascontiguousarray(table[seen])


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
    step = patch.frame[:, 2]
    near = np.empty(table.shape[0], np.int64)
    spans = np.empty((table.shape[0], 2), np.int64)
    run = _row_run(patch)
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        count, first, last = 0, patch.box[5], patch.box[4]
        for n in range(table.shape[0]):
            low, high = _columns(patch, table[n], (x0, y0, z0), run, look.gap + 1.0)
            if low < high:
                near[count] = n
                spans[n, 0], spans[n, 1] = low, high
                first, last = min(first, low), max(last, high)
                count += 1
        if first < last:
            _paint_row(
                maps,
                (k, i),
                ((x0, y0, z0), (step[0], step[1], step[2])),
                (table, near, spans, count, first, last),
                (holes, look),
            )


@jit
def _paint_row(
    maps: Maps,
    row: tuple[int, int],
    line: tuple[tuple[float, float, float], tuple[float, float, float]],
    seen: tuple[Table, NDArray[np.int64], NDArray[np.int64], int, int, int],
    what: tuple[Table, SolidLook],
) -> None:
    """Paint the columns of one row that some parts can reach.

    A labelled voxel matters only to the parts that push or fuse with what is labelled there.
    """
    (start, step), (table, near, spans, count, first, last), (holes, look) = line, seen, what
    for j in range(first, last):
        at = (row[0], row[1], j)
        point = (start[0] + step[0] * j, start[1] + step[1] * j, start[2] + step[2] * j)
        met = maps.structure[at]
        solid, depth, push, join = FAR_MM, FAR_MM, FAR_MM, FAR_MM
        for m in range(count):
            n = near[m]
            if j < spans[n, 0] or j >= spans[n, 1]:
                continue
            part = table[n]
            if met != 0 and part[12] != met and part[13] != met:
                continue
            d = part_distance(part, point[0], point[1], point[2])
            solid, depth = min(solid, d), min(depth, d + part[11])
            if part[12] == met:
                push = min(push, d)
            if part[13] == met:
                join = min(join, d + part[11])
        if (solid >= 0.0 and min(push - look.gap, join) > 0.9) or _in_hole(holes, point):
            continue
        _fill(maps, at, (solid, depth, push, join), point, look)


@jit
def _row_run(patch: Patch) -> tuple[float, float, float, float]:
    """Middle column of the box, and half of what a row runs along each axis, mm."""
    half = 0.5 * (patch.box[5] - 1 - patch.box[4])
    step = patch.frame[:, 2]
    return patch.box[4] + half, abs(step[0]) * half, abs(step[1]) * half, abs(step[2]) * half


@jit
def _columns(
    patch: Patch,
    part: NDArray[np.float64],
    start: tuple[float, float, float],
    run: tuple[float, float, float, float],
    margin: float,
) -> tuple[int, int]:
    """First and last+1 column of a row that a part can reach; most rows miss most parts."""
    margin = margin if part[12] > 0 else 0.0
    x, y, z = start[0] - part[14], start[1] - part[15], start[2] - part[16]
    reach = (part[17] + margin, part[18] + margin, part[19] + margin)
    step = patch.frame[:, 2]
    if (
        abs(x + step[0] * run[0]) > reach[0] + run[1]
        or abs(z + step[2] * run[0]) > reach[2] + run[3]
        or abs(y + step[1] * run[0]) > reach[1] + run[2]
    ):
        return 0, 0
    return columns_within(patch, (x, y, z), reach)


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
