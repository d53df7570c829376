"""What disease does to the disc between two levels: its state, pus in it, gas in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.localiser.classes import Structure
from training.phantom.anatomy.spine import Bone, DiscState
from training.phantom.disease.model import Disease
from training.phantom.painting.grid import Canvas
from training.phantom.painting.kernels import (
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

_PUS, _GAS = int(Tissue.PUS), int(Tissue.GAS)
_NUCLEUS, _ANNULUS = int(Tissue.NUCLEUS), int(Tissue.ANNULUS)
_CARTILAGE = int(Tissue.CARTILAGE)
_DISC = int(Structure.DISC)


def disc_under(disease: Disease, disc: DiscState, rng: np.random.Generator) -> DiscState:
    """The state of the disc under a diseased level: dried, narrowed or wet.

    Args:
        disease: Of the level above the disc.
        disc: As it would be without.
        rng: Spreads what the disease bounds; nothing is drawn for a disc it leaves alone.
    """
    own = disease.disc
    if own is None:
        return disc
    low, high = own.hydration
    high = low + (high - low) * float(rng.uniform(0.7, 1.0))
    return replace(
        disc,
        hydration=min(max(disc.hydration, low), high),
        height_factor=min(disc.height_factor, own.height_factor),
        vacuum=disc.vacuum and own.pus == 0.0,
    )


def paint_disc_disease(canvas: Canvas, upper: Bone, lower: Bone, disease_of_upper: Disease) -> None:
    """Paint pus or gas into the disc that lies between two bones.

    Args:
        canvas: Painted in place, the disc already there.
        upper: Bone above the disc; its disease owns the disc.
        lower: Bone below it.
        disease_of_upper: Of the upper bone.
    """
    own = disease_of_upper.disc
    if own is None or (own.pus <= 0.0 and own.vacuum <= 0.0):
        return
    top = upper.centre - upper.axes[2] * 0.5 * upper.shape.height_rim
    bottom = lower.centre + lower.axes[2] * 0.5 * lower.shape.height_rim
    middle = 0.5 * (top + bottom)
    gap = float(np.linalg.norm(top - bottom))
    shape = upper.shape
    dish = max(shape.dish_inferior, lower.shape.dish_superior)
    reach = np.array([shape.half_width_bottom, shape.half_depth_bottom, 0.5 * gap + dish]) + 3.0
    head = upper.axes[2] + lower.axes[2]
    head = head / np.linalg.norm(head)
    left = upper.axes[0] - head * float(upper.axes[0] @ head)
    left = left / np.linalg.norm(left)
    patch = canvas.patch(middle, np.stack([left, np.cross(head, left), head]), reach)
    if patch is None:
        return
    texture = Texture(*own.place, 1.0 / 5.0)
    if own.pus > 0.0:
        _paint_pus(canvas.maps, patch, texture, 1.4 - 2.8 * own.pus)
    if own.vacuum > 0.0:
        half = 0.6 * min(shape.half_depth_bottom, shape.half_width_bottom)
        _paint_gas(canvas.maps, patch, own.vacuum, half)


@jit
def _paint_pus(maps: Maps, patch: Patch, texture: Texture, cut: float) -> None:
    step = patch.frame[:, 2]
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        for j in range(patch.box[4], patch.box[5]):
            at = (k, i, j)
            tissue = maps.tissue[at]
            if maps.structure[at] != _DISC or tissue not in (_NUCLEUS, _ANNULUS, _CARTILAGE):
                continue
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            # The nucleus melts first.
            harder = 0.7 if tissue == _ANNULUS else 0.0
            if grain(maps.noise, texture, x, y, z) > cut + harder:
                put(maps, at, _PUS, 0.0, 0.0)


@jit
def _paint_gas(maps: Maps, patch: Patch, half_thickness: float, half: float) -> None:
    step = patch.frame[:, 2]
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        for j in range(patch.box[4], patch.box[5]):
            at = (k, i, j)
            if maps.structure[at] != _DISC:
                continue
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            away = 1.0 - (x * x + y * y) / (half * half)
            if away > 0.0 and abs(z) < half_thickness * np.sqrt(away):
                put(maps, at, _GAS, 0.0, 0.0)
