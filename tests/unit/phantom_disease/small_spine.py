"""Three bodies in a small grid, with a canal, an arch and soft tissue around them, all plain."""

from __future__ import annotations

import numpy as np

from models.localiser.classes import Structure
from training.phantom.anatomy.body import paint_body, sample_marrow
from training.phantom.anatomy.spine import BodyShape, Bone, DiscState, Spine, Subject
from training.phantom.disease import (
    HEALTHY,
    Disease,
    deform,
    paint_disc_disease,
    paint_disease,
    paint_surroundings,
)
from training.phantom.painting.grid import Canvas, FineGrid
from training.phantom.painting.tissues import Tissue

INTACT = BodyShape(27.0, 27.0, 2.0, 2.0, 17.0, 17.0, 22.0, 22.5)
LEVELS = ("L1", "L2", "L3")
PITCH = (1.33, 0.8, 0.8)
GAP_MM = 37.0
INDEX = {name: n + 1 for n, name in enumerate(LEVELS)}


def spine_with(diseases: dict[str, Disease]) -> Spine:
    rng = np.random.default_rng(8)
    bones = tuple(
        Bone(
            level,
            np.array([0.0, 0.0, -GAP_MM * (n - 1)]),
            np.eye(3),
            deform(INTACT, diseases.get(level, HEALTHY), rng),
            INTACT,
            DiscState(0.7, 1.0, 1.0),
        )
        for n, level in enumerate(LEVELS)
    )
    return Spine(Subject("F", 66.0, 1.0, 0.5, "usual"), bones, 8.0, 11.0, "L1", levels=LEVELS)


def blank() -> Canvas:
    shape = (52, 152, 112)
    affine = np.eye(4)
    affine[:3, 0] = (PITCH[0], 0.0, 0.0)
    affine[:3, 1] = (0.0, 0.0, -PITCH[1])
    affine[:3, 2] = (0.0, PITCH[2], 0.0)
    affine[:3, 3] = np.array([0.0, 14.0, 0.0]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Canvas.blank(FineGrid(shape, affine))


def painted(diseases: dict[str, Disease]) -> tuple[Canvas, Spine]:
    """The three bodies with their diseases inside and around."""
    spine, canvas = spine_with(diseases), blank()
    rng = np.random.default_rng(3)
    maps = canvas.maps
    maps.tissue[...] = Tissue.FAT
    maps.fat[...] = 95
    for bone in spine.bones:
        paint_body(canvas, bone, INDEX[bone.level], sample_marrow(rng, 50.0, 4.0, 0.4))
        paint_disease(canvas, bone, INDEX[bone.level], diseases.get(bone.level, HEALTHY))
    _paint_simple_neighbours(canvas)
    for upper, lower in zip(spine.bones, spine.bones[1:], strict=False):
        paint_disc_disease(canvas, upper, lower, diseases.get(upper.level, HEALTHY))
    for level, disease in diseases.items():
        paint_surroundings(canvas, spine.bone(level), spine, disease)
    return canvas, spine


def _paint_simple_neighbours(canvas: Canvas) -> None:
    """A canal behind the bodies, an arch behind and beside it, and discs between the bodies."""
    maps, affine = canvas.maps, canvas.grid.affine
    index = np.indices(maps.tissue.shape).reshape(3, -1)
    x, y, z = (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *maps.tissue.shape)
    free = maps.body == 0
    canal = free & (np.abs(x) < 11) & (y > 17.5) & (y < 34)
    maps.structure[canal], maps.tissue[canal], maps.fat[canal] = Structure.CANAL, Tissue.CSF, 0
    arch = free & ~canal & (np.abs(x) < 18) & (y > 15) & (y < 55) & (np.abs(z % GAP_MM - 3) < 9)
    maps.structure[arch], maps.tissue[arch] = Structure.POSTERIOR_ELEMENTS, Tissue.MARROW
    maps.fat[arch] = 55
    disc = free & ~arch & ~canal & (np.hypot(x / 21, y / 16) < 1) & (maps.tissue == Tissue.FAT)
    maps.structure[disc], maps.tissue[disc] = Structure.DISC, Tissue.NUCLEUS
    maps.fat[disc], maps.water[disc] = 0, 120
