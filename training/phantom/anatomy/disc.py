"""The intervertebral disc: nucleus, annulus, cartilage, cleft, bulge, herniation, fissure, gas.

The disc fills exactly what its two bodies leave: its surfaces are their endplates, its side wall
runs from the rim of one to the rim of the other, whatever their shapes and however they stand.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.localiser.classes import Structure
from training.phantom.anatomy.body import body_reach, endplate, rim
from training.phantom.anatomy.spine import BodyShape, Bone, DiscState
from training.phantom.numbers import held
from training.phantom.painting.grid import Canvas, Vector
from training.phantom.painting.kernels import (
    FAR_MM,
    Maps,
    Patch,
    Texture,
    columns_within,
    grain,
    jit,
    put,
    row_count,
    row_start,
    sample_texture,
)
from training.phantom.painting.tissues import Tissue

_NUCLEUS, _ANNULUS, _LIGAMENT = int(Tissue.NUCLEUS), int(Tissue.ANNULUS), int(Tissue.LIGAMENT)
_CARTILAGE, _GAS, _CORTEX = int(Tissue.CARTILAGE), int(Tissue.GAS), int(Tissue.CORTEX)
_FLUID = int(Tissue.FLUID)

UNDER_RIM_MM: Final = 1.3
"""Annulus fibres fill the notch that the rounded rims of the bodies leave."""

REMNANT: Final = DiscState(hydration=0.25, bulge=0.0, height_factor=1.0)
"""State of the remnant discs of the sacrum."""

OUTER_BULGE_MM: Final = 0.6
GRADE_LIMITS: Final = (0.2, 0.4, 0.6, 0.8)
"""Hydration between Pfirrmann grades V, IV, III, II and I."""


class DiscLook(NamedTuple):
    """One disc as sampled.

    Attributes:
        hydration: 0 (Pfirrmann V) to 1 (I).
        bulge: Of the whole rim beyond the bodies, mm.
        nucleus: Reach of the nucleus in the outline, 0..1; `nucleus_back` its shift backwards.
        nucleus_back: See above, in the same units.
        edge: Width of the passage from nucleus to annulus, in the same units.
        lens: How much flatter than the disc the nucleus is: fibres arch over it to the endplates.
        outer: Thickness of the dark outer annulus, mm.
        cartilage: Thickness of the cartilaginous endplates, mm.
        cleft: Loss of hydration in the intranuclear cleft, 0..1.
        hernia: Length of a protrusion or extrusion beyond the rim, mm; 0 without one.
        hernia_x, hernia_width: Its place, to the left, and half-width, mm.
        hernia_drop: How far it wanders down (up, negative), mm.
        zone: 1, a high-intensity zone in the posterior annulus.
        zone_x: Its place to the left, mm.
        vacuum: Half-height of a gas cleft, mm; 0 without gas.
        uneven: Spread of the hydration, 0..1.
        texture: Of it.
    """

    hydration: float
    bulge: float
    nucleus: float
    nucleus_back: float
    edge: float
    lens: float
    outer: float
    cartilage: float
    cleft: float
    hernia: float
    hernia_x: float
    hernia_width: float
    hernia_drop: float
    zone: int
    zone_x: float
    vacuum: float
    uneven: float
    texture: Texture


def sample_disc_look(rng: np.random.Generator, state: DiscState | None) -> DiscLook:
    """Draw what a disc of a given state looks like.

    Args:
        rng: Source.
        state: Hydration, bulge, gas; None for a remnant disc of the sacrum.
    """
    state = state or REMNANT
    wear = 1.0 - state.hydration
    # Herniations belong to middling discs: a dry one has lost the pressure for it.
    chance = 0.22 * np.exp(-(((wear - 0.6) / 0.25) ** 2))
    extruded = rng.random() < 0.25
    length = rng.uniform(5, 9) if extruded else rng.uniform(2.5, 5)
    herniated = rng.random() < chance
    return DiscLook(
        hydration=state.hydration,
        bulge=state.bulge,
        nucleus=float(rng.uniform(0.66, 0.8)),
        nucleus_back=float(rng.normal(0.07, 0.03)),
        edge=float(rng.uniform(0.08, 0.16) + 0.12 * wear),
        lens=float(rng.uniform(0.9, 1.7)),
        outer=float(rng.uniform(0.9, 1.9)),
        cartilage=float(rng.uniform(0.5, 0.9)),
        cleft=held(rng.normal(0.3, 0.12), 0, 0.6) if state.hydration > 0.4 else 0.0,
        hernia=float(length) if herniated else 0.0,
        hernia_x=held(rng.normal(0, 5), -11, 11),
        hernia_width=float(rng.uniform(4, 7)),
        hernia_drop=float(rng.normal(0, 4)) if extruded else float(rng.normal(0, 0.8)),
        zone=int(rng.random() < 0.04 + 0.22 * wear * (state.hydration > 0.1)),
        zone_x=float(rng.normal(0, 5)),
        vacuum=float(rng.uniform(0.7, 1.3)) if state.vacuum else 0.0,
        uneven=float(rng.uniform(0.01, 0.04) + 0.06 * wear),
        texture=sample_texture(rng, float(rng.uniform(4.0, 7.0))),
    )


class DiscPair(NamedTuple):
    """A disc's two bodies, seen from the disc's frame.

    Attributes:
        upper, lower: Their shapes.
        to_upper, to_lower: (3, 4) the disc's frame to that body's.
        half_depth: Mean of both endplates, mm.
    """

    upper: BodyShape
    lower: BodyShape
    to_upper: NDArray[np.float64]
    to_lower: NDArray[np.float64]
    half_depth: float


def paint_disc(canvas: Canvas, upper: Bone, lower: Bone, look: DiscLook) -> None:
    """Paint the disc between two bodies wherever nothing is labelled yet.

    Args:
        canvas: Painted in place; both bodies are there already.
        upper: The bone above.
        lower: The bone below it.
        look: As sampled.
    """
    floor, roof = _rims(upper, lower)
    middle, axes, pair = disc_pair(upper, lower)
    reach = _reach(upper, lower, look, abs(float((floor - roof) @ axes[2])), axes)
    patch = canvas.patch(middle, axes, np.array(reach))
    if patch is None:
        return
    sacral = lower.sacral and lower.level != "S1"
    structure = int(Structure.SACRUM_LOWER if sacral else Structure.DISC)
    _paint_disc(canvas.maps, patch, pair, look, (structure, reach))


def _rims(upper: Bone, lower: Bone) -> tuple[Vector, Vector]:
    """Middles of the rims that face each other, LPS mm."""
    floor = upper.centre - upper.axes[2] * 0.5 * upper.shape.height_rim
    roof = lower.centre + lower.axes[2] * 0.5 * lower.shape.height_rim
    return floor, roof


def disc_pair(upper: Bone, lower: Bone) -> tuple[Vector, Vector, DiscPair]:
    """The frame of the disc between two bones, and both bodies seen from there.

    Returns:
        (3,) LPS mm: its middle; (3, 3) rows: left, back, head; the bodies.
    """
    floor, roof = _rims(upper, lower)
    middle, axes = 0.5 * (floor + roof), _between(upper, lower)
    pair = DiscPair(
        upper.shape,
        lower.shape,
        _into(upper, middle, axes),
        _into(lower, middle, axes),
        0.5 * (upper.shape.half_depth_bottom + lower.shape.half_depth_top),
    )
    return middle, axes, pair


@jit
def in_disc(pair: DiscPair, look: DiscLook, x: float, y: float, z: float) -> bool:
    """Whether a point of the disc's frame, mm, lies in the disc, bulge and hernia included."""
    _, _, inside = _disc_place(pair, look, x, y, z)
    return inside > 0.0


def _between(upper: Bone, lower: Bone) -> Vector:
    mean = upper.axes + lower.axes
    head = mean[2] / np.linalg.norm(mean[2])
    left = mean[0] - head * (mean[0] @ head)
    left /= np.linalg.norm(left)
    return np.stack([left, np.cross(head, left), head])


def _into(bone: Bone, middle: Vector, axes: Vector) -> Vector:
    """(3, 4) from the frame at `middle` with rows `axes` to a bone's frame."""
    out = np.empty((3, 4))
    out[:, :3] = bone.axes @ axes.T
    out[:, 3] = bone.axes @ (middle - bone.centre)
    return out


def _reach(
    upper: Bone, lower: Bone, look: DiscLook, gap: float, axes: Vector
) -> tuple[float, float, float]:
    """Half-extents of the disc's block: both endplates, bulge, dishes, slip and tilt included."""
    above, below = body_reach(upper.shape), body_reach(lower.shape)
    width = max(above[0], below[0]) + look.bulge + OUTER_BULGE_MM
    depth = max(above[1], below[1]) + look.bulge + look.hernia + OUTER_BULGE_MM
    dishes = max(upper.shape.dish_inferior, lower.shape.dish_superior) + lower.shape.uncus
    between = axes @ (upper.centre - lower.centre)
    tilt = np.sqrt(max(0.0, 1.0 - float(upper.axes[2] @ lower.axes[2]) ** 2))
    tall = 0.5 * gap + dishes + 0.5 * tilt * max(width, depth) + abs(look.hernia_drop) + 2.0
    return width + 0.5 * abs(between[0]), depth + 0.5 * abs(between[1]), tall


@jit
def _paint_disc(
    maps: Maps,
    patch: Patch,
    pair: DiscPair,
    look: DiscLook,
    place: tuple[int, tuple[float, float, float]],
) -> None:
    step = patch.frame[:, 2]
    structure, reach = place
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        first, last = columns_within(patch, (x0, y0, z0), reach)
        for j in range(first, last):
            at = (k, i, j)
            if maps.structure[at] != 0 or maps.body[at] != 0:
                continue
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            a, b = x / reach[0], y / reach[1]
            if a * a * a * a + b * b * b * b > 1.0:
                continue
            above, below, inside = _disc_place(pair, look, x, y, z)
            if inside <= 0.0:
                continue
            # The outermost quarter millimetre of a body is cortex without a label.
            if min(above, below) < 0.0 and maps.tissue[at] == _CORTEX:
                continue
            _fill(maps, at, look, (x, y, z), (above, below, inside, pair.half_depth))
            maps.structure[at] = structure


@jit
def _disc_place(
    pair: DiscPair, look: DiscLook, x: float, y: float, z: float
) -> tuple[float, float, float]:
    """Distance above the lower endplate, below the upper one, and inside the side wall, mm.

    The last is negative outside the disc.
    """
    m = pair.to_lower
    lz = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
    lx = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
    ly = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
    behind = look.hernia > 0.0 and y > pair.half_depth - 2.0
    # Most points are ruled out by the side wall, which is quicker to tell than the endplates.
    most = OUTER_BULGE_MM + look.bulge
    low = rim(pair.lower, lx, ly, True)  # noqa: FBT003
    m = pair.to_upper
    ux = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
    uy = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
    high = rim(pair.upper, ux, uy, False)  # noqa: FBT003
    if min(low, high) > most and not behind:
        return 0.0, 0.0, -FAR_MM
    above = lz - _surface(pair.lower, lx, ly, True)  # noqa: FBT003
    if above < -UNDER_RIM_MM and not behind:
        return above, 0.0, -FAR_MM
    uz = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
    below = -uz - _surface(pair.upper, ux, uy, False)  # noqa: FBT003
    if below < -UNDER_RIM_MM and not behind:
        return above, below, -FAR_MM
    share = min(1.0, max(0.0, above / max(above + below, 0.5)))
    swell = OUTER_BULGE_MM + look.bulge * (1.0 if y > 0 else 0.35)
    swell *= 1.0 - 0.5 * (2 * share - 1) * (2 * share - 1)
    inside = swell - (low + (high - low) * share)
    if min(above, below) < -UNDER_RIM_MM or (min(above, below) < 0.0 and inside > 4.0):
        inside = -FAR_MM
    if behind:
        inside = max(inside, _herniated(pair, look, x, y, z))
    return above, below, inside


@jit
def _surface(shape: BodyShape, x: float, y: float, superior: bool) -> float:
    half_depth = 0.5 * (shape.half_depth_top + shape.half_depth_bottom) * (1 - shape.waist)
    half_width = 0.5 * (shape.half_width_top + shape.half_width_bottom) * (1 - shape.waist)
    return endplate(shape, min(1.15, max(-1.15, y / half_depth)), x / half_width, superior)


@jit
def _herniated(pair: DiscPair, look: DiscLook, x: float, y: float, z: float) -> float:
    """Distance inside herniated disc behind the rim, mm: a tongue that may wander up or down."""
    out = y - (pair.half_depth - 2.0)
    if out < 0.0:
        return -FAR_MM
    t = min(1.0, out / (look.hernia + 2.0))
    a = (x - look.hernia_x) / look.hernia_width
    b = (z + look.hernia_drop * t * t) / (2.6 + 0.35 * look.hernia)
    c = max(0.0, out - look.hernia - 2.0 + 2.5) / 2.5
    return (1.0 - np.sqrt(a * a + b * b + c * c)) * 2.5


@jit
def _fill(
    maps: Maps,
    at: tuple[int, int, int],
    look: DiscLook,
    point: tuple[float, float, float],
    place: tuple[float, float, float, float],
) -> None:
    """The tissue of one voxel of the disc."""
    x, y, z = point
    above, below, inside, half_depth = place
    rough = grain(maps.noise, look.texture, x, y, z)
    if inside < look.outer + 0.3 * rough:
        wet = look.zone == 1 and y > 0.6 * half_depth and abs(x - look.zone_x) < 3.0
        if wet and inside > 0.6 and abs(z) < 1.4:
            put(maps, at, _FLUID, 0.0, 0.0)
        else:
            put(maps, at, _LIGAMENT, 0.0, 0.0)
        return
    if min(above, below) < look.cartilage and inside > 3.0:
        put(maps, at, _CARTILAGE, 0.0, 0.0)
        return
    # 0 in the middle to 1 at the rim, from the distance to the side wall.
    out = max(0.0, 1.0 - (inside + look.nucleus_back * y) / half_depth)
    mid = (above - below) / max(above + below, 1.0)
    core = 1.0 - (out / look.nucleus) ** 2 - look.lens * mid * mid
    gas = abs(z - 0.5 * rough) < look.vacuum and out < 0.75
    if gas:
        put(maps, at, _GAS, 0.0, 0.0)
        return
    share = min(1.0, max(0.0, 0.5 + core / (4.0 * look.edge)))
    if share <= 0.0:
        put(maps, at, _ANNULUS, 0.0, 0.0)
        return
    water = look.hydration * (1.0 - look.cleft * np.exp(-z * z)) + look.uneven * rough
    put(maps, at, _NUCLEUS, 0.0, 255.0 * water * (0.25 + 0.75 * share))
