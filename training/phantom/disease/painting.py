"""What a disease does inside a vertebral body, painted over its healthy marrow."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.localiser.classes import Structure
from training.phantom.anatomy.body import body_distances, body_patch, endplate
from training.phantom.anatomy.spine import BodyShape, Bone
from training.phantom.disease.model import Disease
from training.phantom.disease.parts import (
    BALL,
    BAND,
    WHOLE_MM,
    Ball,
    Bite,
    Blob,
    Change,
    Cut,
    Fill,
    Sheet,
    ball_rows,
    placed,
)
from training.phantom.painting.grid import Canvas
from training.phantom.painting.kernels import (
    Maps,
    Patch,
    as_byte,
    grain,
    jit,
    put,
    ramp,
    row_count,
    row_start,
)
from training.phantom.painting.tissues import Mark, Tissue

_MARROW, _CORTEX, _SCLEROSIS = int(Tissue.MARROW), int(Tissue.CORTEX), int(Tissue.SCLEROSIS)
_NUCLEUS = int(Tissue.NUCLEUS)
_EROSION, _NODE, _LIMBUS = int(Mark.EROSION), int(Mark.NODE), int(Mark.LIMBUS)
_DISC = int(Structure.DISC)

EROSION_REACH: Final = 0.88
"""Erosions keep off the rims in front and behind, in parts of the half-depth."""

PATCH_EDGE: Final = 0.35
"""Softness of patches, in standard deviations of their texture."""


def paint_disease(canvas: Canvas, bone: Bone, index: int, disease: Disease) -> None:
    """Paint what a disease does inside a body that `paint_body` has painted.

    Args:
        canvas: Painted in place.
        bone: The vertebra.
        index: Its value in `TissueGrid.body`, above 0.
        disease: What to paint.
    """
    if not (disease.changes or disease.blobs or disease.sheets or disease.bites or disease.cuts):
        return
    whole = body_patch(canvas, bone)
    if whole is None:
        return
    for change in disease.changes:
        _change(canvas, whole, bone, index, change)
    for blob in disease.blobs:
        _blob(canvas, whole, bone, index, blob)
    for sheet in disease.sheets:
        _paint_sheet(canvas.maps, whole, bone.shape, sheet, index)
    for bite in disease.bites:
        _bite(canvas, whole, bone, index, bite)
    for cut in disease.cuts:
        _cut(canvas, whole, bone, index, cut)


def near(
    canvas: Canvas, whole: Patch, bone: Bone, low: NDArray[np.float64], high: NDArray[np.float64]
) -> Patch | None:
    """The part of a body's patch between two corners given in its frame, mm."""
    middle = bone.centre + (0.5 * (low + high)) @ bone.axes
    part = canvas.patch(middle, bone.axes, 0.5 * (high - low) + 0.5)
    return None if part is None else Patch(part.box, whole.frame)


def _around(
    canvas: Canvas, whole: Patch, bone: Bone, rows: NDArray[np.float64], margin: float
) -> Patch | None:
    """The part of a patch that balls reach; all of it for a ball that covers the body."""
    if np.any(rows[:, 3:] >= 0.5 * WHOLE_MM):
        return whole
    low = (rows[:, :3] - rows[:, 3:]).min(axis=0) - margin
    high = (rows[:, :3] + rows[:, 3:]).max(axis=0) + margin
    part = near(canvas, whole, bone, low, high)
    return None if part is None else _overlap(part, whole)


def _overlap(part: Patch, whole: Patch) -> Patch | None:
    first = np.maximum(part.box[0::2], whole.box[0::2])
    last = np.minimum(part.box[1::2], whole.box[1::2])
    if np.any(first >= last):
        return None
    return Patch(np.stack([first, last], axis=1).ravel(), whole.frame)


def _change(canvas: Canvas, whole: Patch, bone: Bone, index: int, change: Change) -> None:
    shape = bone.shape
    patch: Patch | None = whole
    ball = placed(change.ball, shape)
    if change.form == BALL:
        margin = change.softness + 3.0 * change.wander
        patch = _around(canvas, whole, bone, np.array([ball]), margin)
    if patch is None:
        return
    tall = max(shape.height_middle, 4.0)
    sized = change._replace(
        superior=change.superior * tall, inferior=change.inferior * tall, ball=ball
    )
    _paint_change(canvas.maps, patch, shape, sized, index)


@jit
def ball_distance(ball: Ball, x: float, y: float, z: float) -> float:
    """Signed distance (mm, approximate) to an ellipsoid placed in mm."""
    a, b, c = (x - ball.x) / ball.half_x, (y - ball.y) / ball.half_y, (z - ball.z) / ball.half_z
    return (np.sqrt(a * a + b * b + c * c) - 1.0) * min(ball.half_x, ball.half_y, ball.half_z)


@jit
def _band(
    shape: BodyShape, change: Change, rough: float, point: tuple[float, float, float]
) -> float:
    """How far a band has got at a point: 0 spared, 1 full, more than 1 at the endplate."""
    x, y, z = point
    half_depth = 0.5 * (shape.half_depth_top + shape.half_depth_bottom) * (1 - shape.waist)
    half_width = 0.5 * (shape.half_width_top + shape.half_width_bottom) * (1 - shape.waist)
    u = min(1.1, max(-1.1, y / half_depth))
    across = x / half_width
    amount = 0.0
    if change.superior > 0.0:
        depth = endplate(shape, u, across, True) - z  # noqa: FBT003
        reach = change.superior * (1.0 + change.lean * u)
        full = ramp(reach - depth + change.wander * rough, change.softness)
        amount = full * (1.0 + change.slope * (0.5 - depth / max(reach, 2.0)))
    if change.inferior > 0.0:
        depth = endplate(shape, u, across, False) + z  # noqa: FBT003
        reach = change.inferior * (1.0 + change.lean * u)
        full = ramp(reach - depth + change.wander * rough, change.softness)
        amount = max(amount, full * (1.0 + change.slope * (0.5 - depth / max(reach, 2.0))))
    return amount


@jit
def _amount(
    maps: Maps, shape: BodyShape, change: Change, point: tuple[float, float, float]
) -> float:
    """How much of a change a point gets: 0 none, 1 full, more where a band is strongest."""
    x, y, z = point
    away = 0.0
    if change.form == BALL:
        away = ball_distance(change.ball, x, y, z)
        if away > change.softness + 3.0 * change.wander:
            return 0.0
    rough = 0.0
    if change.wander > 0.0 or change.cut > -8.0:
        rough = grain(maps.noise, change.rough, x, y, z)
    amount = 1.0
    if change.form == BAND:
        amount = _band(shape, change, rough, point)
    elif change.form == BALL:
        amount = ramp(change.wander * rough - away, change.softness)
    if change.cut > -8.0:
        amount *= ramp(rough - change.cut, PATCH_EDGE)
    return amount


@jit
def _paint_change(maps: Maps, patch: Patch, shape: BodyShape, change: Change, index: int) -> None:
    step = patch.frame[:, 2]
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        for j in range(patch.box[4], patch.box[5]):
            at = (k, i, j)
            if maps.body[at] != index or maps.tissue[at] != _MARROW:
                continue
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            amount = _amount(maps, shape, change, (x, y, z))
            if amount > 0.02:
                uneven = change.grain * grain(maps.noise, change.fine, x, y, z)
                _soak(maps, at, change, amount * max(0.0, 1.0 + uneven))


@jit
def _soak(maps: Maps, at: tuple[int, int, int], change: Change, amount: float) -> None:
    """Mix a change into one voxel of marrow: the wetter of two edemas wins."""
    maps.water[at] = as_byte(max(float(maps.water[at]), change.water * amount))
    held = min(1.0, amount)
    if change.mark > 0 and held > 0.5:
        maps.mark[at] = change.mark
    fat = float(maps.fat[at])
    if change.fat_target >= 0.0:
        fat += (change.fat_target - fat) * held
    else:
        fat *= 1.0 - (1.0 - change.fat_ratio) * held
    maps.fat[at] = as_byte(min(97.0, max(1.0, fat)))


def _blob(canvas: Canvas, whole: Patch, bone: Bone, index: int, blob: Blob) -> None:
    rows = ball_rows(blob.balls, bone.shape)
    fill = blob.fill
    patch = _around(canvas, whole, bone, rows, 2.5 * fill.rough_mm + fill.rim_mm)
    if patch is not None:
        _paint_blob(canvas.maps, patch, rows, fill, index)


@jit
def nearest_ball(rows: NDArray[np.float64], x: float, y: float, z: float) -> float:
    """Signed distance (mm, approximate) to a union of ellipsoids, (n, 6) rows in mm."""
    best = 99.0
    for n in range(rows.shape[0]):
        a, b, c = (
            (x - rows[n, 0]) / rows[n, 3],
            (y - rows[n, 1]) / rows[n, 4],
            (z - rows[n, 2]) / rows[n, 5],
        )
        least = min(rows[n, 3], rows[n, 4], rows[n, 5])
        best = min(best, (np.sqrt(a * a + b * b + c * c) - 1.0) * least)
    return best


@jit
def _paint_blob(
    maps: Maps, patch: Patch, rows: NDArray[np.float64], fill: Fill, index: int
) -> None:
    step = patch.frame[:, 2]
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        for j in range(patch.box[4], patch.box[5]):
            at = (k, i, j)
            tissue = maps.tissue[at]
            if maps.body[at] != index or tissue == _CORTEX:
                continue
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            away = nearest_ball(rows, x, y, z)
            if away > 3.0 * fill.rough_mm + fill.rim_mm:
                continue
            if fill.rough_mm > 0.0:
                away += fill.rough_mm * grain(maps.noise, fill.rough, x, y, z)
            if away >= 0.0:
                if away < fill.rim_mm:
                    put(maps, at, _SCLEROSIS, 10.0, 0.0)
                continue
            fine = grain(maps.noise, fill.fine, x, y, z)
            if fine >= fill.sparse:
                _fill(maps, at, fill, fine, (x, y, z))


@jit
def _fill(
    maps: Maps,
    at: tuple[int, int, int],
    fill: Fill,
    fine: float,
    point: tuple[float, float, float],
) -> None:
    x, y, z = point
    tissue = fill.tissue
    if fill.split < 8.0 and grain(maps.noise, fill.split_texture, x, y, z) > fill.split:
        tissue = fill.other
    fat = min(97.0, max(0.0, fill.fat + fill.fat_spread * fine))
    water = fill.water + fill.water_spread * fine if fill.water > 0.0 else 0.0
    if fill.stripe_mm > 0.0:
        # Thickened vertical trabeculae: dark dots seen from above, dark stripes from the side.
        turn = 6.2832 / fill.stripe_mm
        sway = 2.2 * grain(maps.noise, fill.rough, x, y, 0.0)
        mesh = 0.6 * np.cos(turn * x + sway) + np.cos(turn * y - sway)
        if mesh + 0.4 * fine > 0.95:
            put(maps, at, _SCLEROSIS, 20.0, 0.0)
            return
    put(maps, at, tissue, fat, water)


@jit
def _paint_sheet(maps: Maps, patch: Patch, shape: BodyShape, sheet: Sheet, index: int) -> None:
    step = patch.frame[:, 2]
    half_depth = 0.5 * (shape.half_depth_top + shape.half_depth_bottom) * (1 - shape.waist)
    half_width = 0.5 * (shape.half_width_top + shape.half_width_bottom) * (1 - shape.waist)
    reach = sheet.half_thickness + 3.0 * sheet.wander
    centre, half = 0.5 * (sheet.front + sheet.back), 0.5 * (sheet.back - sheet.front)
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        for j in range(patch.box[4], patch.box[5]):
            at = (k, i, j)
            if maps.body[at] != index or maps.tissue[at] == _CORTEX:
                continue
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            u = y / half_depth
            across = x / half_width
            if u < sheet.front or u > sheet.back or abs(across) > sheet.side:
                continue
            held = min(1.1, max(-1.1, u))
            surface = endplate(shape, held, across, sheet.superior == 1)
            depth = surface - z if sheet.superior == 1 else surface + z
            off = abs(depth - sheet.depth)
            if off > reach:
                continue
            if sheet.wander > 0.0:
                off = abs(
                    depth - sheet.depth - sheet.wander * grain(maps.noise, sheet.rough, x, y, 0.0)
                )
            thick = sheet.half_thickness
            if sheet.lens == 1:
                a, b = (u - centre) / half, across / sheet.side
                thick *= np.sqrt(max(0.0, 1.0 - a * a - b * b))
            if off < thick and grain(maps.noise, sheet.fine, x, y, z) > sheet.sparse:
                put(maps, at, sheet.tissue, sheet.fat, sheet.water)


def _bite(canvas: Canvas, whole: Patch, bone: Bone, index: int, bite: Bite) -> None:
    shape = bone.shape
    sized = bite._replace(x=bite.x * shape.half_width, y=bite.y * shape.half_depth)
    patch: Patch | None = whole
    if bite.erosion <= 0.0:
        # The hole is searched for from mid height to above the rim: dishes differ.
        wide = bite.radius * 1.1 + bite.rim_mm + 2.0 * bite.ragged
        far = 0.5 * max(shape.height_anterior, shape.height_posterior) + 2.0
        low, high = (-0.2 * far, far) if bite.superior else (-far, 0.2 * far)
        patch = near(
            canvas,
            whole,
            bone,
            np.array([sized.x - wide, sized.y - wide, low]),
            np.array([sized.x + wide, sized.y + wide, high]),
        )
        patch = None if patch is None else _overlap(patch, whole)
    if patch is not None:
        _paint_bite(canvas.maps, patch, shape, sized, index)


@jit
def _paint_bite(maps: Maps, patch: Patch, shape: BodyShape, bite: Bite, index: int) -> None:
    step = patch.frame[:, 2]
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        for j in range(patch.box[4], patch.box[5]):
            at = (k, i, j)
            if maps.body[at] != index and maps.tissue[at] != _CORTEX:
                continue
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            solid, top, bottom, u = body_distances(shape, x, y, z)
            if solid >= 0.3:
                continue
            depth = -top if bite.superior == 1 else -bottom
            deepest = max(bite.radius, bite.erosion) + bite.rim_mm + 3.0 * bite.ragged
            if depth > deepest:
                continue
            rough = bite.ragged * grain(maps.noise, bite.rough, x, y, 0.5 * z)
            if bite.erosion > 0.0:
                if abs(u) > EROSION_REACH:
                    continue
                away = depth - bite.erosion + rough
            else:
                a, b, c = x - bite.x, y - bite.y, depth * bite.flat
                away = np.sqrt(a * a + b * b + c * c) - bite.radius + rough
            if away < 0.0:
                put(maps, at, bite.tissue, bite.fat, bite.water)
                maps.mark[at] = _EROSION if bite.erosion > 0.0 else _NODE
                maps.structure[at] = _DISC
                maps.body[at] = 0
            elif away < bite.rim_mm and solid < 0.0:
                put(maps, at, _CORTEX, 0.0, 0.0)


def _cut(canvas: Canvas, whole: Patch, bone: Bone, index: int, cut: Cut) -> None:
    shape = bone.shape
    sized = cut._replace(back=cut.back * shape.half_depth)
    _paint_cut(canvas.maps, whole, shape, sized, index)


@jit
def _paint_cut(maps: Maps, patch: Patch, shape: BodyShape, cut: Cut, index: int) -> None:
    step = patch.frame[:, 2]
    half_depth = 0.5 * (shape.half_depth_top + shape.half_depth_bottom) * (1 - shape.waist)
    rim = 0.5 * shape.height_anterior
    # The band runs from (back, rim) on the endplate to (anterior wall, rim - down).
    run, fall = -half_depth - cut.back, -cut.down
    length = np.sqrt(run * run + fall * fall)
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        for j in range(patch.box[4], patch.box[5]):
            at = (k, i, j)
            if maps.body[at] != index:
                continue
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            if y > cut.back + 3.0 or abs(x) > 0.6 * half_depth:
                continue
            above = (z if cut.superior == 1 else -z) - rim
            off = abs((y - cut.back) * fall - above * run) / length
            if off < cut.half_thickness:
                put(maps, at, _NUCLEUS, 0.0, 60.0)
                maps.mark[at] = _LIMBUS
                maps.structure[at] = _DISC
                maps.body[at] = 0
            elif off < cut.half_thickness + 0.9:
                put(maps, at, _CORTEX, 0.0, 0.0)
