"""A vertebral body: its solid, its healthy marrow, and how both are painted."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from models.localiser.classes import Structure
from training.phantom.anatomy.spine import BodyShape, Bone
from training.phantom.numbers import held
from training.phantom.painting.grid import Canvas
from training.phantom.painting.kernels import (
    FAR_MM,
    Maps,
    Patch,
    Texture,
    columns_within,
    grain,
    jit,
    put,
    ramp,
    rounded_max,
    row_count,
    row_start,
    sample_texture,
)
from training.phantom.painting.tissues import Tissue

CORTEX_MM: Final = 0.9
"""Mean thickness of cortex and bony endplate; inside of it everything is marrow."""

THINNER_BEHIND: Final = 0.4
"""Part by which the posterior wall is thinner than the others."""

FAINTEST_VEIN: Final = 0.15
PLATE_MARGIN_MM: Final = -0.35
FRONT_MARGIN_MM: Final = -1.35
BACK_MARGIN_MM: Final = -0.45
SIDE_MARGIN_MM: Final = -0.8
"""How far inside its surface a body is labelled at endplates, front, back and sides. Readers
outline marrow: in front cortex and anterior ligament are one thick dark line that they leave out.
Chosen by comparing networks trained on other margins with masks of real scans."""

HALF_BENT: Final = 0.5
"""Place, 0 in the middle to 1 at the side wall, at which half of the bend is reached."""

EDGE_RADIUS_MM: Final = 1.6
REACH_MM: Final = 3.0
BAND_MM: Final = 6.0
"""Thickness of the marrow band that differs beneath an endplate."""

_CORTEX, _MARROW, _VEIN = int(Tissue.CORTEX), int(Tissue.MARROW), int(Tissue.SLOW_BLOOD)


class Marrow(NamedTuple):
    """Healthy marrow of one body.

    Attributes:
        fat: Mean fat percent; `spread` its standard deviation within the body.
        spread: Over islands and grain together.
        rim: Fat percent added beside the cortex, falling off over 3 mm.
        vein: Size of the basivertebral vein, 0..1.
        islands, fine: Textures of red marrow islands and of trabecular grain.
        band: Fat percent added beneath the endplates: fatty in the old, red in the young.
        front: Fat percent added at the anterior wall, taken at the posterior one.
        halo: Fat percent added around the basivertebral vein.
        cortex: Thickness of the side walls, mm.
        plate: Thickness of the bony endplates, mm.
    """

    fat: float
    spread: float
    rim: float
    vein: float
    islands: Texture
    fine: Texture
    band: float = 0.0
    front: float = 0.0
    halo: float = 0.0
    cortex: float = CORTEX_MM
    plate: float = CORTEX_MM


def sample_marrow(rng: np.random.Generator, fat: float, spread: float, vein: float) -> Marrow:
    """The marrow of one body around a spine's mean fat percent.

    Args:
        rng: Source.
        fat: Mean fat percent; fatty marrow is old marrow, and looks it.
        spread: Standard deviation of the fat percent within the body.
        vein: Size of the basivertebral vein, 0..1.

    Source: conversion of red marrow begins beneath the endplates and around the vein (Ricci 1990).
    """
    fat = held(fat, 6, 88)
    old = held((fat - 35) / 20, -1, 1)
    return Marrow(
        fat=fat,
        spread=spread,
        rim=float(rng.uniform(0.0, 5.0)),
        vein=vein,
        islands=sample_texture(rng, float(rng.uniform(6.0, 10.0))),
        fine=sample_texture(rng, float(rng.uniform(2.6, 4.4))),
        band=float(rng.normal(4.0 * old, 3.0)),
        front=float(rng.normal(1.5 * old, 1.5)),
        halo=float(abs(rng.normal(3.0, 3.0))),
        cortex=float(rng.uniform(0.35, 0.7)),
        plate=float(rng.uniform(0.7, 1.2)),
    )


@jit
def endplate(shape: BodyShape, u: float, across: float, superior: bool) -> float:
    """Distance of an endplate from the body's centre along its axis, mm.

    Args:
        shape: Of the body.
        u: Antero-posterior place, -1 anterior to 1 posterior.
        across: Sideways place, 0 in the middle to 1 at the left and -1 at the right side wall.
        superior: Which endplate.
    """
    if superior:
        dish, centre, width, sign = (
            shape.dish_superior,
            shape.dish_centre_superior,
            shape.dish_width_superior,
            1.0,
        )
    else:
        dish, centre, width, sign = (
            shape.dish_inferior,
            shape.dish_centre_inferior,
            shape.dish_width_inferior,
            -1.0,
        )
    rise = 0.5 * (shape.height_anterior - shape.height_posterior)
    across = min(1.2, max(-1.2, across))
    rim = 0.5 * (shape.height_posterior + rise * (1 - u)) + 0.25 * shape.lateral_wedge * across
    side = across * across
    off = (u - centre) / width
    rim += (
        sign
        * 2.6
        * (1 - side)
        * (shape.ripple_sagittal * u * (1 - u * u) + shape.ripple_coronal * across * (1 - u * u))
    )
    if superior and shape.uncus > 0.0:
        rim += shape.uncus * max(0.0, side - 0.45) * max(0.0, 0.8 + u)
    return rim - dish * np.exp(-(side * side) - off * off)


@jit
def straightened(shape: BodyShape, x: float, y: float) -> float:
    """The place in depth that a point would have in a body whose sides are not bent backwards."""
    across = x / (shape.half_width_top + shape.half_width_bottom)
    side = 4.0 * across * across
    return y - shape.bend * side * side / (side * side + HALF_BENT**4)


@jit
def body_distances(
    shape: BodyShape, x: float, y: float, z: float
) -> tuple[float, float, float, float]:
    """Signed distances of a point in the body's frame, mm, negative inside.

    Returns:
        To the whole body (FAR_MM when clearly outside); to the superior and to the inferior
        endplate; and the antero-posterior place, -1 anterior wall to 1 posterior wall.
    """
    y = straightened(shape, x, y)
    half_depth = 0.5 * (shape.half_depth_top + shape.half_depth_bottom) * (1 - shape.waist)
    half_width = 0.5 * (shape.half_width_top + shape.half_width_bottom) * (1 - shape.waist)
    u = min(1.15, max(-1.15, y / half_depth))
    # A cheap bound first: most points of the box lie outside the body.
    tall = 0.5 * max(shape.height_anterior, shape.height_posterior) + REACH_MM
    tall += 0.3 * abs(shape.lateral_wedge) + shape.uncus
    deep = half_depth + REACH_MM + 0.5 * abs(shape.shear)
    far = (x / (half_width + REACH_MM)) ** 2 + (y / deep) ** 2
    if abs(z) > tall or far > 1.9:
        return FAR_MM, z, -z, u
    radial = outline(shape, x, y, _level(shape, u, z))
    across = x / half_width
    top = z - endplate(shape, u, across, True)  # noqa: FBT003
    bottom = -z - endplate(shape, u, across, False)  # noqa: FBT003
    return _rounded(radial, max(top, bottom)), top, bottom, u


@jit
def _level(shape: BodyShape, u: float, z: float) -> float:
    """Place along the body, -1 at the lower rim to 1 at the upper one."""
    height = shape.height_posterior + 0.5 * (1 - u) * (
        shape.height_anterior - shape.height_posterior
    )
    return min(1.15, max(-1.15, 2 * z / max(height, 1.0)))


@jit
def _rounded(radial: float, plate: float) -> float:
    if min(radial, plate) <= -EDGE_RADIUS_MM:
        return max(radial, plate)  # far from the rim: nothing to round
    return rounded_max(radial, plate, EDGE_RADIUS_MM)


@jit
def _inside(shape: BodyShape, x: float, y: float, z: float) -> tuple[float, float, float]:
    """As `body_distances`, but quicker for a painter: (solid, nearer endplate, place in depth).

    `y` is a `straightened` one. Outside the body only the sign of the first is meant.
    """
    half_depth = 0.5 * (shape.half_depth_top + shape.half_depth_bottom) * (1 - shape.waist)
    half_width = 0.5 * (shape.half_width_top + shape.half_width_bottom) * (1 - shape.waist)
    u = min(1.15, max(-1.15, y / half_depth))
    radial = outline(shape, x, y, _level(shape, u, z))
    if radial >= 0.0:
        return FAR_MM, 0.0, u
    across = x / half_width
    # In all but crushed bodies only the endplate of the point's own half can be near.
    lowest = 0.5 * min(shape.height_anterior, shape.height_posterior) - 3.0
    thin = max(shape.dish_superior, shape.dish_inferior) > lowest
    plate = -FAR_MM
    if z > 0.0 or thin:
        plate = z - endplate(shape, u, across, True)  # noqa: FBT003
    if z <= 0.0 or thin:
        plate = max(plate, -z - endplate(shape, u, across, False))  # noqa: FBT003
    if plate >= 0.0:
        return FAR_MM, 0.0, u
    return _rounded(radial, plate), plate, u


@jit
def outline(shape: BodyShape, x: float, y: float, level: float) -> float:
    """Signed distance (mm, approximate) to the side wall at a level, -1 bottom to 1 top.

    `y` is a `straightened` one.
    """
    half_depth = 0.5 * (shape.half_depth_top + shape.half_depth_bottom) * (1 - shape.waist)
    y -= 0.5 * shape.shear * level
    u = min(1.15, max(-1.15, y / half_depth))
    middle = 1 - min(level * level, 1.0)
    waist = 1 - shape.waist * middle
    blend = 0.5 * (level + 1)
    depth = waist * (
        shape.half_depth_bottom + (shape.half_depth_top - shape.half_depth_bottom) * blend
    )
    width = waist * (
        shape.half_width_bottom + (shape.half_width_top - shape.half_width_bottom) * blend
    )
    # Osteophytes grow forward and sideways from the rims, hardly into the canal.
    rim = min(0.45, max(0.0, abs(level) - 0.55)) / 0.45
    lip = shape.lip * rim * rim * min(1.6, max(0.0, 0.6 - u)) / 1.6
    bulge = 0.0
    if u > 0.0 and middle > 0.0:
        bulge = shape.posterior_bulge * middle * u * np.exp(-((x / (0.55 * width)) ** 2))
    a, b = x / (width + lip), y / (depth + lip + bulge)
    a, b = a * a, b * b
    round_, square = np.sqrt(a + b), np.sqrt(np.sqrt(a * a + b * b))
    return (round_ + shape.squareness * (square - round_) - 1.0) * min(depth, width)


@jit
def rim(shape: BodyShape, x: float, y: float, top: bool) -> float:
    """Distance to the side wall at the upper or the lower rim, where it is quick to tell."""
    y = straightened(shape, x, y)
    if top:
        width, depth, y = shape.half_width_top, shape.half_depth_top, y - 0.5 * shape.shear
    else:
        width, depth, y = shape.half_width_bottom, shape.half_depth_bottom, y + 0.5 * shape.shear
    lip = shape.lip * min(1.0, max(0.0, 0.375 - 0.625 * y / depth))
    a, b = x / (width + lip), y / (depth + lip)
    a, b = a * a, b * b
    round_, square = np.sqrt(a + b), np.sqrt(np.sqrt(a * a + b * b))
    return (round_ + shape.squareness * (square - round_) - 1.0) * min(depth, width)


def body_reach(shape: BodyShape) -> tuple[float, float, float]:
    """Half-extents of a body along its own axes, mm, with its osteophytes."""
    return (
        max(shape.half_width_top, shape.half_width_bottom) + shape.lip,
        max(shape.half_depth_top, shape.half_depth_bottom)
        + max(shape.lip, shape.posterior_bulge, 0.0)
        + shape.bend
        + 0.6 * abs(shape.shear),
        0.5 * max(shape.height_anterior, shape.height_posterior)
        + 0.3 * abs(shape.lateral_wedge)
        + abs(shape.ripple_sagittal)
        + abs(shape.ripple_coronal)
        + shape.uncus,
    )


def body_patch(canvas: Canvas, bone: Bone) -> Patch | None:
    """The voxels around a body, seen in its frame; None when outside the grid."""
    x, y, z = body_reach(bone.shape)
    return canvas.patch(
        bone.centre, bone.axes, np.array([x, max(y, bone.shape.half_depth + 4), z]) + 3.0
    )


def paint_body(canvas: Canvas, bone: Bone, index: int, marrow: Marrow) -> None:
    """Paint cortex and healthy marrow of a body.

    Args:
        canvas: Painted in place.
        bone: The vertebra or sacral piece.
        index: Its value in `TissueGrid.body`; 0 for pieces below S1.
        marrow: Its state.
    """
    reach = body_reach(bone.shape)
    patch = canvas.patch(bone.centre, bone.axes, np.array(reach))
    if patch is None:
        return
    structure = Structure.SACRUM_S1 if bone.level == "S1" else Structure.BODY
    if bone.sacral and bone.level != "S1":
        structure = Structure.SACRUM_LOWER
    own = marrow._replace(vein=0.0, halo=0.0) if bone.sacral else marrow
    _paint_body(canvas.maps, patch, bone.shape, own, (int(structure), int(index)), reach)


@jit
def _paint_body(
    maps: Maps,
    patch: Patch,
    shape: BodyShape,
    marrow: Marrow,
    labels: tuple[int, int],
    reach: tuple[float, float, float],
) -> None:
    step = patch.frame[:, 2]
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        first, last = columns_within(patch, (x0, y0, z0), reach)
        for j in range(first, last):
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            y = straightened(shape, x, y)
            solid, plate, u = _inside(shape, x, y, z)
            if solid >= 0.0:
                continue
            at = (k, i, j)
            if solid < _label_margin(shape, x, y, (solid, plate)):
                maps.structure[at] = labels[0]
                maps.body[at] = labels[1]
            blood = _vein(shape, marrow.vein, x, y, z)
            wall = marrow.cortex * (1.0 - THINNER_BEHIND * max(0.0, u))
            # The basivertebral vein leaves through a hole in the posterior wall.
            shut = solid >= -wall and blood <= FAINTEST_VEIN
            if shut or plate >= -marrow.plate:
                put(maps, at, _CORTEX, 0.0, 0.0)
                continue
            if blood > FAINTEST_VEIN:
                put(maps, at, _VEIN, 15.0 + 70.0 * (1.0 - blood), 0.0)
            else:
                fat = marrow.fat + marrow.spread * (
                    0.9 * grain(maps.noise, marrow.islands, x, y, z)
                    + 0.6 * grain(maps.noise, marrow.fine, x, y, z)
                )
                fat += _pattern(marrow, solid, plate, u)
                fat += marrow.halo * _near_vein(u, x, z)
                put(maps, at, _MARROW, min(95.0, max(2.0, fat)), 0.0)


@jit
def in_label(shape: BodyShape, x: float, y: float, z: float) -> bool:
    """Whether a point of the body's frame, mm, lies where label maps show the body."""
    y = straightened(shape, x, y)
    solid, plate, _ = _inside(shape, x, y, z)
    return solid < 0.0 and solid < _label_margin(shape, x, y, (solid, plate))


@jit
def _label_margin(shape: BodyShape, x: float, y: float, away: tuple[float, float]) -> float:
    """How far inside the surface the label ends, by the distances to the solid and a plate."""
    return _wall_margin(shape, x, y) if away[0] > away[1] + 0.3 else PLATE_MARGIN_MM


@jit
def _wall_margin(shape: BodyShape, x: float, y: float) -> float:
    """Margin of the label at the side wall, from front, back and sides as the wall faces them."""
    deep = y / (shape.half_depth_top + shape.half_depth_bottom)
    wide = x / (shape.half_width_top + shape.half_width_bottom)
    facing = deep * deep / max(deep * deep + wide * wide, 1e-9)
    along = FRONT_MARGIN_MM if y < 0.0 else BACK_MARGIN_MM
    return SIDE_MARGIN_MM + facing * (along - SIDE_MARGIN_MM)


@jit
def _pattern(marrow: Marrow, solid: float, plate: float, u: float) -> float:
    """Fat percent that cortex, endplates and front of a body add to its marrow."""
    beside = 1.0 / (1.0 + 0.11 * solid * solid)
    beneath = max(0.0, 1.0 + plate / BAND_MM)
    return marrow.rim * beside + marrow.band * beneath - marrow.front * u


@jit
def _near_vein(u: float, x: float, z: float) -> float:
    """1 beside the basivertebral vein to 0 a centimetre away from it."""
    away = (z * z + 0.4 * x * x) / 49.0
    return max(0.0, 1.0 - away) * min(1.0, max(0.0, u + 0.4))


@jit
def _vein(shape: BodyShape, vein: float, x: float, y: float, z: float) -> float:
    """How much of a point is basivertebral vein, 0..1.

    Seen from the side a wedge: a few millimetres tall at the middle of the posterior wall, and
    tapering forward; seen from above two branches that spread.
    """
    if vein <= 0.0:
        return 0.0
    half_depth = 0.5 * (shape.half_depth_top + shape.half_depth_bottom) * (1 - shape.waist)
    away = max(0.0, 0.97 * half_depth - y) / (half_depth * (0.35 + 0.45 * vein))
    if away >= 1.0:
        return 0.0
    tall = (0.9 + 1.9 * vein) * (1.0 - away) + 0.3
    branch = abs(abs(x) - 5.5 * away) - 1.0 - 1.5 * (1.0 - away)
    beyond = max(abs(z) - tall, branch)
    return vein * (1.0 - 0.6 * away) * ramp(-beyond, 0.8)
