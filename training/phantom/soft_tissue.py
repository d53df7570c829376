"""Everything around the bones: skin, fat, muscle, vessels, organs, lung, air.

Regions are drawn in coordinates that follow the spine (x from its axis, y from its posterior
walls), so the background bends with it. One pass over the grid with a handful of random fields.
"""

from __future__ import annotations

import numpy as np

from training.phantom.anatomy import Spine
from training.phantom.canvas import Canvas, Field, FineGrid, smooth_field
from training.phantom.tissues import Tissue


def paint_background(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Fill the whole grid before any bone is painted.

    Soft tissue is drawn on every second fine slice and repeated: at less than 3 mm its outlines
    lose nothing, and it is the dearest part of a case.
    """
    shape = canvas.grid.shape
    affine = canvas.grid.affine.copy()
    affine[:3, 3] += 0.5 * affine[:3, 0]
    affine[:3, 0] *= 2
    coarse = Canvas.blank(FineGrid(((shape[0] + 1) // 2, shape[1], shape[2]), affine))
    _paint_soft_tissue(coarse, spine, rng)
    canvas.tissue[...] = np.repeat(coarse.tissue, 2, axis=0)[: shape[0]]
    canvas.fat_percent[...] = np.repeat(coarse.fat_percent, 2, axis=0)[: shape[0]]


def _paint_soft_tissue(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    x, y, z = canvas.grid.axes_lps()
    spacing = np.linalg.norm(canvas.grid.affine[:3, :3], axis=0)
    steps = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    shape = canvas.grid.shape
    along = _SpineCurve(spine)
    x = x - np.interp(z, along.height, along.left).astype(np.float32)
    behind = y - np.interp(z, along.height, along.wall).astype(np.float32)
    reach_back = np.interp(z, along.height, along.spinous).astype(np.float32)
    rough = smooth_field(shape, steps, 22.0, rng)
    fine = smooth_field(shape, steps, 5.0, rng)
    # Muscle bundles and their fat run along the spine.
    streaks = smooth_field(shape, (steps[0], steps[1] / 4.0, steps[2]), 3.2, rng)

    tissue, fat = canvas.tissue, canvas.fat_percent
    tissue[...] = Tissue.FAT
    fat[...] = 95
    _abdomen(canvas, spine, (x, behind, z), (rough, fine), rng)
    _muscle(canvas, (x, behind, z), reach_back, (rough, streaks), rng)
    _vessels(canvas, spine, (x, behind, z), rough, rng)
    back_fat = rng.uniform(6, 45) * (1 + 0.09 * rough)
    skin = behind - reach_back - back_fat
    # The back is flat where a supine patient lies on the table.
    table = float(np.quantile(along.wall + along.spinous, 0.8) + back_fat.mean())
    skin = np.maximum(skin, (y - table) * 0.8)
    outside = skin > 0
    rind = (skin > -1.8) & ~outside
    tissue[rind] = Tissue.SKIN
    tissue[outside] = Tissue.AIR
    fat[outside | rind] = 0


class _SpineCurve:
    """Spine axis by height: left offset, posterior wall, and depth to the spinous tips."""

    def __init__(self, spine: Spine) -> None:
        bones = sorted(spine.bones, key=lambda bone: float(bone.centre[2]))
        self.height = np.array([b.centre[2] for b in bones])
        self.left = np.array([b.centre[0] for b in bones])
        self.wall = np.array([b.centre[1] + b.shape.half_depth for b in bones])
        tips = {"C": 36.0, "T": 44.0, "L": 56.0, "S": 30.0}
        self.spinous = np.array(
            [tips[b.level[0]] - (16 if b.level[:2] == "Co" else 0) for b in bones]
        )


def _muscle(
    canvas: Canvas,
    place: tuple[Field, Field, Field],
    reach_back: Field,
    noise: tuple[Field, Field],
    rng: np.random.Generator,
) -> None:
    x, behind, z = place
    rough, fine = noise
    wasting = float(np.clip(rng.beta(1.6, 4.0), 0, 0.8))
    side = np.abs(x)
    erector = (side > 3.5 + 0.05 * behind) & (behind > 6) & (behind < reach_back + 6 - 0.08 * side)
    erector &= z > -75 + 10 * rough
    deep = erector & (side < 17) & (behind < reach_back - 2)
    psoas = np.hypot((side - 34 - 0.06 * np.clip(-z, 0, 120)) / 15.0, (behind + 12) / 19.0) < 1
    psoas &= (z > -120) & (z < 120)
    muscle = erector | psoas
    # Fat lies in streaks between the fascicles, most of it in the deep multifidus.
    share = 6 + 70 * wasting * _soft(fine + 0.5 * rough - 0.9 + 1.4 * wasting)
    share = np.where(deep, share + 35 * wasting, share)
    canvas.tissue[muscle] = Tissue.MUSCLE
    canvas.fat_percent[muscle] = np.clip(share, 2, 92).astype(np.uint8)[muscle]
    # Interspinous ligament: a mix of fat and fibres in the midline.
    between = (side <= 3.5 + 0.05 * behind) & (behind > 10) & (behind < reach_back)
    ligament = between & (fine > -0.2)
    canvas.tissue[ligament] = Tissue.MUSCLE
    canvas.fat_percent[ligament] = 45
    supraspinous = (side < 4) & (np.abs(behind - reach_back) < 1.6)
    canvas.tissue[supraspinous] = Tissue.CORTEX
    canvas.fat_percent[supraspinous] = 0


def _soft(value: Field) -> Field:
    return np.asarray(np.clip(0.5 + 0.8 * value, 0, 1))


def _abdomen(
    canvas: Canvas,
    spine: Spine,
    place: tuple[Field, Field, Field],
    noise: tuple[Field, Field],
    rng: np.random.Generator,
) -> None:
    x, behind, z = place
    rough, fine = noise
    tissue, fat = canvas.tissue, canvas.fat_percent
    front = -behind - 2 * spine.bone("L3").shape.half_depth
    heights = {bone.level: float(bone.centre[2]) for bone in spine.bones}
    diaphragm = heights[spine.levels[-7]] + rng.uniform(-25, 35) if len(spine.levels) > 7 else 200.0
    leanness = rng.uniform(-0.6, 0.7)
    bowel = (front > 26 + 8 * rough) & (rough + 0.5 * fine > leanness) & (z < diaphragm)
    tissue[bowel] = Tissue.SOFT_ORGAN
    fat[bowel] = 3
    content = bowel & (fine > 0.35)
    kinds = (Tissue.GAS, Tissue.FLUID, Tissue.SOFT_MASS)
    tissue[content] = rng.choice(kinds, p=[0.5, 0.2, 0.3])
    liver = (z > diaphragm - rng.uniform(40, 130)) & (z < diaphragm + 6 * rough)
    liver &= (front > 20 + 6 * rough) & (x < 12 + 10 * rough)
    tissue[liver] = Tissue.LIVER
    fat[liver] = int(rng.uniform(2, 14))
    kidney_z = diaphragm - rng.uniform(70, 130)
    kidney = ((np.abs(x) - 52) / 24) ** 2 + ((front + 4) / 26) ** 2 + ((z - kidney_z) / 52) ** 2 < 1
    tissue[kidney] = Tissue.KIDNEY
    fat[kidney] = 2
    wall = front > rng.uniform(95, 150) + 6 * rough
    tissue[wall] = Tissue.FAT
    fat[wall] = 95
    _chest(canvas, (x, behind, z), front, diaphragm, rough)
    _pelvis(canvas, x, z, front, (rough, fine), rng)


def _chest(
    canvas: Canvas,
    place: tuple[Field, Field, Field],
    front: Field,
    diaphragm: float,
    rough: Field,
) -> None:
    x, behind, z = place
    tissue, fat = canvas.tissue, canvas.fat_percent
    chest = (z > diaphragm + 5 * rough) & (front > 6)
    tissue[chest] = Tissue.LUNG
    fat[chest] = 0
    heart = chest & (np.hypot((front - 62) / 42, (z - diaphragm - 45) / 60) < 1 + 0.1 * rough)
    tissue[heart & (x > -30)] = Tissue.FLOWING_BLOOD
    mediastinum = chest & (np.abs(x) < 16 + 4 * rough) & (front < 24)
    tissue[mediastinum] = Tissue.FAT
    fat[mediastinum] = 88
    beside = (z > diaphragm - 10) & (np.abs(x) > 24 + 2 * rough) & (behind > -32) & (behind < 14)
    ribs = beside & (np.cos(2 * np.pi * (z + 0.5 * np.abs(x)) / 27.0) > 0.55)
    tissue[beside] = Tissue.MUSCLE
    fat[beside] = 20
    tissue[ribs] = Tissue.MARROW
    fat[ribs] = 45


def _pelvis(
    canvas: Canvas,
    x: Field,
    z: Field,
    front: Field,
    noise: tuple[Field, Field],
    rng: np.random.Generator,
) -> None:
    rough, fine = noise
    tissue, fat = canvas.tissue, canvas.fat_percent
    pelvis = (z < -25) & (front > 6 + np.clip(-z - 40, 0, 60) * 0.25)
    rectum = pelvis & (z < -55) & (np.hypot(x / 18, (front - 26) / 15) < 1 + 0.2 * rough)
    tissue[rectum] = Tissue.SOFT_ORGAN
    fat[rectum] = 3
    tissue[rectum & (fine > 0.7)] = Tissue.GAS
    uterus = pelvis & (np.hypot((front - 58) / 22, (z + 85) / 30) < 1 + 0.15 * rough)
    tissue[uterus] = rng.choice((Tissue.SOFT_ORGAN, Tissue.FLUID, Tissue.SOFT_MASS))
    fat[uterus] = 0
    bladder = pelvis & (np.hypot((front - 90) / 26, (z + 105) / 28) < 1 + 0.1 * rough)
    tissue[bladder] = Tissue.FLUID
    fat[bladder] = 0


def _vessels(
    canvas: Canvas,
    spine: Spine,
    place: tuple[Field, Field, Field],
    rough: Field,
    rng: np.random.Generator,
) -> None:
    x, behind, z = place
    depth = 2 * spine.bone("L3").shape.half_depth
    fork = float(spine.bone(spine.levels[-2]).centre[2])
    caliber = rng.uniform(7.5, 13.0)
    for side, radius in ((rng.uniform(2, 14), caliber), (-rng.uniform(8, 18), rng.uniform(7, 12))):
        fan = np.clip(fork - z, 0, 90) * (0.35 if side > 0 else -0.35)
        across = x - side - 2 * rough - fan
        before = behind + depth + radius + 2 + 0.12 * np.clip(fork - z, 0, 60)
        vessel = np.hypot(across, before) < radius * np.where(z < fork, 0.72, 1.0)
        canvas.tissue[vessel] = Tissue.FLOWING_BLOOD
        canvas.fat_percent[vessel] = 0
    # Anterior longitudinal ligament and the crura lie as a dark sheet on the bodies.
    ligament = (np.abs(x) < 12) & (np.abs(behind + depth + 1.2) < 0.9) & (z > 0)
    canvas.tissue[ligament] = Tissue.CORTEX
    canvas.fat_percent[ligament] = 0
