"""Paint bones, discs, canal and cord on the canvas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.localiser.classes import Structure
from training.phantom.anatomy import BodyShape, Bone, Spine
from training.phantom.canvas import (
    Canvas,
    Capsule,
    Field,
    Mask,
    Patch,
    distance_to,
    rounded_max,
    smooth_field,
)
from training.phantom.tissues import Tissue

CORTEX_MM = 0.9
LABEL_MARGIN_MM = -0.25
"""Bodies are labelled to just inside their outer cortex, as readers outline them."""


@dataclass(slots=True)
class BodyField:
    """A body's signed distances on a patch, mm; negative inside.

    Attributes:
        patch: Points in the body's frame.
        radial: To the side wall.
        top, bottom: To the superior and inferior endplates.
        solid: To the whole body.
        u: Antero-posterior place, -1 anterior wall to 1 posterior wall.
    """

    patch: Patch
    radial: Field
    top: Field
    bottom: Field
    solid: Field
    u: Field


def body_field(
    canvas: Canvas, bone: Bone, shape: BodyShape, margin: float = 8.0
) -> BodyField | None:
    """Evaluate a body near its place; None when outside the grid."""
    reach = np.array(
        [
            max(shape.half_width_top, shape.half_width_bottom),
            max(shape.half_depth_top, shape.half_depth_bottom),
            0.5 * max(shape.height_anterior, shape.height_posterior),
        ]
    )
    patch = canvas.patch(bone.centre, bone.axes, reach + margin)
    if patch is None:
        return None
    x, y, z = patch.x, patch.y, patch.z
    u = y / shape.half_depth
    across = np.abs(x) / shape.half_width
    clipped = np.clip(u, -1.15, 1.15)
    height = shape.height_posterior + (shape.height_anterior - shape.height_posterior) * 0.5 * (
        1 - clipped
    )
    level = np.clip(2 * z / np.maximum(height, 1.0), -1.15, 1.15)  # -1 bottom … 1 top
    radial = _radial(shape, x, y, u, level)
    top = z - endplate(shape, clipped, across, superior=True)
    bottom = -z - endplate(shape, clipped, across, superior=False)
    solid = rounded_max(radial, np.maximum(top, bottom), 1.6)
    return BodyField(patch, radial, top, bottom, solid, np.asarray(clipped, dtype=np.float32))


def endplate(shape: BodyShape, u: Field, across: Field, *, superior: bool) -> Field:
    """Distance of an endplate from the body's centre along its axis, mm.

    Args:
        shape: Of the body.
        u: Antero-posterior place, -1 anterior to 1 posterior.
        across: Sideways place, 0 in the middle to 1 at the side wall.
        superior: Which endplate.
    """
    dish, centre, width = (
        (shape.dish_superior, shape.dish_centre_superior, shape.dish_width_superior)
        if superior
        else (shape.dish_inferior, shape.dish_centre_inferior, shape.dish_width_inferior)
    )
    rise = 0.5 * (shape.height_anterior - shape.height_posterior)
    rim = 0.5 * (shape.height_posterior + rise * (1 - u))
    spread = np.exp(-(np.minimum(across, 1.2) ** 4))
    return np.asarray(rim - dish * spread * np.exp(-(((u - centre) / width) ** 2)))


def _radial(shape: BodyShape, x: Field, y: Field, u: Field, level: Field) -> Field:
    waist = 1 - shape.waist * (1 - np.minimum(level * level, 1.0))
    blend = 0.5 * (level + 1)
    depth = (
        shape.half_depth_bottom + (shape.half_depth_top - shape.half_depth_bottom) * blend
    ) * waist
    width = (
        shape.half_width_bottom + (shape.half_width_top - shape.half_width_bottom) * blend
    ) * waist
    # Osteophytes grow forward and sideways from the rims, hardly into the canal.
    rim = np.clip(np.abs(level) - 0.55, 0, 0.45) / 0.45
    lip = shape.lip * rim * rim * np.clip(0.6 - u, 0, 1.6) / 1.6
    back = np.clip(u, 0, 1.2)
    bulge = shape.posterior_bulge * (1 - np.minimum(level * level, 1.0)) * back
    bulge = bulge * np.exp(-((x / (0.55 * width)) ** 2))
    p = shape.squareness
    reach = (np.abs(x / (width + lip)) ** p + np.abs(y / (depth + lip + bulge)) ** p) ** (1 / p)
    return np.asarray((reach - 1.0) * np.minimum(depth, width), dtype=np.float32)


def texture(patch: Patch, rng: np.random.Generator, fine_mm: float = 3.0) -> Field:
    """Marrow texture with unit variance: trabecular grain over islands of red marrow."""
    spacing = tuple(float(v) for v in np.linalg.norm(patch.canvas.grid.affine[:3, :3], axis=0))
    shape = (patch.x.shape[0], patch.x.shape[1], patch.x.shape[2])
    grain = smooth_field(shape, (spacing[0], spacing[1], spacing[2]), fine_mm, rng)
    islands = smooth_field(shape, (spacing[0], spacing[1], spacing[2]), 9.0, rng)
    return np.asarray(0.8 * grain + 0.6 * islands)


@dataclass(frozen=True, slots=True)
class Marrow:
    """State of a vertebra's healthy marrow: mean fat percent, its spread, basivertebral vein."""

    fat: float
    spread: float
    vein: float

    def fat_map(self, texture_field: Field, solid: Field) -> NDArray[np.uint8]:
        """Fat percent of each point; subchondral marrow is a little fattier in old spines."""
        fat = self.fat + self.spread * texture_field + 4.0 * np.exp(-np.abs(solid) / 3.0)
        return np.clip(fat, 2, 95).astype(np.uint8)


def paint_body(
    field: BodyField, bone: Bone, index: int, marrow: Marrow, rng: np.random.Generator
) -> Mask:
    """Paint cortex and marrow of a body; returns the mask of its marrow."""
    patch = field.patch
    inside = field.solid < 0
    marrow_mask = field.solid < -CORTEX_MM
    structure = Structure.SACRUM_S1 if bone.level == "S1" else Structure.BODY
    if bone.sacral and bone.level != "S1":
        structure = Structure.SACRUM_LOWER
    patch.paint(inside, Tissue.CORTEX)
    fat = marrow.fat_map(texture(patch, rng), field.solid)
    patch.paint(marrow_mask, Tissue.MARROW, fat=fat)
    labelled = field.solid < LABEL_MARGIN_MM
    patch.structure[labelled] = structure
    patch.body[labelled] = index
    if not bone.sacral and marrow.vein > 0:
        half = 0.5 * bone.shape.height_rim
        away = np.maximum(0.0, bone.shape.half_depth * 0.95 - patch.y)
        cone = (np.abs(patch.z) < 0.11 * half + 0.10 * away * marrow.vein * 0.4) & (
            np.abs(patch.x) < 2.0 + 0.25 * away
        )
        vein = marrow_mask & cone & (away < bone.shape.half_depth * (0.35 + 0.4 * marrow.vein))
        patch.paint(vein, Tissue.SLOW_BLOOD, fat=15)
    return marrow_mask


def paint_disc(canvas: Canvas, upper: Bone, lower: Bone, rng: np.random.Generator) -> None:
    """Fill the space between two bodies with annulus, nucleus and gas, as the disc's state says."""
    disc = upper.disc
    hydration = disc.hydration if disc else 0.15
    bulge = disc.bulge if disc else 0.0
    middle = 0.5 * (upper.centre + lower.centre)
    axes = _between(upper, lower)
    half_width = 0.5 * (upper.shape.half_width_bottom + lower.shape.half_width_top)
    half_depth = 0.5 * (upper.shape.half_depth_bottom + lower.shape.half_depth_top)
    gap = float(np.linalg.norm(upper.centre - lower.centre)) - 0.5 * (
        upper.shape.height_rim + lower.shape.height_rim
    )
    middle = lower.centre + lower.axes[2] * (0.5 * lower.shape.height_rim + 0.5 * gap)
    reach = np.array([half_width + 6, half_depth + 8, 0.5 * gap + 7])
    patch = canvas.patch(middle, axes, reach)
    if patch is None:
        return
    u = patch.y / half_depth
    grow = np.where(u > 0, bulge, 0.35 * bulge) + 0.4
    radius = (
        np.abs(patch.x / (half_width + 0.4)) ** 2.6 + np.abs(patch.y / (half_depth + grow)) ** 2.6
    ) ** (1 / 2.6)
    free = (patch.structure != Structure.BODY) & (patch.structure != Structure.SACRUM_S1)
    free &= patch.structure != Structure.SACRUM_LOWER
    above, below = _gaps(patch, upper, lower)
    inside = free & (above > 0) & (below > 0) & (radius < 1.0) & (np.abs(patch.z) < 0.5 * gap + 6)
    sacral = lower.sacral and lower.level != "S1"
    structure = Structure.SACRUM_LOWER if sacral else Structure.DISC
    patch.paint(inside, Tissue.ANNULUS, structure=structure)
    # The nucleus is a lens between the endplates, a little behind the middle.
    place = (above - below) / np.maximum(above + below, 0.5)
    core = np.hypot(patch.x / half_width, (patch.y - 0.06 * half_depth) / half_depth)
    lens = (core / rng.uniform(0.68, 0.84)) ** 2 + (place / rng.uniform(0.9, 1.15)) ** 2
    nucleus = inside & (lens < 1.0)
    noise = 18 * texture(patch, rng, 4.0)
    # The intranuclear cleft of the adult disc: a darker line at mid height.
    cleft = 55 * np.exp(-((patch.z / 1.1) ** 2)) * (hydration > 0.35)
    water = np.clip(255 * hydration + noise - cleft, 0, 255).astype(np.uint8)
    patch.paint(nucleus, Tissue.NUCLEUS, water=water)
    if disc is not None and disc.vacuum:
        gas = nucleus & (np.abs(patch.z + rng.normal(0, 0.6)) < 1.0) & (radius < 0.6)
        patch.paint(gas, Tissue.GAS)


def _between(upper: Bone, lower: Bone) -> NDArray[np.float64]:
    mean = upper.axes + lower.axes
    head = mean[2] / np.linalg.norm(mean[2])
    left = mean[0] - head * (mean[0] @ head)
    left /= np.linalg.norm(left)
    return np.stack([left, np.cross(head, left), head])


def _gaps(patch: Patch, upper: Bone, lower: Bone) -> tuple[Field, Field]:
    """Distance of each point above the lower body's endplate and below the upper body's, mm."""
    x, y, z = patch.canvas.grid.axes_lps(patch.box)

    def beyond(bone: Bone, sign: float) -> Field:
        px, py, pz = x - bone.centre[0], y - bone.centre[1], z - bone.centre[2]
        head, back, left = (
            np.asarray(px * axis[0] + py * axis[1] + pz * axis[2], dtype=np.float32)
            for axis in (bone.axes[2], bone.axes[1], bone.axes[0])
        )
        shape = bone.shape
        u = np.clip(back / shape.half_depth, -1.2, 1.2)
        surface = endplate(shape, u, np.abs(left) / shape.half_width, superior=sign > 0)
        return np.asarray(sign * head - surface, dtype=np.float32)

    return beyond(lower, 1.0), beyond(upper, -1.0)


@dataclass(frozen=True, slots=True)
class _ArchForm:
    """Measures of a neural arch, mm, by region of the spine."""

    pedicle: tuple[float, float, float]
    pedicle_gap: float
    process_length: float
    process_drop: float
    process_thickness: float
    process_height: float
    transverse_sweep: float

    @classmethod
    def sample(cls, level: str, rng: np.random.Generator) -> _ArchForm:
        """Thoracic spinous processes are long and steep, lumbar ones tall and level."""
        region = level[0]
        length = float(rng.normal(22 if region == "C" else 30, 3))
        drop = float(rng.normal(20, 4) if region == "T" else rng.normal(5, 3))
        thick = float(rng.uniform(2.6, 4.2))
        tall = {"C": 4.0, "T": float(rng.normal(6.5, 1.2)), "L": float(rng.normal(10.0, 1.2))}
        pedicle = {"C": (2.6, 4.0, 3.2), "T": (2.6, 5.0, 5.6), "L": (4.2, 5.0, 6.6)}
        return cls(
            pedicle=pedicle[region],
            pedicle_gap=2.5 if region == "T" else 3.5,
            process_length=length,
            process_drop=drop,
            process_thickness=thick,
            process_height=tall[region],
            transverse_sweep=9.0 if region == "T" else 4.0,
        )


ARCH_BEHIND_MM = 24.0
ARCH_BELOW_MM = 6.0


def arch_patch(canvas: Canvas, bone: Bone) -> Patch | None:
    """The box around a vertebra's posterior elements, in the body's axes."""
    height = 0.5 * bone.intact.height_rim
    middle = bone.centre + bone.axes[1] * (bone.shape.half_depth + ARCH_BEHIND_MM)
    return canvas.patch(
        middle - bone.axes[2] * ARCH_BELOW_MM, bone.axes, np.array([38.0, 36.0, height + 24])
    )


def paint_posterior_elements(
    canvas: Canvas, bone: Bone, canal: tuple[float, float], rng: np.random.Generator
) -> Mask | None:
    """Pedicles, laminae, facets, transverse and spinous processes of a presacral vertebra.

    Args:
        canvas: To paint on.
        bone: The vertebra.
        canal: Half-depth and half-width of the canal, mm.
        rng: Source.

    Returns:
        The arch's marrow on `arch_patch(canvas, bone)`, or None outside the grid.
    """
    form = _ArchForm.sample(bone.level, rng)
    patch = arch_patch(canvas, bone)
    if patch is None:
        return None
    solid = distance_to(patch, _arch(bone, form, canal))
    bone_mask = (solid < 0) & (patch.body == 0) & (patch.structure == 0)
    marrow: Mask = np.asarray(bone_mask & (solid < -1.1))
    patch.paint(bone_mask, Tissue.CORTEX, structure=Structure.POSTERIOR_ELEMENTS)
    fat = np.clip(55 + 10 * texture(patch, rng), 5, 95).astype(np.uint8)
    patch.paint(marrow, Tissue.MARROW, fat=fat)
    return marrow


def _arch(bone: Bone, form: _ArchForm, canal: tuple[float, float]) -> list[Capsule]:
    deep, wide = canal
    wall = bone.shape.half_depth
    height = 0.5 * bone.intact.height_rim
    lamina = wall + 2 * deep

    def at(x: float, y: float, z: float) -> NDArray[np.float64]:
        """A point given from the body's centre, in the frame of the arch's patch."""
        return np.array([x, y - wall - ARCH_BEHIND_MM, z + ARCH_BELOW_MM])

    parts: list[Capsule] = []
    for side in (-1.0, 1.0):
        x = side * (wide + form.pedicle_gap)
        upper = at(x + side * 3.5, wall + 1.6 * deep, 0.8 * height)
        lower = at(x + side * 2.0, wall + 1.9 * deep, -1.1 * height)
        parts += [
            Capsule(
                at(x, 0.75 * wall, 0.3 * height),
                at(x, wall + 1.3 * deep, 0.25 * height),
                form.pedicle,
            ),
            Capsule(
                at(x + side, wall + 1.5 * deep, 0.1 * height),
                at(side * 2.0, lamina + 3.5, -0.55 * height),
                (3.4, 3.4, 6.5),
            ),
            Capsule(upper, upper, (5.5, 5.0, 8.0)),
            Capsule(lower, lower, (5.0, 4.5, 8.0)),
            Capsule(
                at(x + side * 2, wall + deep, 0.2 * height),
                at(x + side * 20, wall + deep + form.transverse_sweep, 0.25 * height),
                (4.0, 3.5, 4.0),
            ),
        ]
    parts.append(
        Capsule(
            at(0.0, lamina + 4, -0.55 * height),
            at(0.0, lamina + form.process_length, -0.55 * height - form.process_drop),
            (form.process_thickness, 4.5, form.process_height),
        )
    )
    return parts


def paint_sacral_sides(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Alae of the sacrum, the iliac bones beside them and the median crest."""
    fat = int(np.clip(100 * spine.subject.marrow_fat + 8, 10, 90))
    for level, wide, tall in (("S1", 23.0, 15.0), ("S2", 19.0, 13.0), ("S3", 13.0, 10.0)):
        bone = spine.bone(level)
        patch = canvas.patch(bone.centre, bone.axes, np.array([75.0, 34.0, 34.0]))
        if patch is None:
            continue
        inner = bone.shape.half_width
        centres = [np.array([side * (inner + wide * 0.75), 3.0, 0.0]) for side in (-1.0, 1.0)]
        solid = distance_to(patch, [Capsule(c, c, (wide, 13.0, tall + 3)) for c in centres])
        # The neural foramina between the pieces stay fat.
        foramen = (np.abs(np.abs(patch.x) - inner - 3) < 4.5) & (patch.z < -0.62 * tall)
        free = (patch.body == 0) & (patch.structure == 0) & ~foramen
        bone_mask = (solid < 0) & free
        patch.paint(bone_mask, Tissue.CORTEX, structure=Structure.SACRUM_LOWER)
        noise = np.clip(fat + 9 * texture(patch, rng), 5, 95).astype(np.uint8)
        patch.paint(bone_mask & (solid < -1.2), Tissue.MARROW, fat=noise)
        wings = [
            Capsule(
                np.array([side * 60.0, 10.0, -20.0]),
                np.array([side * 66.0, -6.0, 26.0]),
                (6.0, 22.0, 14.0),
            )
            for side in (-1.0, 1.0)
        ]
        wing = distance_to(patch, wings)
        ilium = (wing < 0) & (patch.structure == 0)
        patch.paint(ilium, Tissue.CORTEX)
        patch.paint(ilium & (wing < -1.5), Tissue.MARROW, fat=noise)
    crest_levels = ("S1", "S2", "S3")
    for level in crest_levels:
        bone = spine.bone(level)
        patch = canvas.patch(bone.centre, bone.axes, np.array([12.0, 48.0, 24.0]))
        if patch is None:
            continue
        back = (
            bone.shape.half_depth
            + 2 * spine.canal_half_depth * {"S1": 0.95, "S2": 0.7, "S3": 0.5}[level]
        )
        crest = distance_to(
            patch,
            [
                Capsule(
                    np.array([0.0, back + 4, 6.0]), np.array([0.0, back + 6, -8.0]), (3.5, 4.5, 5.0)
                )
            ],
        )
        mask = (crest < 0) & (patch.body == 0)
        patch.paint(mask, Tissue.CORTEX, structure=Structure.POSTERIOR_ELEMENTS)
        patch.paint(mask & (crest < -1), Tissue.MARROW, fat=fat)


def canal_points(spine: Spine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre line of the canal, cranial to caudal, and the canal's half-depth there.

    Returns:
        (n, 3) LPS mm, (n,) mm.
    """
    points, radii = [], []
    narrowing = {"S1": 0.92, "S2": 0.66, "S3": 0.5, "S4": 0.36, "S5": 0.25}
    for bone in spine.bones:
        if bone.level.startswith("Co"):
            continue
        radius = spine.canal_half_depth * narrowing.get(bone.level, 1.0)
        if bone.level.startswith("C"):
            radius *= 0.85
        for end in (0.45, -0.45):
            offset = bone.intact.half_depth * 1.03 + radius * 0.98
            points.append(
                bone.centre + bone.axes[1] * offset + bone.axes[2] * end * bone.shape.height_rim
            )
            radii.append(radius)
    return np.array(points), np.array(radii)


def paint_canal(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Epidural fat, sac, cord to the conus, cauda equina below it."""
    points, radii = canal_points(spine)
    conus = spine.bone(spine.conus_level)
    conus_z = float(conus.centre[2] + rng.uniform(-0.5, 0.5) * conus.shape.height_rim)
    sac_end = spine.bone("S2").centre[2] + rng.uniform(-8, 14)
    widen = spine.canal_half_width / spine.canal_half_depth
    dorsal = rng.uniform(0.05, 0.22)
    segments = [
        _CanalSegment.between(canvas, points[i : i + 2], radii[i : i + 2], widen, dorsal)
        for i in range(len(points) - 1)
    ]
    present = [segment for segment in segments if segment is not None]
    for segment in present:
        segment.patch.paint(segment.canal, Tissue.FAT, fat=95, structure=Structure.CANAL)
    for segment in present:
        held = segment.canal & (segment.height > sac_end)
        segment.patch.paint(held & (segment.sac < 1.05), Tissue.CORTEX)
        segment.patch.paint(held & (segment.sac < 0.97), Tissue.CSF)
    for segment in present:
        _paint_nerves(segment, conus_z, rng)


@dataclass(frozen=True, slots=True)
class _CanalSegment:
    """A straight piece of the canal: what lies inside it, and where along the spine."""

    patch: Patch
    canal: Mask
    sac: Field
    height: Field
    radius: Field

    @classmethod
    def between(
        cls,
        canvas: Canvas,
        ends: NDArray[np.float64],
        radii: NDArray[np.float64],
        widen: float,
        dorsal: float,
    ) -> _CanalSegment | None:
        """The piece from the upper to the lower end; None outside the grid."""
        along = ends[1] - ends[0]
        length = float(np.linalg.norm(along))
        head = -along / length
        left = np.array([1.0, 0.0, 0.0]) - head * head[0]
        left /= np.linalg.norm(left)
        axes = np.stack([left, np.cross(head, left), head])
        half = 0.5 * length + 1.5
        patch = canvas.patch(
            0.5 * (ends[0] + ends[1]), axes, np.array([radii[0] * widen + 4, 14.0, half])
        )
        if patch is None:
            return None
        t = np.clip(0.5 - patch.z / length, 0, 1)
        radius = np.asarray(radii[0] + (radii[1] - radii[0]) * t, dtype=np.float32)
        reach = np.hypot(patch.x / (radius * widen), patch.y / radius)
        solid = (patch.structure != 0) & (patch.structure != Structure.CANAL)
        canal = (reach < 1.0) & (np.abs(patch.z) < half) & ~solid
        sac = np.hypot(
            patch.x / (radius * widen * 0.9),
            (patch.y + dorsal * radius) / (radius * (1 - dorsal)),
        )
        height = np.asarray(ends[0][2] + (ends[1][2] - ends[0][2]) * t, dtype=np.float32)
        return cls(patch, canal, np.asarray(sac, dtype=np.float32), height, radius)


def _paint_nerves(segment: _CanalSegment, conus_z: float, rng: np.random.Generator) -> None:
    patch, radius = segment.patch, segment.radius
    inside = patch.tissue == Tissue.CSF
    above = segment.height - conus_z
    cord_radius = np.clip(0.43 * radius * (1 + np.minimum(above, 0) / 22.0), 0, 4.2)
    cord = inside & (np.hypot(patch.x / 1.3, patch.y + 0.5) < cord_radius) & (above > -22)
    patch.paint(cord, Tissue.CORD)
    # The roots of the cauda equina lie behind, where a supine patient's lie.
    crowd = 0.85 + 0.8 * np.clip(0.4 - patch.y / radius, 0, 1)
    low = inside & ~cord & (above < 4) & (patch.y > -0.15 * radius)
    patch.paint(low & (texture(patch, rng, 1.8) > crowd), Tissue.NERVE)
