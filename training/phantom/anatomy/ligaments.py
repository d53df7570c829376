"""What joins two vertebrae or passes between them: ligaments, and the spinal nerves below them."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from training.phantom.anatomy.arch import Arch, foramen_roof, lamina_edge, spinous_axis
from training.phantom.anatomy.solids import (
    NO_PARTS,
    Part,
    SolidLook,
    near_grid,
    paint_solid,
    solid_patch,
    table_of,
)
from training.phantom.anatomy.spine import Bone
from training.phantom.numbers import held
from training.phantom.painting.grid import Canvas, Vector
from training.phantom.painting.kernels import Texture, sample_texture
from training.phantom.painting.tissues import Tissue

Canal = tuple[float, float]

FLAVUM_HALF_WIDTH_MM: Final = 5.0
GANGLION_MM: Final = {"T": 2.0, "L": 2.9}
"""Half-thickness of the dorsal root ganglia of a region; necks are blocks of tissue."""

LIGAMENTS_REACH_MM: Final = (25.0, 85.0, 60.0)


class Ligaments(NamedTuple):
    """Ligaments of a whole spine, mm.

    Attributes:
        front, back: Half-thickness of the anterior and posterior longitudinal ligaments.
        flavum: Half-thickness of the yellow ligament; thick in degeneration.
        supra: Half-thickness of the supraspinous ligament.
        streaks: Fat percent of the interspinous ligament.
        texture: Of its streaks.
    """

    front: float
    back: float
    flavum: float
    supra: float
    streaks: float
    texture: Texture


def sample_ligaments(rng: np.random.Generator, age_years: float) -> Ligaments:
    """Draw the ligaments of a spine; the yellow ligament thickens with age."""
    old = held((age_years - 40) / 40, 0, 1)
    return Ligaments(
        front=float(rng.uniform(0.55, 0.95)),
        back=float(rng.uniform(0.3, 0.55)),
        flavum=held(rng.normal(1.5 + 0.6 * old, 0.3), 0.9, 3.0),
        supra=float(rng.uniform(1.0, 2.0)),
        streaks=held(rng.normal(22 + 18 * old, 10), 5, 80),
        texture=sample_texture(rng, 3.0),
    )


def paint_ligaments(
    canvas: Canvas,
    bones: tuple[Bone, Bone],
    canals: tuple[Canal, Canal],
    arches: tuple[Arch, Arch | None],
    ligaments: Ligaments,
) -> None:
    """Paint ligaments and nerves from one vertebra to the next, wherever nothing is labelled.

    Args:
        canvas: Painted in place; both arches are there already.
        bones: The upper and the lower bone.
        canals: Half-depth and half-width of the canal behind both bones, mm.
        arches: Of both bones; None for S1.
        ligaments: As sampled.
    """
    upper, lower = bones
    if not near_grid(canvas, upper, LIGAMENTS_REACH_MM):
        return
    look = SolidLook(int(Tissue.LIGAMENT), int(Tissue.LIGAMENT), 0.0, 0.0, ligaments.texture, 0)
    # Bands that lie far apart are painted one by one: each has its own small box.
    for sign in (-1.0, 1.0):
        _paint(canvas, upper, _longitudinal(upper, lower, ligaments, sign), look)
    if upper.level[0] in GANGLION_MM:
        nerve = look._replace(shell=int(Tissue.NERVE), core=int(Tissue.NERVE))
        for side in (1.0, -1.0):
            _paint(canvas, upper, _root(upper, canals[0], arches[0], side), nerve)
    if arches[1] is not None:
        _paint(canvas, upper, _posterior(bones, canals, (arches[0], arches[1]), ligaments), look)
        loose = look._replace(
            shell=int(Tissue.MUSCLE), core=int(Tissue.MUSCLE), fat=ligaments.streaks, spread=14.0
        )
        _paint(canvas, upper, [_interspinous(bones, canals, (arches[0], arches[1]))], loose)


def _paint(canvas: Canvas, bone: Bone, parts: list[Part], look: SolidLook) -> None:
    found = solid_patch(canvas, bone.centre, bone.axes, table_of(parts))
    if found is not None:
        paint_solid(canvas.maps, *found, NO_PARTS, look)


def _in_upper(upper: Bone, lower: Bone, point: Vector) -> tuple[float, float, float]:
    """A point of the lower bone's frame in the upper one's."""
    x, y, z = upper.axes @ (lower.centre + point @ lower.axes - upper.centre)
    return float(x), float(y), float(z)


def _longitudinal(upper: Bone, lower: Bone, ligaments: Ligaments, sign: float) -> list[Part]:
    """The anterior (-1) or posterior (1) band from the middle of one body to that of the next."""
    thick, wide = (ligaments.front, 0.5) if sign < 0 else (ligaments.back, 0.3)
    above, below = upper.shape, lower.shape
    tall = 0.5 * (above.height_anterior if sign < 0 else above.height_posterior)
    lift = 0.5 * (below.height_anterior if sign < 0 else below.height_posterior)
    over = sign * (above.half_depth_bottom + thick + 0.3) - 0.5 * above.shear
    under = sign * (below.half_depth_top + thick + 0.3) + 0.5 * below.shear
    # The anterior band clings to the waists; the posterior one spans them like a bowstring.
    hollow = 0.0 if sign < 0 else 1.0
    start = above.half_depth + thick + hollow * (above.half_depth_bottom - above.half_depth)
    end = below.half_depth + thick + hollow * (below.half_depth_top - below.half_depth)
    path = [
        (0.0, sign * start, 0.0),
        (0.0, over, 1.5 - tall),
        _in_upper(upper, lower, np.array([0.0, under, lift - 1.5])),
        _in_upper(upper, lower, np.array([0.0, sign * end, 0.0])),
    ]
    radii = (wide * above.half_width, thick, 1.5)
    return [Part(a, b, radii) for a, b in pairwise(path)]


def _root(bone: Bone, canal: Canal, arch: Arch, side: float) -> list[Part]:
    """The ganglion under a pedicle, and the nerve that runs on outwards, forwards and down."""
    thick = GANGLION_MM[bone.level[0]] * bone.intact.half_width / 24.0
    x, y, z = foramen_roof(bone, canal, arch, side)
    start = (x - 5.0 * side, y + 0.5, z - thick - 0.5)
    end = (x + 3.0 * side, y - 0.5, z - thick - 4.0)
    away = (x + 12.0 * side, y - 5.0, z - thick - 15.0)
    ganglion = (thick, thick, 1.15 * thick)
    nerve = (0.65 * thick, 0.65 * thick, 0.8 * thick)
    return [Part(start, end, ganglion), Part(end, away, nerve)]


def _posterior(
    bones: tuple[Bone, Bone],
    canals: tuple[Canal, Canal],
    arches: tuple[Arch, Arch],
    ligaments: Ligaments,
) -> list[Part]:
    upper, lower = bones
    parts = []
    for side in (1.0, -1.0):
        start = np.array(lamina_edge(upper, canals[0], arches[0], side, top=False))
        end = _in_upper(
            upper, lower, np.array(lamina_edge(lower, canals[1], arches[1], side, top=True))
        )
        radii = (FLAVUM_HALF_WIDTH_MM, ligaments.flavum, 2.0)
        parts.append(Part((float(start[0]), float(start[1]), float(start[2])), end, radii))
    _, tip = spinous_axis(upper, canals[0], arches[0])
    _, next_tip = spinous_axis(lower, canals[1], arches[1])
    down = _in_upper(upper, lower, np.array(next_tip))
    thick = ligaments.supra
    behind = (tip[0], tip[1] + 3.0, tip[2])
    parts.append(Part(behind, (down[0], down[1] + 3.0, down[2]), (2.5, thick, 2.0)))
    return parts


def _interspinous(
    bones: tuple[Bone, Bone], canals: tuple[Canal, Canal], arches: tuple[Arch, Arch]
) -> Part:
    """A thin plate between two spinous processes."""
    upper, lower = bones
    base, tip = spinous_axis(upper, canals[0], arches[0])
    other, far = spinous_axis(lower, canals[1], arches[1])
    a = np.array(_in_upper(upper, lower, np.array(other)))
    b = np.array(_in_upper(upper, lower, np.array(far)))
    start, end = 0.5 * (np.array(base) + a), 0.5 * (np.array(tip) + b)
    tall = 0.5 * abs(float((np.array(base) - a)[2])) + 1.0
    s, e = [(float(v[0]), float(v[1]), float(v[2])) for v in (start, end)]
    return Part(s, e, (2.2, 3.0, tall))
