"""Everything around the bones: skin, fat, muscle, vessels, organs, lung, airway, air.

Regions are drawn in places that follow the spine (left of its axis, behind its posterior walls,
before its bodies), so that the background bends with it. One compiled pass over the grid.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.phantom.anatomy.spine import Spine
from training.phantom.numbers import held
from training.phantom.painting.grid import Canvas, Vector
from training.phantom.painting.kernels import (
    LATTICE,
    Maps,
    Patch,
    Texture,
    as_byte,
    grain,
    jit,
    ramp,
    sample_texture,
)
from training.phantom.painting.tissues import Tissue

TIP_COVER_MM: Final = 8.5
"""Supraspinous ligament and fascia behind a spinous tip, before fat and skin."""

SACRAL_COVER_MM: Final = 22.0
"""Median crest, fascia and fat behind the posterior wall of a sacral or coccygeal piece."""

LEAN_FAT: Final = 6.0
"""Fat percent of lean back muscles. With what wasting adds, more in the old (Burian 2018), it is
11 % on average: muscle over marrow is then as on real T1, T2 and water images."""

FORAMEN_VEINS: Final = 0.35
"""Fat beside the canal holds veins where its texture exceeds this: in a third of it."""

TABLE_STEP_MM: Final = 2.0
SKIN_MM: Final = 1.8
BACK_FROM_MM: Final = -6.0
"""Behind this place, from the posterior walls, lie muscles, skin and the table."""

COARSE_BEFORE_MM: Final = 45.0
BELOW_SKULL_MM: Final = 12.0
"""The skull reaches this far below the foramen magnum behind it."""

KNOT: Final = 6
VESSELS_MM: Final = 38.0
"""Aorta and cava lie nearer to the bodies than this, also where they fork."""

SLICE_STEP: Final = 3
"""Soft tissue is drawn on every third fine slice and repeated."""

Noise = NDArray[np.float32]

_NUMBERS: Final = np.uint64(LATTICE**3 - 1)
_ONE, _TWO = np.uint64(1), np.uint64(2)

_AIR, _FAT, _SKIN, _MUSCLE = (int(t) for t in (Tissue.AIR, Tissue.FAT, Tissue.SKIN, Tissue.MUSCLE))
_BLOOD, _SLOW_BLOOD = int(Tissue.FLOWING_BLOOD), int(Tissue.SLOW_BLOOD)
_ORGAN = int(Tissue.SOFT_ORGAN)
_LIVER, _KIDNEY, _LUNG = (int(t) for t in (Tissue.LIVER, Tissue.KIDNEY, Tissue.LUNG))
_GAS, _FLUID, _VISCUS = (int(t) for t in (Tissue.GAS, Tissue.FLUID, Tissue.VISCUS))
_MARROW, _CARTILAGE, _LIGAMENT = (
    int(t) for t in (Tissue.MARROW, Tissue.CARTILAGE, Tissue.LIGAMENT)
)
_CORTEX, _CSF, _CORD, _NERVE = (
    int(t) for t in (Tissue.CORTEX, Tissue.CSF, Tissue.CORD, Tissue.NERVE)
)


class Backdrop(NamedTuple):
    """Sampled soft tissue; lengths in mm, heights in LPS mm.

    Attributes:
        back_fat: Subcutaneous fat behind the spinous tips; `table` where the back is pressed flat.
        table: See above.
        wasting: Fat in the back muscles, 0..0.8; `deep_wasting` what multifidus has more.
        deep_wasting: See above.
        leanness: Less visceral fat the larger, about -0.6..0.7.
        belly: Distance of the abdominal wall before the bodies.
        content: Tissue in most loops of bowel; `uterus` behind the bladder.
        uterus: See above.
        diaphragm: Height of the dome; `fork` of the aortic bifurcation; `neck` of the chest inlet.
        fork: See above.
        neck: See above.
        liver_low, kidney: How far the liver reaches below the dome; centre of the kidneys.
        kidney: See above.
        liver_fat: Percent.
        aorta_left, aorta, cava_right, cava: Places and radii of the great vessels.
        aorta: See above.
        cava_right: See above.
        cava: See above.
        skull: Height of the base of the skull.
        rough, fine: Textures of organ outlines and of ligaments; `bowel` places its loops, their
            size its length.
        fine: See above.
        bowel: See above.
        streak, septa: Textures of the fat in muscle and of the septa in subcutaneous fat.
        septa: See above.
    """

    back_fat: float
    table: float
    wasting: float
    deep_wasting: float
    leanness: float
    belly: float
    content: int
    uterus: int
    diaphragm: float
    fork: float
    neck: float
    liver_low: float
    kidney: float
    liver_fat: float
    aorta_left: float
    aorta: float
    cava_right: float
    cava: float
    skull: float
    rough: Texture
    fine: Texture
    bowel: Texture
    streak: Texture
    septa: Texture


def sample_backdrop(rng: np.random.Generator, spine: Spine, tips: Vector) -> Backdrop:
    """Draw the soft tissue around a spine.

    Args:
        rng: Source of randomness.
        spine: Whose.
        tips: (n, 3) LPS mm: of its spinous processes.
    """
    heights = {bone.level: float(bone.centre[2]) for bone in spine.bones}
    back_fat = held(rng.gamma(4.0, 5.0), 10.0, 60.0)
    diaphragm = heights[spine.levels[-7]] + float(rng.uniform(-25, 35))
    return Backdrop(
        back_fat=back_fat,
        # The back is flat where a supine patient lies on the table.
        table=float(np.quantile(tips[:, 1], 0.8) + TIP_COVER_MM + back_fat),
        wasting=held(rng.beta(1.2, 7.5) * (0.4 + 0.01 * spine.subject.age_years), 0, 0.8),
        deep_wasting=float(rng.uniform(0.05, 0.5)),
        leanness=float(rng.uniform(-0.6, 0.7)),
        belly=float(rng.uniform(85, 160)),
        content=int(rng.choice((_GAS, _FLUID, _VISCUS), p=[0.35, 0.15, 0.5])),
        uterus=int(rng.choice((_ORGAN, _FLUID, _VISCUS))),
        diaphragm=diaphragm,
        fork=heights[spine.levels[-2]],
        neck=heights["T1"] + float(rng.uniform(-8, 14)),
        liver_low=float(rng.uniform(40, 130)),
        kidney=diaphragm - float(rng.uniform(70, 130)),
        liver_fat=float(rng.uniform(2, 14)),
        aorta_left=float(rng.uniform(2, 14)),
        aorta=float(rng.uniform(7.5, 13.0)),
        cava_right=float(rng.uniform(8, 18)),
        cava=float(rng.uniform(7, 12)),
        skull=_skull(spine),
        rough=sample_texture(rng, 22.0),
        fine=sample_texture(rng, 5.0),
        bowel=sample_texture(rng, float(rng.uniform(20.0, 33.0))),
        streak=sample_texture(rng, 3.2),
        septa=sample_texture(rng, 4.5),
    )


def _skull(spine: Spine) -> float:
    """Height of the foramen magnum, LPS mm."""
    return float(spine.atlas[1, 2])


class _Curve(NamedTuple):
    """The spine by height, every `TABLE_STEP_MM` from `start`: left, posterior wall, depth, tip."""

    start: float
    left: NDArray[np.float64]
    wall: NDArray[np.float64]
    depth: NDArray[np.float64]
    tip: NDArray[np.float64]


def _curve(spine: Spine, tips: Vector) -> _Curve:
    bones = sorted(spine.bones, key=lambda bone: float(bone.centre[2]))
    height = np.array([b.centre[2] for b in bones])
    start = float(height[0] - 120.0)
    table = np.arange(start, height[-1] + 150.0, TABLE_STEP_MM)
    left = _smooth(np.interp(table, height, [b.centre[0] for b in bones]))
    wall = _smooth(np.interp(table, height, [b.centre[1] + b.shape.half_depth for b in bones]))
    depth = _smooth(np.interp(table, height, [2 * b.shape.half_depth for b in bones]))
    low = [b for b in bones if b.sacral]
    behind = [b.centre[1] + b.shape.half_depth + SACRAL_COVER_MM for b in low]
    edge = np.array(
        [(b.centre[2], y) for b, y in zip(low, behind, strict=True)]
        + [(tip[2], tip[1] + TIP_COVER_MM) for tip in tips]
    )
    edge = edge[np.argsort(edge[:, 0])]
    return _Curve(start, left, wall, depth, _smooth(np.interp(table, *edge.T)) - wall)


def _smooth(column: Vector) -> Vector:
    """A column of the table as skin and muscle follow it: over 26 mm of height."""
    return np.convolve(np.pad(column, 6, mode="edge"), np.ones(13) / 13, "valid")


def paint_backdrop(canvas: Canvas, spine: Spine, tips: Vector, look: Backdrop) -> None:
    """Fill the whole grid before any bone is painted; `tips` as in `sample_backdrop`."""
    maps, patch, curve = canvas.maps, canvas.everywhere(), _curve(spine, tips)
    _paint_backdrop(maps, patch, curve, look)
    _paint_head(maps, patch, curve, look)
    for fine in (maps.tissue, maps.fat):
        for offset in range(1, SLICE_STEP):
            copied = len(fine[offset::SLICE_STEP])
            fine[offset::SLICE_STEP] = fine[::SLICE_STEP][:copied]


@jit
def _paint_backdrop(maps: Maps, patch: Patch, curve: _Curve, look: Backdrop) -> None:
    f = patch.frame
    # Taken out of the tuple once: numba counts references each time an array is.
    noise, tissues, fats = maps.noise, maps.tissue, maps.fat
    last = len(curve.left) - 1
    columns = patch.box[5]
    knots = np.empty(columns // KNOT + 2)
    for k in range(0, patch.box[1], SLICE_STEP):
        for i in range(patch.box[3]):
            if i % 2 == 0:  # its bumps are much longer than two rows
                _knots(noise, look.rough, f, (k, i), knots)
            j = 0
            while j < columns:
                x = f[0, 0] * k + f[0, 1] * i + f[0, 2] * j + f[0, 3]
                y = f[1, 0] * k + f[1, 1] * i + f[1, 2] * j + f[1, 3]
                z = f[2, 0] * k + f[2, 1] * i + f[2, 2] * j + f[2, 3]
                n = min(last, max(0, int((z - curve.start) / TABLE_STEP_MM)))
                behind = y - curve.wall[n]
                # Far before the spine organs need no finer outline than two rows and columns.
                far = behind < -COARSE_BEFORE_MM
                wide = 2 if far and j + 1 < columns else 1
                if far and i % 2 == 1:
                    for column in range(j, j + wide):
                        tissues[k, i, column] = tissues[k, i - 1, column]
                        fats[k, i, column] = fats[k, i - 1, column]
                    j += wide
                    continue
                beside = x - curve.left[n]
                knot, part = j // KNOT, (j % KNOT) / KNOT
                rough = knots[knot] + part * (knots[knot + 1] - knots[knot])
                # A branch here, and not a function that chooses: that is half as fast.
                if behind > BACK_FROM_MM:
                    place = (beside, behind, z, curve.tip[n], rough)
                    tissue, fat = _behind(noise, look, place, 0.8 * (y - look.table))
                else:
                    place = (beside, behind, z, -behind - curve.depth[n], rough)
                    tissue, fat = _front(noise, look, place)
                for column in range(j, j + wide):
                    tissues[k, i, column] = tissue
                    fats[k, i, column] = as_byte(fat)
                j += wide


@jit
def _knots(
    noise: Noise, texture: Texture, f: Vector, row: tuple[int, int], knots: NDArray[np.float64]
) -> None:
    """A texture at every `KNOT`th column of a row: its bumps are much longer than that."""
    k, i = row
    for n in range(len(knots)):
        j = n * KNOT
        x = f[0, 0] * k + f[0, 1] * i + f[0, 2] * j + f[0, 3]
        y = f[1, 0] * k + f[1, 1] * i + f[1, 2] * j + f[1, 3]
        z = f[2, 0] * k + f[2, 1] * i + f[2, 2] * j + f[2, 3]
        knots[n] = grain(noise, texture, x, y, z)


@jit
def _behind(
    noise: Noise, look: Backdrop, place: tuple[float, float, float, float, float], table: float
) -> tuple[int, float]:
    """Skin and air, or what lies before them."""
    _, behind, _, tip, rough = place
    skin = max(behind - tip - look.back_fat * (1 + 0.09 * rough), table)
    if skin > -SKIN_MM:
        return (_AIR, 0.0) if skin > 0.0 else (_SKIN, 0.0)
    return _back(noise, look, place)


@jit
def _back(
    noise: Noise, look: Backdrop, place: tuple[float, float, float, float, float]
) -> tuple[int, float]:
    """Behind the posterior walls: muscles with fatty streaks, midline ligaments, fat with septa."""
    x, behind, z, tip, rough = place
    side = abs(x)
    if side < 4.0 and abs(behind - tip + 2.5) < 0.9:
        return _LIGAMENT, 0.0
    reach = tip - 1.5 + 0.38 * min(side, 24.0) - 0.004 * side * side
    if side <= 3.5 + 0.05 * behind and 10.0 < behind < tip:
        # Between two spinous processes: fibres in fat, drawn over by bones and ligaments.
        fibre = grain(noise, look.fine, x, 0.7 * behind, 1.2 * z)
        return _MUSCLE, min(90.0, max(8.0, 32.0 + 14.0 * fibre))
    # Multifidus tapers off on the sacrum; beside it the buttock goes on downwards.
    reach = min(reach, 6.0 + 0.7 * (z + 80.0 + 6.0 * max(0.0, side - 18.0) + 8.0 * rough))
    if behind < 6.0 or behind > reach:
        if side > 24.0 and behind <= 6.0:
            return _flank(noise, look, place)
        septum = grain(noise, look.septa, x, behind, 0.5 * z)
        if behind < 6.0 and septum > FORAMEN_VEINS:
            return _SLOW_BLOOD, 30.0
        return _FAT, 95.0 if abs(septum) > 0.12 else 72.0
    # Fat lies in streaks between the fascicles, most of it in the deep multifidus.
    streak = grain(noise, look.streak, x, behind, 0.25 * z)
    streaks = ramp(streak + 0.5 * rough - 1.0 + 1.4 * look.wasting, 0.62)
    share = LEAN_FAT + look.wasting * (35.0 + 48.0 * streaks)
    # The cleavage plane between multifidus and longissimus leans outwards from the facets.
    cleft = side - 13.0 - 0.28 * behind - 0.8 * rough
    if cleft < -2.0 and behind < tip - 2.0:
        share += 70.0 * look.wasting * look.deep_wasting
    elif abs(cleft) < 0.6 and streak > 0.0:
        share = max(share, 45.0)
    return _MUSCLE, min(92.0, max(2.0, share))


@jit
def _flank(
    noise: Noise, look: Backdrop, place: tuple[float, float, float, float, float]
) -> tuple[int, float]:
    """Beside the bodies at the level of the canal: psoas, quadratus, or the chest wall."""
    x, behind, z, _, rough = place
    if z > _dome(look, abs(x), 0.0) + 5.0 * rough:
        return (_MUSCLE, 20.0) if behind > -4.0 or z > look.neck else (_LUNG, 0.0)
    if _in_psoas(abs(x), behind, z) or abs(x) > 40.0 + 4.0 * rough - 0.25 * max(0.0, z - 90.0):
        streak = grain(noise, look.streak, x, behind, 0.25 * z)
        return _MUSCLE, min(90.0, max(2.0, 6.0 + 40.0 * look.wasting * max(0.0, streak)))
    return _FAT, 95.0


@jit
def _in_psoas(side: float, behind: float, z: float) -> bool:
    """From the last thoracic body, where it begins thin, out and down into the pelvis."""
    full = min(1.0, (165.0 - z) / 90.0, (z + 165.0) / 60.0)
    if full <= 0.0:
        return False
    across = (side - 34.0 + 0.06 * max(0.0, z) - 0.06 * min(120.0, max(0.0, -z))) / 15.0
    deep = (behind + 12.0) / 19.0
    return across * across + deep * deep < full


@jit
def _front(
    noise: Noise, look: Backdrop, place: tuple[float, float, float, float, float]
) -> tuple[int, float]:
    """Before and beside the bodies."""
    x, behind, z, front, rough = place
    if z > look.neck + 6.0 * rough:
        return _neck(noise, look, place)
    if z > _dome(look, abs(x), front) + 5.0 * rough:
        return _chest(noise, look, place)
    if front < VESSELS_MM:
        vessel = _vessel(look, x, z, front, rough)
        if vessel < 1.0:
            return (_BLOOD, 0.0) if vessel < 0.8 else (_ORGAN, 15.0)
    if _in_crus(look, x, z, front):
        return _MUSCLE, 12.0
    if _in_psoas(abs(x), behind, z):
        return _flank(noise, look, place)
    if front > look.belly + 6.0 * rough:
        return _FAT, 95.0
    if z < -25.0 and front > 6.0 + 0.25 * min(60.0, max(0.0, -z - 40.0)):
        tissue, fat = _pelvis(look, place)
        if tissue != _FAT:
            return tissue, fat
    return _abdomen(noise, look, place)


@jit
def _dome(look: Backdrop, side: float, front: float) -> float:
    """Height of the diaphragm: beside the spine it falls off backwards to the last rib."""
    back = min(1.0, max(0.0, 1.0 - front / 70.0))
    return look.diaphragm - 42.0 * back * back * min(1.0, max(0.0, (side - 14.0) / 16.0))


@jit
def _in_crus(look: Backdrop, x: float, z: float, front: float) -> bool:
    """The crura of the diaphragm, beside the midline of the upper lumbar bodies."""
    thick = 5.5 * min(1.0, max(0.0, (z - look.diaphragm + 95.0) / 60.0))
    return 0.3 < front < 0.3 + thick and abs(abs(x) - 9.0) < 7.0


@jit
def _vessel(look: Backdrop, x: float, z: float, front: float, rough: float) -> float:
    """Aorta to the left and cava to the right of the midline, forking above L5: 1 at the wall."""
    nearest = 9.0
    below = min(90.0, max(0.0, look.fork - z))
    narrow = 0.72 if z < look.fork else 1.0
    for side in range(2):
        radius = look.aorta if side == 0 else look.cava
        place = look.aorta_left + 0.35 * below if side == 0 else -look.cava_right - 0.35 * below
        across = x - place - 2.0 * rough
        deep = front - radius - 0.6 - 0.12 * min(60.0, below)
        wide = radius * narrow
        nearest = min(nearest, (across * across + deep * deep) / (wide * wide))
    return nearest


@jit
def _abdomen(
    noise: Noise, look: Backdrop, place: tuple[float, float, float, float, float]
) -> tuple[int, float]:
    x, _, z, front, rough = place
    if front < 22.0:
        ellipse = ((abs(x) - 52.0) / 24.0) ** 2 + ((front + 4.0) / 26.0) ** 2
        if ellipse + ((z - look.kidney) / 52.0) ** 2 < 1.0:
            return _KIDNEY, 2.0
    if front > 16.0 and x < 30.0:
        across, deep = (x + 60.0) / 78.0, (front - 62.0) / 52.0
        up = (z - look.diaphragm + 30.0) / (55.0 + 0.5 * look.liver_low)
        if across * across + deep * deep + up * up < 1.0 - 0.2 * rough:
            return _LIVER, look.liver_fat
    if front > 26.0 + 8.0 * rough:
        tissue, fat = _bowel(noise, look, x, front, z + 4.0 * rough)
        if tissue != _FAT:
            return tissue, fat
    # Strands and small vessels run through the fat, more of them in some parts than in others.
    strand = max(0.0, 1.0 - 2.5 * abs(grain(noise, look.septa, x, front, 0.4 * z)))
    fat = 95.0 - (34.0 if rough > 0.0 else 14.0) * strand
    # Close to the bodies it is loose tissue with lumbar vessels, lymph vessels and nerves.
    return _FAT, fat - 35.0 * min(1.0, max(0.0, 1.0 - 0.2 * front))


@jit
def _bowel(noise: Noise, look: Backdrop, x: float, front: float, z: float) -> tuple[int, float]:
    """Loops of bowel that lie side by side, each with a wall and a filling of its own.

    Every loop has a cell of a grid, in which it is an oval of its own size and slope; it runs
    sideways for a few cells' width. Gas rises to the front of a patient who lies on the back.
    """
    size = 1.0 / look.bowel.per_mm
    up = z / size + look.bowel.z
    level = np.floor(up)
    along = front / size + look.bowel.y + 0.5 * (level - 2.0 * np.floor(0.5 * level))
    cell = np.floor(along)
    across = np.floor(x / (2.4 * size) + look.bowel.x + 0.37 * level + 0.61 * cell)
    place = np.int64(level) * 1031 + np.int64(cell) * 8209 + np.int64(across) * 32771
    first = np.uint64(place) & _NUMBERS
    slope, wide, filled = noise[first], noise[first ^ _TWO], noise[first ^ _ONE]
    if filled < look.leanness - 0.8:
        return _FAT, 95.0  # mesentery only
    h, v = along - cell - 0.5, up - level - 0.5
    turn = 0.4 * min(1.5, max(-1.5, slope))
    h, v = h + turn * v, v - turn * h
    long, short = 0.5, min(0.48, max(0.24, 0.38 + 0.07 * wide))
    inside = (1.0 - np.sqrt((h / long) ** 2 + (v / short) ** 2)) * short * size
    if inside < 0.0:
        return _FAT, 95.0
    if inside < 1.2 + 0.5 * min(1.5, abs(slope)) or filled > 2.6:
        return _ORGAN, 3.0  # wall, or a loop that is empty
    if wide > 0.9 and h > 0.2 * slope:
        return _GAS, 0.0
    if wide > 1.3:
        return _FLUID, 0.0
    return look.content if wide < 0.4 else _VISCUS, 6.0 * abs(slope)


@jit
def _pelvis(look: Backdrop, place: tuple[float, float, float, float, float]) -> tuple[int, float]:
    x, _, z, front, rough = place
    rectum = (x / 18.0) ** 2 + ((front - 26.0) / 15.0) ** 2 + (max(0.0, z + 75.0) / 22.0) ** 2
    if rectum < 1.0 + 0.3 * rough:
        if rectum > 0.62 + 0.3 * rough:
            return _ORGAN, 3.0
        return (_GAS, 0.0) if rough > 0.4 and front > 24.0 else (_VISCUS, 4.0)
    if ((front - 90.0) / 26.0) ** 2 + ((z + 105.0) / 28.0) ** 2 < 1.0 + 0.1 * rough:
        return _FLUID, 0.0
    if ((front - 58.0) / 22.0) ** 2 + ((z + 85.0) / 30.0) ** 2 < 1.0 + 0.15 * rough:
        return look.uterus, 0.0
    return _FAT, 95.0


@jit
def _chest(
    noise: Noise, look: Backdrop, place: tuple[float, float, float, float, float]
) -> tuple[int, float]:
    """Chest wall beside the bodies, mediastinum before them with aorta, airway and heart, lung."""
    x, behind, z, front, rough = place
    side = abs(x)
    if side > 22.0 + 2.0 * rough and behind > -14.0:
        streak = grain(noise, look.streak, x, behind, z)
        return _MUSCLE, min(80.0, max(5.0, 25.0 + 20.0 * streak))
    if front < 4.0 and side < 20.0:
        return _FAT, 90.0
    aorta = (x - 16.0 - 4.0 * rough) ** 2 + (front - 6.0) ** 2
    if aorta < look.aorta * look.aorta:
        return _BLOOD, 0.0
    above = z - look.diaphragm
    heart = ((front - 52.0) / 38.0) ** 2 + ((above - 50.0) / 62.0) ** 2
    if heart < 1.0 + 0.12 * rough and x > -30.0:
        if heart > 0.82:
            return _FAT, 90.0
        muscle = grain(noise, look.rough, 2.0 * x, 2.0 * front, 2.0 * z) > 0.7
        return (_MUSCLE, 3.0) if muscle else (_BLOOD, 0.0)
    if side < 20.0 + 5.0 * rough:
        return _mediastinum(noise, look, (x, above, z, front, rough))
    return _LUNG, 0.0


@jit
def _mediastinum(
    noise: Noise, look: Backdrop, place: tuple[float, float, float, float, float]
) -> tuple[int, float]:
    """Gullet, trachea above its fork, great vessels in fat; `above` counts from the dome."""
    x, above, z, front, _ = place
    gullet = (x - 4.0) ** 2 + (front - 9.0) ** 2
    if gullet < 36.0:
        return (_GAS, 0.0) if gullet < 2.0 else (_MUSCLE, 5.0)
    if above > 110.0 and x * x + (front - 21.0) ** 2 < 70.0:
        return _GAS, 0.0
    if front > 28.0 and grain(noise, look.rough, 1.6 * x, 1.6 * front, 1.6 * z) > -0.1:
        return _BLOOD, 0.0
    return _FAT, 88.0


@jit
def _paint_head(maps: Maps, patch: Patch, curve: _Curve, look: Backdrop) -> None:
    """Paint the head over the neck in the rows that come near it."""
    f = patch.frame
    last = len(curve.left) - 1
    for k in range(0, patch.box[1], SLICE_STEP):
        for i in range(patch.box[3]):
            z = f[2, 0] * k + f[2, 1] * i + f[2, 3]
            if max(z, z + f[2, 2] * patch.box[5]) < look.skull - BELOW_SKULL_MM:
                continue
            for j in range(patch.box[5]):
                x = f[0, 0] * k + f[0, 1] * i + f[0, 2] * j + f[0, 3]
                y = f[1, 0] * k + f[1, 1] * i + f[1, 2] * j + f[1, 3]
                up = z + f[2, 2] * j
                n = min(last, max(0, int((up - curve.start) / TABLE_STEP_MM)))
                place = (x - curve.left[n], y - curve.wall[n], up - look.skull)
                tissue, fat = _head(maps.noise, look, place)
                if tissue != _AIR:
                    maps.tissue[k, i, j] = tissue
                    maps.fat[k, i, j] = as_byte(fat)


@jit
def _head(noise: Noise, look: Backdrop, place: tuple[float, float, float]) -> tuple[int, float]:
    """Brain, skull and scalp above the foramen magnum; air where there is none of them."""
    x, behind, up = place
    if behind < -10.0 - 0.6 * up and up < 40.0:
        return _AIR, 0.0  # before the clivus: the throat
    a, b, c = x / 74.0, (behind - 12.0) / 92.0, (up - 66.0) / 76.0
    out = np.sqrt(a * a + b * b + c * c)
    if out > 1.05:
        return _AIR, 0.0
    stem = np.sqrt((x / 15.0) ** 2 + ((behind - 6.0) / 13.0) ** 2)
    if up < 26.0 and stem < 1.0:
        return (_CORD, 0.0) if stem < 0.72 else (_CSF, 0.0)
    if out > 1.0:
        return _SKIN if out > 1.035 else _FAT, 92.0 if out <= 1.035 else 0.0
    if out > 0.93:
        return (_MARROW, 55.0) if 0.95 < out < 0.985 else (_CORTEX, 0.0)
    sulcus = out > 0.915 or abs(grain(noise, look.rough, 2.0 * x, 2.0 * behind, 2.0 * up)) < 0.06
    return (_CSF, 0.0) if sulcus else (_NERVE, 0.0)


@jit
def _neck(
    noise: Noise, look: Backdrop, place: tuple[float, float, float, float, float]
) -> tuple[int, float]:
    """Prevertebral muscle, gullet, airway, tongue and jaw, great vessels, skin in front."""
    x, _, z, front, rough = place
    side = abs(x)
    up = z - look.neck
    skin = front - 58.0 - 0.35 * max(0.0, up - 60.0) - 5.0 * rough
    skin = max(skin, side - 62.0 - 6.0 * rough)
    if skin > -SKIN_MM:
        return (_AIR, 0.0) if skin > 0.0 else (_SKIN, 0.0)
    if skin > -7.0:
        return _FAT, 95.0
    if front < 5.0 and side < 14.0:
        return _MUSCLE, 6.0
    airway = ((front - 17.0) / 7.5) ** 2 + (x / 9.0) ** 2
    if airway < 1.5:
        return (_GAS, 0.0) if airway < 1.0 else (_CARTILAGE, 0.0)
    if 5.0 <= front < 10.0 and side < 10.0:
        return _MUSCLE, 5.0
    if (side - 24.0 - 2.0 * rough) ** 2 + (front - 10.0) ** 2 < 26.0:
        return _BLOOD, 0.0
    if up > 75.0 and front > 26.0:
        jaw = abs(front - 62.0) < 5.0 and up < 100.0
        return (_MARROW, 60.0) if jaw else (_MUSCLE, 18.0 + 12.0 * rough)
    return _neck_muscle(noise, look, place)


@jit
def _neck_muscle(
    noise: Noise, look: Backdrop, place: tuple[float, float, float, float, float]
) -> tuple[int, float]:
    x, behind, z, _, rough = place
    streak = grain(noise, look.streak, x, behind, 0.3 * z)
    if rough + 0.5 * streak > -0.1:
        return _MUSCLE, min(85.0, max(4.0, 8.0 + 30.0 * look.wasting * max(0.0, streak)))
    return _FAT, 93.0
