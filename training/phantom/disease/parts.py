"""What a disease is drawn from: a few kinds of parts, each with its own painter.

Places are given in parts of the body they lie in (x: of the half-width, y: of the half-depth to
the back, z: of the half-height to the head), so that a disease can be sampled before the body.
Lengths are mm, textures lie in the body's frame.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.phantom.anatomy.spine import BodyShape
from training.phantom.numbers import held
from training.phantom.painting.kernels import Texture

BAND: Final = 0
PATCHES: Final = 1
BALL: Final = 2
"""Forms of a `Change`."""

EVERYWHERE: Final = -9.0
"""A texture cut that no texture falls below."""

UNCHANGED: Final = -1.0
"""A fat target that is none."""

WHOLE_MM: Final = 99.0
"""Half-axis of a ball that covers any body."""


class Ball(NamedTuple):
    """An ellipsoid: centre in parts of the body, half-axes in mm in a usual lumbar body."""

    x: float
    y: float
    z: float
    half_x: float
    half_y: float
    half_z: float


USUAL_HALF_MM: Final = (21.0, 16.0, 13.0)
"""Half-axes of the lumbar body that balls are sized for; in others they grow or shrink with it."""

WHOLE_BODY: Final = Ball(0.0, 0.0, 0.0, WHOLE_MM, WHOLE_MM, WHOLE_MM)


class Change(NamedTuple):
    """Marrow that stays marrow but changes its free water and its fat, with a soft edge.

    Attributes:
        form: `BAND` along the endplates, `PATCHES` of a texture, or `BALL`.
        superior, inferior: Reach of a band from each endplate, part of the middle height; 0 none.
        lean: How much further a band reaches at the back (> 0) or the front (< 0).
        cut: Marrow where the rough texture is below this is spared.
        ball: Of the form `BALL`.
        softness: Half-width of the edge, mm.
        slope: How much stronger a band is at the endplate than at its far edge.
        wander: How far the edge wanders, mm.
        grain: Relative unevenness inside.
        water: Free water, 0..255, where the change is full.
        fat_ratio: Fat that remains there, of what was.
        fat_target: Fat percent that the marrow turns to instead; `UNCHANGED` for none.
        rough, fine: Textures of the edge and of the unevenness.
        mark: `Mark` of the marrow that it changes for the most part.
    """

    form: int
    superior: float
    inferior: float
    lean: float
    cut: float
    ball: Ball
    softness: float
    slope: float
    wander: float
    grain: float
    water: float
    fat_ratio: float
    fat_target: float
    rough: Texture
    fine: Texture
    mark: int = 0


class Sheet(NamedTuple):
    """A thin sheet beside an endplate: fracture line, condensation, cleft.

    Attributes:
        superior: 1 beside the superior endplate, 0 beside the inferior one.
        depth: Below the endplate, mm.
        half_thickness: mm.
        wander: How far it leaves its depth, mm.
        front, back: Where it begins and ends, -1 anterior to 1 posterior.
        side: Its sideways reach, part of the half-width.
        lens: 1 thins out to its edges, 0 even.
        sparse: Painted only where the fine texture is above this.
        tissue, fat, water: What it is made of.
        rough, fine: Textures.
    """

    superior: int
    depth: float
    half_thickness: float
    wander: float
    front: float
    back: float
    side: float
    lens: int
    sparse: float
    tissue: int
    fat: float
    water: float
    rough: Texture
    fine: Texture


class Fill(NamedTuple):
    """What the balls of a `Blob` are filled with.

    Attributes:
        tissue, other: Tissue, and the one where the split texture is above `split`.
        split: 9 for one tissue only.
        fat, fat_spread: Percent, and how it varies with the fine texture.
        water, water_spread: 0..255, the same.
        sparse: Filled only where the fine texture is above this.
        rough_mm: How far the surface wanders.
        stripe_mm: Distance of thickened vertical trabeculae; 0 for none.
        rim_mm: Thickness of a rim of `SCLEROSIS` outside; 0 for none.
        rough, fine, split_texture: Textures.
    """

    tissue: int
    other: int
    split: float
    fat: float
    fat_spread: float
    water: float
    water_spread: float
    sparse: float
    rough_mm: float
    stripe_mm: float
    rim_mm: float
    rough: Texture
    fine: Texture
    split_texture: Texture


class Blob(NamedTuple):
    """Marrow replaced by another tissue inside a union of balls."""

    balls: tuple[Ball, ...]
    fill: Fill


class Bite(NamedTuple):
    """Bone lost at an endplate; the hole belongs to the disc.

    Attributes:
        superior: 1 the superior endplate, 0 the inferior one.
        x, y: Place of a round hole, parts of half-width and half-depth.
        radius: Of the hole, mm; 0 for none.
        flat: How much shallower than wide it is.
        erosion: Mean depth of a ragged loss of the whole endplate, mm; 0 for none.
        ragged: How far the surface wanders, mm.
        rim_mm: Dense bone around the hole.
        tissue, fat, water: What fills it.
        rough: Texture of the surface.
    """

    superior: int
    x: float
    y: float
    radius: float
    flat: float
    erosion: float
    ragged: float
    rim_mm: float
    tissue: int
    fat: float
    water: float
    rough: Texture


class Cut(NamedTuple):
    """A detached anterior corner (limbus): a slanting band of disc through a rim of the body.

    Attributes:
        superior: 1 the superior rim, 0 the inferior one.
        back: Where it leaves the endplate, part of the half-depth in front of the centre (< 0).
        down: Where it leaves the anterior wall, mm below the rim.
        half_thickness: mm.
    """

    superior: int
    back: float
    down: float
    half_thickness: float


class Mass(NamedTuple):
    """Soft tissue beside a body.

    Attributes:
        balls: In parts of the body; y may lie beyond the wall.
        epidural: 1 may enter the canal, 0 keeps out of every structure.
        tissue, fat: What it is made of.
        rough_mm: How lobulated it is.
        rough: Texture.
    """

    balls: tuple[Ball, ...]
    epidural: int
    tissue: int
    fat: float
    rough_mm: float
    rough: Texture


class Rim(NamedTuple):
    """A thin even layer around the front and sides of a body: haematoma, edema, phlegmon.

    Attributes:
        thickness: mm.
        back: How far back it reaches, -1 anterior to 1 posterior.
        tissue, fat: What it is made of.
        rough: Texture of its thickness.
    """

    thickness: float
    back: float
    tissue: int
    fat: float
    rough: Texture


class Arch(NamedTuple):
    """Disease of the posterior elements.

    Attributes:
        side: -1 right, 1 left, 0 both.
        behind: How far behind the posterior wall it reaches, mm.
        low: Middle of its height, part of the half-height; reach `tall` mm either way.
        tall: mm.
        front: Begins this far behind the posterior wall, mm.
        tissue: `MARROW` only wets it; any other replaces it.
        water: Free water, 0..255.
        fat_ratio: Fat that remains.
        rough: Texture.
    """

    side: int
    behind: float
    low: float
    tall: float
    front: float
    tissue: int
    water: float
    fat_ratio: float
    rough: Texture


class Fragment(NamedTuple):
    """A corner of the posterior wall pushed into the canal by `out` mm, `x` mm off the middle."""

    out: float
    x: float
    half_width: float
    water: float


def body_half(shape: BodyShape) -> NDArray[np.float64]:
    """(3,) half-width, half-depth and half-height that parts are placed by, mm."""
    return np.array([shape.half_width, shape.half_depth, 0.5 * shape.height_rim])


def placed(ball: Ball, shape: BodyShape) -> Ball:
    """A ball with its centre in mm of the body's frame, sized to the body."""
    half = body_half(shape)
    x, y, z = np.asarray(ball[:3]) * half
    size = held(np.cbrt(np.prod(half) / np.prod(USUAL_HALF_MM)), 0.55, 1.3)
    return Ball(float(x), float(y), float(z), *(size * axis for axis in ball[3:]))


def ball_rows(balls: tuple[Ball, ...], shape: BodyShape) -> NDArray[np.float64]:
    """(n, 6) balls in mm of the body's frame, as kernels read them."""
    return np.array([placed(ball, shape) for ball in balls], dtype=np.float64)
