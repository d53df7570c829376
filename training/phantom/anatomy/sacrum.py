"""The sides of the sacrum: alae, neural foramina, median crest, and the iliac bones beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.localiser.classes import Structure
from training.phantom.anatomy.norms import joined_sides
from training.phantom.anatomy.solids import (
    NO_PARTS,
    Part,
    SolidLook,
    Table,
    near_grid,
    paint_solid,
    solid_patch,
    table_of,
)
from training.phantom.anatomy.spine import Bone, Spine
from training.phantom.numbers import held
from training.phantom.painting.grid import Canvas
from training.phantom.painting.kernels import Texture, sample_texture
from training.phantom.painting.tissues import Tissue

_S1, _LOWER = int(Structure.SACRUM_S1), int(Structure.SACRUM_LOWER)
_ARCH = int(Structure.POSTERIOR_ELEMENTS)

CANAL_PART: Final = {"S1": 0.92, "S2": 0.66, "S3": 0.5, "S4": 0.36}
"""Half-depth of the sacral canal as a part of the lumbar canal's."""

SACRUM_REACH_MM: Final = (130.0, 110.0, 130.0)

TILT_PART: Final = {"S1": 1.0, "S2": 0.7, "S3": 0.3, "S4": 0.0, "S5": 0.0}
"""How far back the side of an ala lies, as a part of that of S1."""

ALA: Final = {
    "S1": (27.0, 14.0, 15.0),
    "S2": (20.0, 12.0, 13.0),
    "S3": (12.0, 9.0, 10.0),
    "S4": (7.0, 6.5, 7.5),
    "S5": (4.0, 4.5, 6.0),
}
"""How far an ala reaches beyond its body, its half-depth and half-height, mm."""


@dataclass(frozen=True, slots=True)
class Sacrum:
    """What varies beside the sacral bodies, mm.

    Attributes:
        ala: Size of the alae, 1 is mean; `tilt` how far their sides lie further back.
        tilt: See above.
        foramen: Radius of the neural foramina.
        joint: Width of the sacroiliac joints.
        crest: Height of the median crest.
        open_below: Whether the posterior wall is missing from S3 down (sacral hiatus).
        free_left, free_right: Whether a lumbarised S1 has no ala of its own on that side.
        fat, spread: Marrow fat percent and its standard deviation.
        texture: Of the marrow.
    """

    ala: float
    tilt: float
    foramen: float
    joint: float
    crest: float
    open_below: bool
    free_left: bool
    free_right: bool
    fat: float
    spread: float
    texture: Texture


def sample_sacrum(rng: np.random.Generator, spine: Spine) -> Sacrum:
    """Draw the sides of the sacrum of a spine."""
    subject = spine.subject
    lumbarised = subject.numbering == "lumbarised"
    kinds = joined_sides(subject.castellvi, left=subject.joined_left)
    return Sacrum(
        ala=float(subject.scale * rng.normal(1.0, 0.06)),
        tilt=float(rng.normal(6.0, 2.0)),
        foramen=held(rng.normal(5.0, 0.7), 3.5, 6.5),
        joint=held(rng.normal(2.6, 0.6), 1.2, 4.0),
        crest=held(rng.normal(7.0, 2.0), 2.0, 12.0),
        open_below=bool(rng.random() < 0.3),
        free_left=lumbarised and kinds[0] < 3,
        free_right=lumbarised and kinds[1] < 3,
        fat=held(100 * subject.marrow_fat + rng.normal(8, 6), 10, 90),
        spread=float(rng.uniform(5, 11)),
        texture=sample_texture(rng, float(rng.uniform(3.0, 5.0))),
    )


def paint_sacrum(canvas: Canvas, spine: Spine, sacrum: Sacrum) -> None:
    """Paint alae, foramina, median crest and ilium wherever nothing is labelled yet.

    Args:
        canvas: Painted in place; sacral bodies, discs and canal are there already.
        spine: Whose sacrum.
        sacrum: As sampled.
    """
    if not near_grid(canvas, spine.bone("S2"), SACRUM_REACH_MM):
        return
    look = SolidLook(
        int(Tissue.CORTEX),
        int(Tissue.MARROW),
        sacrum.fat,
        sacrum.spread,
        sacrum.texture,
        _LOWER,
        sacrum.joint,
        int(Tissue.CARTILAGE),
    )
    for level in ALA:
        bone = spine.bone(level)
        holes = table_of(_foramina(bone, spine, sacrum))
        _paint(canvas, bone, _alae(bone, sacrum), holes, look)
    for level in ("S1", "S2", "S3", "S4"):
        _paint(
            canvas,
            spine.bone(level),
            _roof(spine.bone(level), spine, sacrum),
            NO_PARTS,
            look._replace(structure=_ARCH),
        )
    # The ilium comes last: it stops short of the alae by the width of the joint.
    _paint(
        canvas,
        spine.bone("S1"),
        _ilium(spine.bone("S1"), sacrum),
        NO_PARTS,
        look._replace(structure=0, fat=sacrum.fat + 3.0),
    )


def _paint(canvas: Canvas, bone: Bone, parts: list[Part], holes: Table, look: SolidLook) -> None:
    if not parts:
        return
    found = solid_patch(canvas, bone.centre, bone.axes, table_of(parts))
    if found is not None:
        paint_solid(canvas.maps, *found, holes, look)


def _alae(bone: Bone, sacrum: Sacrum) -> list[Part]:
    wide, deep, tall = (size * sacrum.ala for size in ALA[bone.level])
    inner = bone.shape.half_width
    height = 0.5 * bone.shape.height_rim
    parts = []
    for side, free in ((1.0, sacrum.free_left), (-1.0, sacrum.free_right)):
        if bone.level == "S1" and free:
            continue  # a lumbarised S1 has transverse processes only
        meets = _S1 if bone.level == "S1" else _LOWER
        thin = min(9.0, 0.65 * inner)
        tilt = sacrum.tilt * TILT_PART[bone.level]
        edge = (side * (inner + wide - thin), tilt, -0.15 * height)
        for z in (0.35, -0.35):  # two rounded bars, one over the other: a block
            root = (side * 0.8 * inner, 1.0, z * height)
            end = (edge[0], edge[1], edge[2] + z * height)
            parts.append(Part(root, end, (thin, deep, 0.72 * tall), joins=meets))
        if bone.level in ("S1", "S2"):  # down to the next ala, beside the foramen
            down = (edge[0] - side * 4.0, edge[1] + 5.0, -2.2 * height)
            parts.append(Part(edge, down, (9.0, 0.85 * deep, 8.0), joins=_LOWER))
    if bone.level == "S1" and (sacrum.free_left or sacrum.free_right):
        parts += _processes(bone, sacrum)
    return parts


def _processes(bone: Bone, sacrum: Sacrum) -> list[Part]:
    """Transverse processes of a lumbarised S1."""
    parts = []
    for side, free in ((1.0, sacrum.free_left), (-1.0, sacrum.free_right)):
        if free:
            root = (side * 0.8 * bone.shape.half_width, 0.8 * bone.shape.half_depth, 4.0)
            tip = (side * (bone.shape.half_width + 19.0), bone.shape.half_depth + 4.0, 4.0)
            parts.append(Part(root, tip, (5.0, 5.5, 7.5), joins=_S1))
    return parts


def _foramina(bone: Bone, spine: Spine, sacrum: Sacrum) -> list[Part]:
    """Canals from back to front, below each piece beside the body."""
    if bone.level == "S5":
        return []
    height = 0.5 * bone.shape.height_rim
    size = sacrum.foramen * {"S1": 1.0, "S2": 0.9, "S3": 0.75}.get(bone.level, 0.6)
    x = 0.5 * (bone.shape.half_width_bottom + bone.shape.half_width) + 0.6 * size
    behind = bone.shape.half_depth + spine.canal_half_depth
    return [
        Part(
            (side * (x + 2.0), -bone.shape.half_depth - 8.0, -height - 3.0),
            (side * (x - 1.0), behind + 14.0, -height + 1.0),
            (size, size, size * 1.15),
        )
        for side in (1.0, -1.0)
    ]


def _roof(bone: Bone, spine: Spine, sacrum: Sacrum) -> list[Part]:
    """Laminae behind the sacral canal and the median crest on them."""
    if sacrum.open_below and bone.level in ("S3", "S4"):
        return []
    deep = spine.canal_half_depth * CANAL_PART[bone.level]
    wide = spine.canal_half_width * CANAL_PART[bone.level]
    back = bone.shape.half_depth + 2 * deep
    height = 0.5 * bone.shape.height_rim
    crest = sacrum.crest * {"S1": 1.2, "S2": 1.0, "S3": 0.7}.get(bone.level, 0.5)
    parts = [
        Part(
            (side * (wide + 5.0), back - deep, 0.0),
            (0.5 * side, back + 3.5, -0.2 * height),
            (2.6, 2.6, 0.9 * height),
        )
        for side in (1.0, -1.0)
    ]
    top, low = (0.0, back + 3.0, 0.0), (0.0, back + 3.0 + crest, -0.4 * height)
    return [*parts, Part(top, low, (3.0, 3.0, 0.55 * height))]


def _ilium(bone: Bone, sacrum: Sacrum) -> list[Part]:
    """Iliac bones from the crest above to the notch below, around the auricular surface."""
    x = bone.shape.half_width + ALA["S1"][0] * sacrum.ala
    parts = []
    for side in (1.0, -1.0):
        front = (side * (x + 12.0), -14.0, -4.0)
        behind = (side * (x - 8.0), 40.0, -14.0)
        crest = (side * (x + 32.0), -10.0, 48.0)
        parts += [
            Part(front, behind, (6.5, 8.0, 22.0), cortex=1.3, over=_LOWER),
            Part(behind, (behind[0], 36.0, 14.0), (6.5, 9.0, 14.0), cortex=1.3),
            Part(front, crest, (5.0, 16.0, 14.0), cortex=1.3),
            Part(behind, crest, (5.0, 10.0, 12.0), cortex=1.3),
        ]
    return parts
