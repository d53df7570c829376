"""The neural arch: pedicles, articular pillars, laminae, processes and facet joints of a vertebra.

Paint from cranial to caudal: a superior articular process pushes the inferior process of the level
above aside and leaves the joint space between them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from models.localiser.classes import Structure
from training.phantom.anatomy.atlas import atlas_parts, skull_parts
from training.phantom.anatomy.norms import joined_sides, level_names, norm_of
from training.phantom.anatomy.solids import (
    NO_PARTS,
    Part,
    SolidLook,
    Table,
    near_grid,
    paint_solid,
    part_distance,
    solid_patch,
    table_of,
)
from training.phantom.anatomy.spine import Bone, Subject
from training.phantom.numbers import held
from training.phantom.painting.grid import Canvas
from training.phantom.painting.kernels import FAR_MM, Patch, Texture, jit, sample_texture
from training.phantom.painting.tissues import Tissue

_ARCH, _BODY = int(Structure.POSTERIOR_ELEMENTS), int(Structure.BODY)
_SACRUM = int(Structure.SACRUM_LOWER)

ARCH_REACH_MM: Final = (50.0, 85.0, 60.0)
SKULL_REACH_MM: Final = (60.0, 110.0, 110.0)

PEDICLES: Final[dict[str, tuple[float, float, float]]] = {
    "C2": (7.0, 8.0, 30.0), "C3": (5.2, 7.0, 42.0), "C4": (5.2, 7.2, 42.0), "C5": (5.4, 6.9, 40.0),
    "C6": (5.8, 7.1, 36.0), "C7": (6.5, 7.5, 30.0), "T1": (7.9, 9.6, 28.0), "T2": (6.8, 11.2, 19.0),
    "T3": (5.6, 11.8, 17.0), "T4": (4.7, 11.8, 14.0), "T5": (4.6, 11.8, 12.0),
    "T6": (5.0, 12.0, 10.0), "T7": (5.3, 12.1, 9.0), "T8": (5.9, 12.4, 8.0), "T9": (6.1, 13.6, 8.0),
    "T10": (6.4, 14.8, 5.0), "T11": (7.8, 16.4, 1.0), "T12": (7.9, 15.9, 0.0),
    "T13": (8.2, 15.8, 4.0), "L1": (8.7, 15.4, 11.0), "L2": (8.9, 15.0, 12.0),
    "L3": (10.3, 14.9, 14.0), "L4": (12.9, 14.8, 18.0), "L5": (16.5, 14.0, 28.0),
    "L6": (16.0, 14.0, 28.0),
}  # fmt: skip
"""Width, height (mm) and medial angle (degrees) after Zindrick 1987 and Panjabi 1991/1992."""

SPINOUS: Final[dict[str, tuple[float, float, float, float]]] = {
    "C2": (17.0, 4.0, 5.5, 3.6), "C3": (12.0, 5.0, 3.2, 2.4), "C4": (12.0, 5.5, 3.2, 2.4),
    "C5": (14.0, 6.0, 3.2, 2.4), "C6": (18.0, 7.0, 3.6, 2.4), "C7": (22.0, 10.0, 4.4, 2.8),
    "T1": (23.0, 14.0, 5.0, 2.8), "T2": (23.0, 17.0, 5.0, 2.6), "T3": (22.0, 20.0, 5.0, 2.5),
    "T4": (22.0, 22.0, 5.0, 2.4), "T5": (21.0, 26.0, 5.0, 2.3), "T6": (20.0, 28.0, 5.0, 2.3),
    "T7": (20.0, 28.0, 5.2, 2.3), "T8": (20.0, 26.0, 5.4, 2.3), "T9": (20.0, 21.0, 5.8, 2.4),
    "T10": (20.0, 16.0, 6.2, 2.5), "T11": (19.0, 10.0, 7.4, 2.8), "T12": (22.0, 6.0, 9.4, 3.2),
    "T13": (24.0, 5.0, 10.4, 3.6), "L1": (29.0, 4.0, 11.6, 3.9), "L2": (32.0, 4.0, 12.6, 4.1),
    "L3": (33.0, 4.0, 12.8, 4.2), "L4": (32.0, 4.5, 11.6, 4.2), "L5": (26.0, 5.0, 8.8, 4.0),
    "L6": (24.0, 5.0, 8.6, 4.0),
}  # fmt: skip
"""Spinous process: length behind the lamina, drop of its tip, half-height, half-thickness, mm.
Lumbar lengths such that fat begins as far behind the bodies as on real water images."""

TRANSVERSE_MM: Final[dict[str, float]] = {
    **dict.fromkeys(("C2", "C3", "C4", "C5", "C6", "C7"), 8.0),
    "T1": 20.0, "T2": 19.0, "T3": 18.0, "T4": 18.0, "T5": 18.0, "T6": 18.0, "T7": 18.0, "T8": 18.0,
    "T9": 17.0, "T10": 15.0, "T11": 10.0, "T12": 6.0, "T13": 7.0, "L1": 16.0, "L2": 20.0,
    "L3": 24.0, "L4": 20.0, "L5": 17.0, "L6": 16.0,
}  # fmt: skip
"""Length of a transverse process beyond its root."""


class Arch(NamedTuple):
    """One neural arch as sampled, mm and radians.

    Attributes:
        pedicle_width, pedicle_height, pedicle_angle: Of both pedicles; the angle is medial.
        process_length, process_drop, process_height, process_thick: Of the spinous process: length
            behind the lamina, drop of its tip, half-height, half-thickness.
        process_bend: How far its tip lies to the left.
        transverse_left, transverse_right: Lengths of the transverse processes.
        transverse_rise: How far their tips lie above their roots.
        facet: Size of the articular processes, 1 is mean.
        wear: Facet osteoarthritis, 0..1.
        gap: Width of the joint space.
        effusion: 1, fluid in the joints; 0, cartilage.
        reach_down: Height of the disc below, that the inferior processes must pass.
        joined_left, joined_right: Transition to the sacrum, as `norms.joined_sides`.
        fat, spread: Marrow fat percent and its standard deviation.
        texture: Of the marrow.
    """

    pedicle_width: float
    pedicle_height: float
    pedicle_angle: float
    process_length: float
    process_drop: float
    process_height: float
    process_thick: float
    process_bend: float
    transverse_left: float
    transverse_right: float
    transverse_rise: float
    facet: float
    wear: float
    gap: float
    effusion: int
    reach_down: float
    joined_left: int
    joined_right: int
    fat: float
    spread: float
    texture: Texture


def sample_arch(rng: np.random.Generator, bone: Bone, subject: Subject) -> Arch:
    """Draw the neural arch of a presacral vertebra.

    Args:
        rng: Source.
        bone: The vertebra.
        subject: Whose; age wears the facets.

    Raises:
        GeometryError: The bone is sacral.
    """
    level, scale = bone.level, subject.scale
    norm = norm_of(level)
    width, height, angle = PEDICLES[level]
    length, drop, tall, thick = SPINOUS[level]
    transverse = TRANSVERSE_MM[level] * scale
    load = {"L4": 0.2, "L5": 0.2, "L3": 0.1}.get(level, 0.0)
    wear = held((subject.age_years - 40) / 70 + load + rng.normal(-0.1, 0.25), 0.0, 1.0)
    transitional = level == level_names(subject.numbering)[-1] and subject.numbering != "lumbarised"
    joined = (0, 0)
    if transitional:
        joined = joined_sides(subject.castellvi, left=subject.joined_left)
    gap = norm.disc * scale * (bone.disc.height_factor if bone.disc else 1.0)
    return Arch(
        # Pedicle widths differ between people by 15 % (CT), far more than bodies do.
        pedicle_width=float(max(2.6, width * scale * rng.normal(1.0, 0.14))),
        pedicle_height=float(height * scale * rng.normal(1.0, 0.07)),
        pedicle_angle=float(np.radians(angle + rng.normal(0, 3))),
        process_length=float(length * scale * rng.normal(1.0, 0.1)),
        process_drop=float(drop * scale * rng.normal(1.0, 0.15)),
        process_height=float(tall * scale * rng.normal(1.0, 0.1)),
        process_thick=float(thick * scale * rng.normal(1.0, 0.1)),
        process_bend=float(rng.normal(0.0, 1.5)),
        transverse_left=float(transverse * rng.normal(1.0, 0.1)),
        transverse_right=float(transverse * rng.normal(1.0, 0.1)),
        transverse_rise=float(rng.normal(1.0, 2.0)),
        facet=float(scale * rng.normal(1.0, 0.06) * (1 + 0.22 * wear)),
        wear=wear,
        gap=held(rng.normal(1.7 - 0.7 * wear, 0.3), 0.6, 2.6),
        effusion=int(rng.random() < 0.08 + 0.25 * wear),
        reach_down=float(gap),
        joined_left=joined[0],
        joined_right=joined[1],
        fat=held(100 * subject.marrow_fat + rng.normal(5, 5), 8, 90),
        spread=float(rng.uniform(5, 11)),
        texture=sample_texture(rng, float(rng.uniform(2.5, 4.5))),
    )


class _Place(NamedTuple):
    """Landmarks of an arch in the body's frame, and the side that is built, mm."""

    side: float
    wall: float
    deep: float
    half: float
    inner: float
    middle: float
    lamina: float


def _place(bone: Bone, canal: tuple[float, float], arch: Arch, side: float) -> _Place:
    """Landmarks of one side: +1 left, -1 right."""
    deep, wide = canal
    if bone.level[0] == "C":
        deep, wide = 0.85 * deep, 0.85 * wide
    wall = bone.intact.half_depth
    inner = max(wide, 0.62 * bone.intact.half_width)
    half = 0.5 * bone.intact.height_rim
    middle = inner + 0.5 * arch.pedicle_width
    return _Place(side, wall, deep, half, inner, middle, wall + 2.05 * deep)


def pedicle_parts(bone: Bone, canal: tuple[float, float], arch: Arch) -> Table:
    """(2, n) the left and the right pedicle in the body's frame, for `in_pedicle`."""
    return table_of([_pedicle(_place(bone, canal, arch, side), arch) for side in (1.0, -1.0)])


def _pedicle(at: _Place, arch: Arch) -> Part:
    width, tall = 0.5 * arch.pedicle_width, 0.5 * arch.pedicle_height
    length = 0.35 * at.wall + 1.25 * at.deep
    # The slope of the axis already widens the capsule; its front end lies nearer the midline.
    front = at.middle - 0.7 * np.tan(min(arch.pedicle_angle, 0.6)) * length * 0.6
    up = max(0.0, at.half - tall - 0.8)
    return Part(
        (at.side * front, 0.65 * at.wall, up),
        (at.side * at.middle, at.wall + 1.25 * at.deep, up - 0.5),
        (width, max(width, 3.5), tall),
        cortex=1.0,
        joins=_BODY,
    )


@jit
def in_pedicle(pedicles: Table, x: float, y: float, z: float) -> bool:
    """Whether a point of the body's frame lies in one of the pedicles (`pedicle_parts`)."""
    nearest = FAR_MM
    for part in pedicles:
        nearest = min(nearest, part_distance(part, x, y, z))
    return nearest < 0.0


def arch_patch(canvas: Canvas, bone: Bone) -> Patch | None:
    """The voxels around a vertebra's arch, seen in the body's frame; None outside the grid."""
    height, wall = 0.5 * bone.intact.height_rim, bone.intact.half_depth
    whole = Part((0.0, 0.6 * wall, 0.0), (0.0, wall + 60.0, -18.0), (45.0, 4.0, height + 22.0))
    found = solid_patch(canvas, bone.centre, bone.axes, table_of([whole]))
    return found[0] if found else None


def paint_arch(canvas: Canvas, bone: Bone, canal: tuple[float, float], arch: Arch) -> None:
    """Paint the neural arch of a presacral vertebra; of C2 also the dens, C1 and the skull base.

    Args:
        canvas: Painted in place; bodies, discs, canal and the arches above are there already.
        bone: The vertebra.
        canal: Half-depth and half-width of the canal, mm.
        arch: As sampled.
    """
    reach = SKULL_REACH_MM if bone.level == "C2" else ARCH_REACH_MM
    if not near_grid(canvas, bone, reach):
        return
    parts: list[Part] = []
    for side, length, joined in (
        (1.0, arch.transverse_left, arch.joined_left),
        (-1.0, arch.transverse_right, arch.joined_right),
    ):
        at = _place(bone, canal, arch, side)
        parts += [_pedicle(at, arch), *_facets(bone.level, at, arch), *_lamina(bone.level, at)]
        parts += _transverse(bone, at, arch, length, joined)
    parts += _spinous(bone.level, _place(bone, canal, arch, 1.0), arch)
    if bone.level == "C2":
        parts += atlas_parts(bone, canal)
    look = SolidLook(
        int(Tissue.CORTEX),
        int(Tissue.MARROW),
        arch.fat,
        arch.spread,
        arch.texture,
        _ARCH,
        arch.gap,
        int(Tissue.FLUID if arch.effusion else Tissue.CARTILAGE),
    )
    _paint(canvas, bone, parts, look)
    if bone.level == "C2":
        _paint(canvas, bone, skull_parts(bone, canal), look._replace(structure=0))


def _paint(canvas: Canvas, bone: Bone, parts: list[Part], look: SolidLook) -> None:
    found = solid_patch(canvas, bone.centre, bone.axes, table_of(parts), look.gap + 1.0)
    if found is not None:
        paint_solid(canvas.maps, *found, NO_PARTS, look)


def _facets(level: str, at: _Place, arch: Arch) -> list[Part]:
    """Articular pillar of one side: superior process, pars and inferior process."""
    s, size, shell = at.side, arch.facet, 0.9 + 1.4 * arch.wear
    below = -(at.half + arch.reach_down)
    region = level[0]
    if region == "C":
        # Pillars stacked obliquely: the joint runs from the front above to the back below.
        x = s * (at.inner + 4.5)
        top = (x, at.wall + 0.55 * at.deep, 0.45 * at.half)
        tip = (x, at.wall + 0.75 * at.deep, 0.95 * at.half)
        down = (x, at.wall + 1.25 * at.deep, below - 0.15 * at.half)
        radii = (4.6 * size, 4.0 * size, 3.6 * size)
        return [
            Part(top, tip, radii, shell, over=_ARCH),
            Part(top, down, (4.6 * size, 3.6 * size, 3.6 * size), shell),
        ]
    if region == "T" and level not in ("T11", "T12", "T13"):
        # Frontal joints: the inferior process covers the superior one from behind.
        x = s * (at.inner - 0.5)
        root = (x, at.wall + 1.35 * at.deep, 0.3 * at.half)
        tip = (x, at.wall + 1.7 * at.deep, 1.05 * at.half + 1.5)
        heel = (x, at.wall + 2.05 * at.deep + 1.0, -0.2 * at.half)
        down = (x - 0.5 * s, at.wall + 2.05 * at.deep + 2.5, below - 0.25 * at.half)
        return [
            Part(root, tip, (4.4 * size, 2.6 * size, 3.0 * size), shell, over=_ARCH),
            Part(root, heel, (4.2, 3.4, 4.5)),
            Part(heel, down, (4.4 * size, 2.6 * size, 3.0 * size), shell),
        ]
    # Lumbar: the inferior process lies behind and medial to the superior process below.
    x = at.middle
    root = (s * (x + 0.5), at.wall + 1.2 * at.deep, 0.35 * at.half)
    tip = (s * (x + 2.0), at.wall + 1.5 * at.deep, 0.95 * at.half)
    pars = (s * (x - 0.5), at.wall + 1.85 * at.deep, -0.5 * at.half)
    down = (s * (x - 1.5), at.wall + 1.5 * at.deep + 5.5, below - 0.35 * at.half)
    return [
        Part(root, tip, (5.2 * size, 4.4 * size, 5.2 * size), shell, over=_ARCH),
        Part(root, pars, (4.2, 3.4, 4.2)),
        Part(pars, down, (5.0 * size, 4.6 * size, 4.6 * size), shell),
    ]


def _lamina(level: str, at: _Place) -> list[Part]:
    s = at.side
    if level[0] == "C":
        start = (s * (at.inner + 2.0), at.wall + 1.35 * at.deep, -0.2 * at.half)
        return [Part(start, (0.6 * s, at.lamina + 3.0, -0.5 * at.half), (2.0, 2.0, 4.6), 0.8)]
    if level[0] == "T" and level not in ("T11", "T12", "T13"):
        start = (s * (at.inner - 0.5), at.wall + 1.75 * at.deep, 0.0)
        end = (0.8 * s, at.lamina + 4.0, -0.5 * at.half)
        return [Part(start, end, (2.6, 2.6, 0.75 * at.half))]
    start = (s * (at.middle - 1.5), at.wall + 1.7 * at.deep, -0.25 * at.half)
    return [Part(start, (1.2 * s, at.lamina + 4.0, -0.6 * at.half), (2.8, 2.8, 6.2))]


def _spinous(level: str, at: _Place, arch: Arch) -> list[Part]:
    base, tip = _axis(at, arch)
    bend, end_y, end_z = tip
    thick, tall = arch.process_thick, arch.process_height
    if level in ("C3", "C4", "C5", "C6"):  # bifid
        neck = (0.5 * bend, end_y - 5.0, end_z + 1.5)
        prongs = [
            Part(neck, (0.5 * bend + s * 4.0, end_y, end_z), (2.0, 2.4, tall)) for s in (1.0, -1.0)
        ]
        return [Part(base, neck, (thick, 3.0, tall)), *prongs]
    parts = [Part(base, tip, (thick, 3.5, tall))]
    if level[0] == "L":
        # The free edge is thicker than the blade, and a little lower.
        low = (bend, end_y - 1.0, end_z - 0.25 * tall)
        parts.append(Part(low, low, (thick + 1.2, 3.6, 0.9 * tall)))
    return parts


def spinous_axis(
    bone: Bone, canal: tuple[float, float], arch: Arch
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Root and tip of a spinous process in the body's frame, mm."""
    return _axis(_place(bone, canal, arch, 1.0), arch)


def _axis(at: _Place, arch: Arch) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    base = (0.0, at.lamina + 3.0, -0.55 * at.half)
    tip = (arch.process_bend, base[1] + arch.process_length, base[2] - arch.process_drop)
    return base, tip


def lamina_edge(
    bone: Bone, canal: tuple[float, float], arch: Arch, side: float, *, top: bool
) -> tuple[float, float, float]:
    """Where the yellow ligament is attached: upper or lower edge of a lamina, mm."""
    at = _place(bone, canal, arch, side)
    z = -0.05 * at.half if top else -0.55 * at.half - 3.0
    return side * 0.4 * at.inner, at.lamina + (0.5 if top else -0.2), z


def foramen_roof(
    bone: Bone, canal: tuple[float, float], arch: Arch, side: float
) -> tuple[float, float, float]:
    """Middle of a pedicle's lower edge, under which the spinal nerve leaves the canal, mm."""
    at = _place(bone, canal, arch, side)
    roof = max(0.0, at.half - 0.5 * arch.pedicle_height - 0.8) - 0.5 * arch.pedicle_height
    return side * at.middle, at.wall + 0.55 * at.deep, roof


def _transverse(bone: Bone, at: _Place, arch: Arch, length: float, joined: int) -> list[Part]:
    s, level = at.side, bone.level
    if level[0] == "C":
        # Two bars around the vertebral artery.
        x = bone.intact.half_width
        tip = (s * (x + length + 2.0), at.wall * 0.5, -0.35 * at.half)
        front = (s * (x - 1.0), 0.1 * at.wall, -0.1 * at.half)
        back = (s * (at.inner + 3.0), at.wall + 0.3 * at.deep, -0.1 * at.half)
        return [Part(front, tip, (2.0, 1.6, 2.2), 0.8), Part(back, tip, (2.0, 1.6, 2.2), 0.8)]
    if level[0] == "T":
        root = (s * at.middle, at.wall + 1.5 * at.deep, 0.15 * at.half)
        tip = (
            s * (at.middle + length),
            at.wall + 1.9 * at.deep + 0.3 * length,
            0.25 * at.half + arch.transverse_rise,
        )
        return [Part(root, tip, (3.6, 3.2, 4.2)), Part(tip, tip, (4.4, 4.2, 5.0))]
    root = (s * (at.middle + 1.0), at.wall + 0.95 * at.deep, 0.3 * at.half)
    tip = (
        s * (at.middle + length + 4.0),
        at.wall + 1.2 * at.deep + 2.0,
        0.3 * at.half + arch.transverse_rise,
    )
    if joined == 0:
        tall = 6.2 if level in ("L5", "L6") else 5.4
        return [Part(root, tip, (3.4, 3.0, tall), 0.8)]
    # A transitional process is 19 mm high or more, and meets the ala or grows into it.
    broad = Part(root, (tip[0], tip[1], tip[2] - 4.0), (5.0, 5.5, 10.5))
    if joined == 1:
        return [broad]
    floor = (tip[0] - 3.0 * s, tip[1] - 3.0, -at.half - arch.reach_down - 2.0)
    meets = {"joins": _SACRUM} if joined == 3 else {"over": _SACRUM}
    return [broad, Part((tip[0] - 2.0 * s, tip[1], tip[2] - 6.0), floor, (8.0, 7.0, 6.0), **meets)]
