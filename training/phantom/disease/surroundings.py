"""What a disease does around a body: masses, blood, a fragment in the canal, pedicles, facets."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.localiser.classes import Structure
from training.phantom.anatomy.body import body_distances, body_patch
from training.phantom.anatomy.spine import BodyShape, Bone, Spine
from training.phantom.disease.model import Disease
from training.phantom.disease.painting import near, nearest_ball
from training.phantom.disease.parts import Arch, Ball, Fragment, Mass, Rim, ball_rows
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
from training.phantom.painting.tissues import Tissue

_MARROW, _CORTEX, _CORD = int(Tissue.MARROW), int(Tissue.CORTEX), int(Tissue.CORD)
_FAT, _MUSCLE, _ORGAN = int(Tissue.FAT), int(Tissue.MUSCLE), int(Tissue.SOFT_ORGAN)
_NERVE, _LIGAMENT = int(Tissue.NERVE), int(Tissue.LIGAMENT)
_BODY, _DISC, _CANAL = int(Structure.BODY), int(Structure.DISC), int(Structure.CANAL)
_POSTERIOR = int(Structure.POSTERIOR_ELEMENTS)

ARCH_HALF_WIDTH_MM: Final = 36.0


def paint_surroundings(canvas: Canvas, bone: Bone, spine: Spine, disease: Disease) -> None:
    """Paint what a disease does outside its body; everything else has been painted.

    Args:
        canvas: Painted in place.
        bone: The diseased vertebra.
        spine: Gives the body's index and the width of the canal.
        disease: What to paint.
    """
    if not (disease.arches or disease.masses or disease.rims or disease.fragments):
        return
    whole = body_patch(canvas, bone)
    if whole is None:
        return
    for rim in disease.rims:
        _rim(canvas, whole, bone, rim)
    for arch in disease.arches:
        _arch(canvas, whole, bone, arch)
    for mass in disease.masses:
        _mass(canvas, whole, bone, spine, mass)
    for piece in disease.fragments:
        _fragment(canvas, whole, bone, spine, piece)


def _index(spine: Spine, level: str) -> int:
    """Value of a level in `TissueGrid.body`."""
    return spine.levels.index(level) + 1 if level in spine.levels else len(spine.levels) + 1


def _mass(canvas: Canvas, whole: Patch, bone: Bone, spine: Spine, mass: Mass) -> None:
    rows = ball_rows(mass.balls, bone.shape)
    if mass.epidural:
        # Epidural balls are given from the wall: y = 1 is its middle, 1.5 half a canal behind.
        behind = np.array([ball.y - 1.0 for ball in mass.balls])
        rows[:, 1] = bone.shape.half_depth + 2.0 * behind * spine.canal(bone.level)[0]
    margin = 3.0 * mass.rough_mm
    low = (rows[:, :3] - rows[:, 3:]).min(axis=0) - margin
    high = (rows[:, :3] + rows[:, 3:]).max(axis=0) + margin
    patch = near(canvas, whole, bone, low, high)
    if patch is not None:
        _paint_mass(canvas.maps, patch, rows, mass._replace(balls=(mass.balls[0],)))


@jit
def _may_grow(maps: Maps, at: tuple[int, int, int], epidural: int) -> bool:
    """Whether a mass may take a voxel: soft tissue, and the canal for an epidural one."""
    if maps.body[at] != 0:
        return False
    tissue, structure = maps.tissue[at], maps.structure[at]
    if structure == _CANAL:
        return epidural == 1 and tissue not in (_CORD, _NERVE)
    if structure != 0:
        return False
    return tissue in (_FAT, _MUSCLE, _ORGAN, _CORTEX, _LIGAMENT)


@jit
def _paint_mass(maps: Maps, patch: Patch, rows: NDArray[np.float64], mass: Mass) -> None:
    step = patch.frame[:, 2]
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        for j in range(patch.box[4], patch.box[5]):
            at = (k, i, j)
            if not _may_grow(maps, at, mass.epidural):
                continue
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            away = nearest_ball(rows, x, y, z)
            if away > 3.0 * mass.rough_mm:
                continue
            if away + mass.rough_mm * grain(maps.noise, mass.rough, x, y, z) < 0.0:
                put(maps, at, mass.tissue, mass.fat, 0.0)


def _rim(canvas: Canvas, whole: Patch, bone: Bone, rim: Rim) -> None:
    shape = bone.shape
    wide = np.array([shape.half_width, shape.half_depth, 0.5 * shape.height_rim])
    reach = wide + shape.lip + 2.0 * rim.thickness
    patch = near(canvas, whole, bone, -reach, reach)
    if patch is not None:
        _paint_rim(canvas.maps, patch, shape, rim)


@jit
def _paint_rim(maps: Maps, patch: Patch, shape: BodyShape, rim: Rim) -> None:
    step = patch.frame[:, 2]
    tall = 0.5 * max(shape.height_anterior, shape.height_posterior)
    half_depth = 0.5 * (shape.half_depth_top + shape.half_depth_bottom) * (1 - shape.waist)
    margin = 1.5 * rim.thickness + shape.lip
    wide = max(shape.half_width_top, shape.half_width_bottom) + margin
    deep = max(shape.half_depth_top, shape.half_depth_bottom) + margin
    end = rim.back * half_depth
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        for j in range(patch.box[4], patch.box[5]):
            at = (k, i, j)
            tissue = maps.tissue[at]
            if maps.structure[at] != 0 or (tissue not in (_FAT, _MUSCLE, _ORGAN, _LIGAMENT)):
                continue
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            a, b = x / wide, y / deep
            # Most of the box is too far away, or behind the rim's end.
            if abs(z) > tall + 1.0 or y > end or a * a + b * b > 1.5:
                continue
            solid, _, _, u = body_distances(shape, x, y, z)
            if u > rim.back or solid > 2.0 * rim.thickness:
                continue
            # Thins out towards the rims of the body.
            taper = 1.0 - 0.6 * (z / tall) * (z / tall)
            thick = rim.thickness * taper * (1.0 + 0.35 * grain(maps.noise, rim.rough, x, y, z))
            if solid < thick:
                put(maps, at, rim.tissue, rim.fat, 0.0)


def _arch(canvas: Canvas, whole: Patch, bone: Bone, arch: Arch) -> None:
    shape = bone.shape
    wall, half = shape.half_depth, 0.5 * shape.height_rim
    sized = arch._replace(behind=wall + arch.behind, front=wall + arch.front, low=arch.low * half)
    low = np.array([-ARCH_HALF_WIDTH_MM, sized.front - 2.0, sized.low - arch.tall - 2.0])
    high = np.array([ARCH_HALF_WIDTH_MM, sized.behind + 4.0, sized.low + arch.tall + 2.0])
    patch = near(canvas, whole, bone, low, high)
    if patch is not None:
        _paint_arch(canvas.maps, patch, sized)


@jit
def _paint_arch(maps: Maps, patch: Patch, arch: Arch) -> None:
    step = patch.frame[:, 2]
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        for j in range(patch.box[4], patch.box[5]):
            at = (k, i, j)
            if maps.structure[at] != _POSTERIOR or maps.tissue[at] != _MARROW:
                continue
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            if x * arch.side < 0.0:
                continue
            rough = 1.5 * grain(maps.noise, arch.rough, x, y, z)
            inside = min(arch.behind - y, y - arch.front, arch.tall - abs(z - arch.low)) + rough
            if arch.tissue != _MARROW:
                if inside > 0.0:
                    fat = float(maps.fat[at]) * arch.fat_ratio
                    put(maps, at, arch.tissue, fat, arch.water + 20.0 * rough)
                continue
            amount = ramp(inside, 3.0)
            if amount > 0.02:
                maps.water[at] = as_byte(max(float(maps.water[at]), arch.water * amount))
                kept = 1.0 - (1.0 - arch.fat_ratio) * amount
                maps.fat[at] = as_byte(float(maps.fat[at]) * kept)


def fragment_ball(shape: BodyShape, piece: Fragment) -> Ball:
    """Where a fragment lies in the body's frame, for `corner_distance`, mm."""
    tall = 0.2 * shape.height_posterior + 1.5
    return Ball(
        piece.x,
        max(shape.half_depth, shape.half_depth_top) - 4.0 + piece.out,
        0.5 * shape.height_posterior - tall,
        piece.half_width,
        4.5,
        tall,
    )


def _fragment(canvas: Canvas, whole: Patch, bone: Bone, spine: Spine, piece: Fragment) -> None:
    ball = fragment_ball(bone.shape, piece)
    centre, half = np.array(ball[:3]), np.array(ball[3:])
    patch = near(canvas, whole, bone, centre - half, centre + half)
    if patch is not None:
        _paint_fragment(canvas.maps, patch, ball, piece.water, _index(spine, bone.level))


@jit
def corner_distance(ball: Ball, x: float, y: float, z: float) -> float:
    """Signed distance (mm, approximate) to a corner of bone: flat above, tapering downwards."""
    a = (x - ball.x) / ball.half_x
    above = (z - ball.z) / ball.half_z
    reach = ball.half_y * (1.0 - 0.5 * a * a) * (0.65 + 0.35 * min(1.0, above))
    behind = y - ball.y - reach
    aside = (abs(a) - 1.0) * ball.half_x
    return max(behind, aside, (abs(above) - 1.0) * ball.half_z)


@jit
def _paint_fragment(maps: Maps, patch: Patch, ball: Ball, water: float, index: int) -> None:
    step = patch.frame[:, 2]
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        for j in range(patch.box[4], patch.box[5]):
            at = (k, i, j)
            structure = maps.structure[at]
            if maps.body[at] != 0 or structure in (_DISC, _POSTERIOR):
                continue
            if maps.tissue[at] == _CORD:
                continue
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            away = corner_distance(ball, x, y, z)
            if away >= 0.0:
                continue
            maps.structure[at] = _BODY
            maps.body[at] = index
            if away < -0.9:
                put(maps, at, _MARROW, 30.0, water)
            else:
                put(maps, at, _CORTEX, 0.0, 0.0)
