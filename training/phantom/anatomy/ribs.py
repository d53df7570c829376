"""Ribs: head beside the disc, neck along the transverse process, shaft round the chest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.localiser.classes import Structure
from training.phantom.anatomy.solids import (
    NO_PARTS,
    Part,
    SolidLook,
    paint_solid,
    solid_patch,
    table_of,
)
from training.phantom.anatomy.spine import Bone, Spine
from training.phantom.numbers import held
from training.phantom.painting.grid import Canvas
from training.phantom.painting.kernels import Texture, sample_texture
from training.phantom.painting.tissues import Tissue

CHEST: Final = {1: 0.42, 2: 0.58, 3: 0.72, 4: 0.82, 5: 0.9, 6: 0.95, 11: 0.95, 12: 0.9, 13: 0.85}
"""Half-width of the chest at a rib as a part of the widest; 1 at the others."""

# Along a shaft: outwards and backwards from its tubercle as parts of the chest's half-width and
# half-depth, and how far it has dropped, mm. The shaft turns forward at the angle of the rib.
_SHAFT: Final = (
    (0.0, 0.0, 0.0),
    (0.28, 0.16, 6.0),
    (0.58, 0.1, 18.0),
    (0.74, -0.25, 34.0),
    (0.72, -0.8, 56.0),
    (0.5, -1.3, 74.0),
    (0.2, -1.5, 80.0),
)
NECK_MM: Final = (2.9, 4.4, 6.0)
SHAFT_MM: Final = (3.0, 3.8, 6.2)
"""Half-thickness across, from front to back and from head to foot, of ribs 2 to 11; in sagittal
images of volunteers and patients the necks beside T11 measure 9 to 13 mm."""

SLENDER: Final = 0.75
"""Of the first and of the last ribs."""

CHEST_HALF_WIDTH_MM: Final = 128.0
CHEST_HALF_DEPTH_MM: Final = 92.0


@dataclass(frozen=True, slots=True)
class Ribs:
    """All ribs of a spine.

    Attributes:
        scale: Of the subject.
        stout: Thickness, 1 is mean.
        drop: How steeply the shafts fall, 1 is mean.
        last: Name of the level with the last full thoracic rib, and its length, mm.
        last_mm: See above.
        lumbar_mm: Length of a rib on L1; 0 without one.
        fat: Marrow fat percent.
        texture: Of the marrow.
    """

    scale: float
    stout: float
    drop: float
    last: str
    last_mm: float
    lumbar_mm: float
    fat: float
    texture: Texture


def sample_ribs(rng: np.random.Generator, spine: Spine) -> Ribs:
    """Draw the ribs of a spine; the last ones are where its numbering says."""
    subject = spine.subject
    return Ribs(
        scale=subject.scale,
        stout=held(rng.normal(1.0, 0.12), 0.75, 1.3),
        drop=held(rng.normal(1.0, 0.15), 0.6, 1.5),
        last=[name for name in spine.levels if name.startswith("T")][-1],
        last_mm=subject.last_rib_mm,
        lumbar_mm=float(rng.uniform(15, 50)) if subject.lumbar_rib else 0.0,
        fat=held(100 * subject.marrow_fat + rng.normal(-5, 6), 8, 85),
        texture=sample_texture(rng, 4.0),
    )


def paint_ribs(canvas: Canvas, bone: Bone, ribs: Ribs) -> None:
    """Paint the pair of ribs of a thoracic vertebra (or of an L1 that has them).

    Args:
        canvas: Painted in place; the arch is there already.
        bone: The vertebra; one without ribs is left alone.
        ribs: As sampled.
    """
    length = _length(bone.level, ribs)
    if length <= 0.0:
        return
    parts = [part for side in (1.0, -1.0) for part in _rib(bone, ribs, side, length)]
    found = solid_patch(canvas, bone.centre, bone.axes, table_of(parts))
    if found is not None:
        core = int(Tissue.MARROW)
        look = SolidLook(int(Tissue.CORTEX), core, ribs.fat, 6.0, ribs.texture, int(Structure.RIB))
        paint_solid(canvas.maps, *found, NO_PARTS, look)


def _length(level: str, ribs: Ribs) -> float:
    if level == "L1":
        return ribs.lumbar_mm
    if level[0] != "T":
        return 0.0
    if level == ribs.last:
        return ribs.last_mm
    return 190.0 * ribs.scale if level == "T11" else 400.0


def _rib(bone: Bone, ribs: Ribs, side: float, length: float) -> list[Part]:
    number = 13 if bone.level == "L1" else int(bone.level[1:])
    chest = CHEST.get(number, 1.0) * ribs.scale
    wall, half = bone.intact.half_depth, 0.5 * bone.intact.height_rim
    size = ribs.scale * ribs.stout * (SLENDER if number in (1, 12, 13) else 1.0)
    neck, shaft = (tuple(size * half for half in halves) for halves in (NECK_MM, SHAFT_MM))
    # Heads of the 2nd to 10th rib lie at the disc above, the others on their own body.
    head = (
        side * (bone.intact.half_width + 0.5 + neck[0]),
        0.75 * wall,
        half if 2 <= number <= 10 else 0.4 * half,
    )
    floating = number >= 11
    out = 26.0 if not floating else 20.0
    bump = (
        side * (bone.intact.half_width + 0.5 * out * ribs.scale + 4.0),
        wall + (17.0 if not floating else 12.0) * ribs.scale,
        0.1 * half,
    )
    parts = [Part(head, bump, (neck[0], neck[1], neck[2]), cortex=1.0)]
    left, last = length, bump
    for across, back, drop in _SHAFT[1:]:
        point = (
            bump[0] + side * across * CHEST_HALF_WIDTH_MM * chest,
            bump[1] + back * CHEST_HALF_DEPTH_MM * chest,
            bump[2] - drop * ribs.drop * chest,
        )
        step = np.subtract(point, last)
        run = float(np.linalg.norm(step))
        share = min(1.0, left / run)
        end = tuple(float(a + share * b) for a, b in zip(last, step, strict=True))
        parts.append(Part(last, (end[0], end[1], end[2]), (shaft[0], shaft[1], shaft[2]), 1.0))
        left -= run
        if left <= 0.0:
            break
        last = point
    return parts
