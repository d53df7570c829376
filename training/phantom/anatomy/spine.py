"""The synthetic spine's bones as parameters: one chain from the coccyx to C2 in patient space.

Everything is sampled bottom-up from the sacral endplate. A vertebra has a body frame: origin at
the body's centre, axes to the patient's left (x), back (y) and along the body to the head (z).
Mean sizes are in `norms`, curvature in `posture`. All millimetres, LPS.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import GeometryError
from training.phantom.anatomy.norms import CANAL, SACRAL, level_names, norm_of
from training.phantom.anatomy.posture import Posture, rotation, sample_posture
from training.phantom.anatomy.subject import Demographics, Subject, sample_subject
from training.phantom.numbers import held

__all__ = [
    "BodyShape",
    "Bone",
    "Demographics",
    "DiscState",
    "Spine",
    "Subject",
    "build_spine",
    "check_shape",
    "level_names",
    "rotation",
    "sample_body",
    "sample_disc",
    "sample_subject",
]

Vector = NDArray[np.float64]

JITTER: Final = 0.025
"""Own size of each level around the subject's common scale."""

BEND: Final = 0.27
CERVICAL_BEND: Final = 0.12
BEND_SPREAD: Final = 0.07
"""How far the sides of a body lie behind its middle, as a part of its half-depth. On masks of real
scans (T12 to L4) both walls lie 3 to 4.5 mm further back 18 mm beside the middle than in it."""

WEDGE: Final = 0.042
LAST_WEDGE: Final = 0.065
"""Spread of anterior over posterior height around the level's norm, as a part of it; that of L5 is
wider, as measured."""

DISH_MM: Final = 0.95
"""Own depth of each endplate around those of its spine."""

RIM_SHARE: Final = 0.6
"""Part of a deeper dish that lies in higher rims: mid heights differ little between neighbours, by
4 % as measured, though dishes do."""


class BodyShape(NamedTuple):
    """A vertebral body in its own frame, mm.

    Attributes:
        height_anterior, height_posterior: Rim to rim.
        dish_superior, dish_inferior: Depth of the endplates' concavity below the rim.
        dish_centre_superior, dish_centre_inferior: Where it is deepest, -1 anterior to 1 posterior.
        dish_width_superior, dish_width_inferior: Its half-width in the same units.
        half_depth_top, half_depth_bottom, half_width_top, half_width_bottom: Of the endplates.
        waist: Part by which the body narrows at mid height.
        lip: Forward and sideways growth of the rims (osteophytes).
        posterior_bulge: Posterior wall at mid height, + convex into the canal, - concave.
        squareness: Of the outline seen from above: 0 an ellipse to 1 a superellipse of order 4.
        lateral_wedge: Height of the left side less that of the right side.
        ripple_sagittal, ripple_coronal: Unevenness of both endplates from front to back and from
            side to side.
        shear: How far the superior endplate lies behind the inferior one.
        uncus: How far the side rims of the superior endplate stand up (uncinate processes).
        bend: How far the outline's sides lie behind its middle: round in front, and behind hollow
            between two corners, as bodies are seen from above.
    """

    height_anterior: float
    height_posterior: float
    dish_superior: float
    dish_inferior: float
    half_depth_top: float
    half_depth_bottom: float
    half_width_top: float
    half_width_bottom: float
    waist: float = 0.07
    lip: float = 0.0
    posterior_bulge: float = -0.6
    squareness: float = 0.5
    dish_centre_superior: float = 0.1
    dish_centre_inferior: float = 0.15
    dish_width_superior: float = 0.85
    dish_width_inferior: float = 0.85
    lateral_wedge: float = 0.0
    ripple_sagittal: float = 0.0
    ripple_coronal: float = 0.0
    uncus: float = 0.0
    shear: float = 0.0
    bend: float = 0.0

    @property
    def height_rim(self) -> float:
        """Mean of the anterior and posterior heights."""
        return 0.5 * (self.height_anterior + self.height_posterior)

    @property
    def height_middle(self) -> float:
        """Height at the middle of the depth, between the dished endplates."""
        depression = self.dish_superior * np.exp(
            -((self.dish_centre_superior / self.dish_width_superior) ** 2)
        ) + self.dish_inferior * np.exp(
            -((self.dish_centre_inferior / self.dish_width_inferior) ** 2)
        )
        return float(self.height_rim - depression)

    @property
    def half_depth(self) -> float:
        """Half of the depth at mid height."""
        return 0.5 * (self.half_depth_top + self.half_depth_bottom) * (1 - self.waist)

    @property
    def half_width(self) -> float:
        """Half of the width at mid height."""
        return 0.5 * (self.half_width_top + self.half_width_bottom) * (1 - self.waist)


@dataclass(frozen=True, slots=True)
class DiscState:
    """The disc below a vertebra: hydration 0..1 (Pfirrmann V..I), bulge in mm, height factor."""

    hydration: float
    bulge: float
    height_factor: float
    vacuum: bool = False


@dataclass(frozen=True, slots=True)
class Bone:
    """One placed vertebra (or sacral piece).

    Attributes:
        level: Name; sacral pieces are "S2" … "Co2".
        centre: (3,) LPS mm.
        axes: (3, 3) rows: left, back, head.
        shape: Of the body, disease included.
        intact: Of the body before any fracture.
        disc: The disc below it; None for sacral pieces, but for a lumbarised S1.
    """

    level: str
    centre: Vector
    axes: Vector
    shape: BodyShape
    intact: BodyShape
    disc: DiscState | None

    @property
    def sacral(self) -> bool:
        """S1 and everything below it."""
        return self.level.startswith(("S", "Co"))


@dataclass(frozen=True, slots=True)
class Spine:
    """Bones from C2 down to the coccyx and the subject they were sampled for.

    Attributes:
        subject: Who.
        bones: C2 first.
        canal_half_depth, canal_half_width: Mean of the lumbar canal, mm.
        conus_level: Behind it the cord begins to taper; it ends 22 mm below.
        levels: Names of the presacral levels.
        atlas: (2, 3) centre of the canal at C1 and at the foramen magnum, LPS mm.
        cobb_deg: Largest sideways bend.
        slips: Levels that slip, with forward and leftward mm.
    """

    subject: Subject
    bones: tuple[Bone, ...]
    canal_half_depth: float
    canal_half_width: float
    conus_level: str
    levels: tuple[str, ...] = field(default=())
    atlas: Vector = field(default_factory=lambda: np.zeros((2, 3)))
    cobb_deg: float = 0.0
    slips: tuple[tuple[str, float, float], ...] = ()

    def canal(self, level: str) -> tuple[float, float]:
        """Half-depth and half-width of the canal behind a thoracic or lumbar level, mm.

        Behind other levels those of the lumbar canal, which the neck and the sacrum narrow.
        """
        deep, wide = CANAL.get(level, (1.0, 1.0))
        return deep * self.canal_half_depth, wide * self.canal_half_width

    def bone(self, level: str) -> Bone:
        """The bone of that name.

        Raises:
            KeyError: This spine has no such level.
        """
        for bone in self.bones:
            if bone.level == level:
                return bone
        raise KeyError(level)


def sample_disc(level: str, age: float, rng: np.random.Generator, degeneration: float) -> DiscState:
    """State of the disc below `level`; lower lumbar discs and older people degenerate more.

    Raises:
        GeometryError: No such level.
    """
    norm_of(level)
    load = {"L5": 0.35, "L4": 0.35, "L3": 0.15, "C5": 0.3, "C6": 0.3, "C4": 0.15}.get(level, 0.0)
    wear = (age - 30) / 60 + load + degeneration + rng.normal(0, 0.28)
    # Water is lost slowly at first; together with the nucleus' T2 this keeps disc over marrow on T2
    # within what was measured, 1.2 with a standard deviation of 0.4.
    lost = 0.04 * min(wear, 0.8) + 0.5 * max(0.0, wear - 0.8)
    hydration = held(0.56 - lost + 0.06 * max(0.0, -wear), 0.03, 0.75)
    height = held(1.0 - 0.3 * max(0.0, wear - 0.6) + rng.normal(0, 0.1), 0.25, 1.35)
    bulge = held(rng.normal(0.6 + 1.6 * max(0.0, wear - 0.3), 0.8), 0.0, 5.0)
    if level[0] in "CT":
        bulge *= 0.6
    return DiscState(hydration, bulge, height, vacuum=bool(hydration < 0.2 and rng.random() < 0.12))


def sample_body(
    level: str, subject: Subject, rng: np.random.Generator, common: float, dished: float = 0.0
) -> BodyShape:
    """Sample an intact presacral body: level norm, the subject's scale, own jitter.

    Args:
        level: Its name.
        subject: Whose.
        rng: Source.
        common: Size of this spine against the subject's scale.
        dished: How much deeper than usual the endplates of this spine are, mm.

    Raises:
        GeometryError: No such level, or sizes that no vertebra has.
    """
    norm = norm_of(level)
    scale = subject.scale * common
    _check_scale(scale)
    height = norm.height * scale * rng.normal(1.0, JITTER)
    wedge = norm.wedge * rng.normal(1.0, LAST_WEDGE if level == "L5" else WEDGE)
    waist = held(rng.normal(0.075, 0.025), 0.01, 0.16)
    half_depth = 0.5 * norm.depth * scale * rng.normal(1.0, 1.6 * JITTER) / (1 - waist)
    half_width = 0.5 * norm.width * scale * rng.normal(1.0, 1.3 * JITTER) / (1 - waist)
    cervical = level[0] == "C"
    size = scale * (0.6 if cervical else 1.0)
    upper = held(rng.normal(norm.dish_superior + dished * size, DISH_MM * size), 0.1, 5.5)
    lower = held(rng.normal(norm.dish_inferior + dished * size, DISH_MM * size), 0.1, 5.5)
    deeper = upper - norm.dish_superior + lower - norm.dish_inferior
    shape = BodyShape(
        height_anterior=float(height * wedge + RIM_SHARE * deeper),
        height_posterior=float(height + RIM_SHARE * deeper),
        dish_superior=upper,
        dish_inferior=lower,
        half_depth_top=float(half_depth * rng.normal(0.995, 0.012)),
        half_depth_bottom=float(half_depth * rng.normal(1.01, 0.012)),
        half_width_top=float(half_width * 0.975),
        half_width_bottom=float(half_width * 1.02),
        waist=waist,
        lip=float(held(rng.normal((subject.age_years - 45) / 25, 1.0), 0.0, 5.0) * size),
        posterior_bulge=float(rng.normal(-0.8, 0.5) * size),
        squareness=held(rng.normal(0.54, 0.17), 0.08, 0.9),
        dish_centre_superior=float(rng.normal(0.08, 0.12)),
        dish_centre_inferior=float(rng.normal(0.18, 0.12)),
        dish_width_superior=held(rng.normal(0.8, 0.12), 0.5, 1.1),
        dish_width_inferior=held(rng.normal(0.8, 0.12), 0.5, 1.1),
        lateral_wedge=float(rng.normal(0.0, 0.6) * size),
        ripple_sagittal=float(rng.normal(0.0, 0.4) * size),
        ripple_coronal=float(rng.normal(0.0, 0.3) * size),
        shear=float(norm.shear * scale + rng.normal(0, 1.0 if level[0] == "L" else 0.6) * scale),
        uncus=float(rng.uniform(2.5, 4.0) * scale) if cervical and level != "C2" else 0.0,
        bend=_sample_bend(rng, CERVICAL_BEND if cervical else BEND, half_depth),
    )
    if subject.numbering == "sacralised" and level == level_names("sacralised")[-1]:
        shape = _sacral_looking(shape, rng)
    check_shape(shape)
    return shape


def _sample_bend(rng: np.random.Generator, mean: float, half_depth: float) -> float:
    # From a stream of its own: patients are otherwise those that they were before bodies were bent.
    own = rng.spawn(1)[0]
    return float(half_depth * held(own.normal(mean, BEND_SPREAD), 0.0, 0.5))


def _sacral_looking(shape: BodyShape, rng: np.random.Generator) -> BodyShape:
    """A sacralised L5 tapers downwards like S1 (O'Driscoll): a wedge with flat lower endplate."""
    narrow = float(rng.uniform(0.76, 0.88))
    return shape._replace(
        half_depth_bottom=shape.half_depth_bottom * narrow,
        half_width_bottom=shape.half_width_bottom * narrow,
        dish_inferior=min(shape.dish_inferior, float(rng.uniform(0.2, 0.9))),
        lip=0.3 * shape.lip,
    )


def _sample_piece(level: str, subject: Subject, rng: np.random.Generator) -> BodyShape:
    """Sample S1 … S5 or a coccygeal piece: narrowing downwards, almost flat endplates."""
    norm = SACRAL[level]
    scale = subject.scale * rng.normal(1.0, JITTER)
    first = level == "S1"
    taper = rng.normal(1.0, 0.04)
    depths, widths = (norm.depth_top, norm.depth_bottom), (norm.width_top, norm.width_bottom)
    if first and subject.numbering == "lumbarised":  # a squared S1
        depths, widths = (32.5, rng.uniform(29.0, 32.0)), (48.0, rng.uniform(42.0, 46.0))
    if level == "S2" and subject.numbering == "lumbarised":  # S2 looks like a first sacral piece
        depths, widths = (28.0, 19.0), (42.0, 30.0)
    shape = BodyShape(
        height_anterior=float(norm.height * norm.wedge * scale),
        height_posterior=float(norm.height * scale * rng.normal(0.93, 0.03)),
        dish_superior=held(rng.normal(1.2 if first else 0.4, 0.4), 0.0, 3.0),
        dish_inferior=held(rng.normal(0.4, 0.3), 0.0, 1.5),
        half_depth_top=float(0.5 * depths[0] * scale),
        half_depth_bottom=float(0.5 * depths[1] * scale * taper),
        half_width_top=float(0.5 * widths[0] * scale),
        half_width_bottom=float(0.5 * widths[1] * scale * taper),
        waist=0.05 if first else 0.02,
        lip=held(rng.normal(0.5, 0.7), 0, 3) if first else 0.0,
        posterior_bulge=0.0,
        squareness=0.42,
        ripple_sagittal=float(rng.normal(0.0, 0.25)) if first else 0.0,
        bend=_sample_bend(rng, BEND, 0.5 * depths[0] * scale) if first else 0.0,
    )
    check_shape(shape)
    return shape


def check_shape(shape: BodyShape) -> None:
    """Refuse a body that cannot be.

    Raises:
        GeometryError: A number is not finite, or a size is not one of a human vertebra.
    """
    if not np.all(np.isfinite(shape)):
        raise GeometryError("a vertebral body has a size that is not a number")
    halves = shape[4:8]
    tall = (shape.height_anterior, shape.height_posterior)
    if min(tall) < 1.0 or max(tall) > 60.0 or min(halves) < 2.0 or max(halves) > 45.0:
        raise GeometryError("a vertebral body is of impossible size")
    if shape.lip < 0 or not 0 <= shape.waist < 0.5 or not 0 <= shape.squareness <= 1:
        raise GeometryError("a vertebral body has an impossible outline")


def _check_scale(scale: float) -> None:
    if not 0.5 <= scale <= 1.5:
        raise GeometryError("the subject's scale is impossible")


def build_spine(
    subject: Subject,
    bodies: dict[str, tuple[BodyShape, BodyShape]],
    discs: dict[str, DiscState],
    rng: np.random.Generator,
) -> Spine:
    """Place every bone, from the sacral endplate up and down.

    Args:
        subject: Who.
        bodies: Presacral level name to (shape with disease, intact shape), C2 first.
        discs: The disc below each of these levels.
        rng: Source of posture and sacrum.

    Returns:
        Bones C2 … Co2. The centre of the sacral endplate lies at the origin.

    Raises:
        GeometryError: Levels that the subject's numbering does not have or a level without its
            disc, an impossible body or scale.
    """
    names = tuple(bodies)
    if names != level_names(subject.numbering):
        raise GeometryError("the bodies are not the levels of the numbering, from C2 down")
    if set(discs) != set(names):
        raise GeometryError("a level has no disc, or a disc no level")
    _check_scale(subject.scale)
    for shape, intact in bodies.values():
        check_shape(shape)
        check_shape(intact)
    lost = sum(
        np.degrees(_wedge_angle(intact) - _wedge_angle(shape)) for shape, intact in bodies.values()
    )
    posture = sample_posture(float(lost), subject.age_years, rng)
    bones = _place_upwards(subject, bodies, discs, posture, rng)
    bones += _place_downwards(subject, posture, rng)
    half_depth = held(rng.normal(8.3, 0.9), 6.0, 11.5) * subject.scale
    half_width = held(rng.normal(12.6, 1.2), 9.5, 16.0) * subject.scale
    conus = [name for name in names if name in ("T12", "L1", "L2")]
    chances = np.array([{"T12": 0.3, "L1": 0.5, "L2": 0.2}[name] for name in conus])
    return Spine(
        subject=subject,
        bones=tuple(bones),
        canal_half_depth=half_depth,
        canal_half_width=half_width,
        conus_level=str(rng.choice(conus, p=chances / chances.sum())),
        levels=names,
        atlas=_atlas(bones[0], half_depth, subject.scale),
        cobb_deg=2 * posture.scoliosis,
        slips=tuple((level, *by) for level, by in posture.slips.items() if level in names),
    )


def _wedge_angle(shape: BodyShape) -> float:
    """Angle between the endplates, radians; open to the front is positive."""
    rise = shape.height_anterior - shape.height_posterior
    return float(np.arctan2(rise, 2 * shape.half_depth))


def _atlas(axis: Bone, canal_half_depth: float, scale: float) -> Vector:
    """Centres of the canal at C1 and at the foramen magnum, above C2."""
    back = axis.shape.half_depth + canal_half_depth
    top = 0.5 * axis.shape.height_rim
    first = axis.centre + axis.axes[1] * back + axis.axes[2] * (top + 11.0 * scale)
    return np.stack([first, first + axis.axes[2] * 17.0 * scale - axis.axes[1] * 1.0])


DISC_TILT: Final = 1.5
"""A disc's wedge closes its narrow side by at most half of this part of its height."""


def _place_upwards(
    subject: Subject,
    bodies: dict[str, tuple[BodyShape, BodyShape]],
    discs: dict[str, DiscState],
    posture: Posture,
    rng: np.random.Generator,
) -> list[Bone]:
    pitch, roll = -np.radians(posture.slope), posture.roll(0.0)
    point = np.zeros(3)
    placed: list[Bone] = []
    climbed, neck = 0.0, 1.0
    for level in reversed(tuple(bodies)):
        shape, intact = bodies[level]
        norm = norm_of(level)
        # The intact body's wedge belongs to posture; a fracture's wedge adds kyphosis on top.
        wedge = _wedge_angle(shape)
        if level == "C7":
            neck = posture.neck_share(-pitch)
        share = neck if level[0] == "C" else posture.share(level)
        wanted = np.radians(norm.angle * share + rng.normal(0, 2.2))
        gap = _gap(level, subject, discs[level], shape)
        bend = _bend(
            float(wanted) - _wedge_angle(intact), posture.roll(climbed + gap) - roll, gap, shape
        )
        middle = rotation(pitch + bend[0] / 2, roll + bend[1] / 2, posture.yaw(climbed))
        forward, leftward = posture.slips.get(level, (0.0, 0.0))
        point = point + gap * middle[2] - forward * middle[1] + leftward * middle[0]
        pitch, roll = pitch + bend[0], roll + bend[1]
        yaw = posture.yaw(climbed + 0.5 * gap + 0.5 * shape.height_rim) + rng.normal(0, 0.02)
        axes = rotation(pitch + wedge / 2, roll, yaw)
        centre = point + 0.5 * shape.height_rim * axes[2]
        centre = centre + 0.5 * shape.shear * axes[1]
        placed.append(Bone(level, centre, axes, shape, intact, discs[level]))
        point = centre + 0.5 * shape.height_rim * axes[2] + 0.5 * shape.shear * axes[1]
        point = point + rng.normal(0.0, 0.5) * axes[1] + rng.normal(0.0, 1.1) * axes[0]
        pitch += wedge
        climbed += gap + shape.height_rim
    return placed[::-1]


def _gap(level: str, subject: Subject, disc: DiscState, shape: BodyShape) -> float:
    """Height of the disc under a level between the rims, mm."""
    gap = norm_of(level).disc * subject.scale * disc.height_factor
    if subject.numbering == "sacralised" and level == "L5":
        gap = min(0.45 * gap, 4.0)  # a rudimentary disc
    return max(gap, 1.2 + abs(shape.lateral_wedge))


def _bend(pitch: float, roll: float, gap: float, shape: BodyShape) -> tuple[float, float]:
    """The bend between two bodies that their disc allows, radians: the rims must not meet."""
    most_pitch = DISC_TILT * gap / (2 * shape.half_depth)
    most_roll = DISC_TILT * gap / (2 * shape.half_width)
    pitch = held(pitch, -most_pitch, most_pitch)
    left = np.sqrt(max(0.0, 1.0 - (pitch / most_pitch) ** 2))
    most_roll *= max(0.25, float(left))
    return pitch, held(roll, -most_roll, most_roll)


def _place_downwards(subject: Subject, posture: Posture, rng: np.random.Generator) -> list[Bone]:
    pitch = -np.radians(posture.slope)
    point = np.zeros(3)
    placed: list[Bone] = []
    residual = rng.uniform(2.3, 3.2) if subject.numbering == "lumbarised" else rng.uniform(0.3, 1.3)
    axes = rotation(pitch, posture.roll(0.0), 0.0)
    for level, norm in SACRAL.items():
        gap = norm.gap * (residual if level == "S2" else 1.0)
        shape = _sample_piece(level, subject, rng)
        turn = np.radians(norm.turn * rng.normal(1.0, 0.3))
        if level == "S2" and subject.numbering == "lumbarised":
            turn *= 0.4
        before, pitch = axes[2], pitch + turn
        axes = rotation(pitch, posture.roll(0.0), 0.0)
        # Where the sacrum bends, the fused rims stand apart by at least the bend.
        apart = max(gap * subject.scale, abs(turn) * shape.half_depth_top + 0.4)
        point = point - (apart if level != "S1" else 0.0) * (before + axes[2]) / 2
        centre = point - 0.5 * shape.height_rim * axes[2]
        formed = level == "S1" and subject.numbering == "lumbarised"
        disc = DiscState(float(rng.uniform(0.45, 0.95)), 0.2, residual / 3.0) if formed else None
        placed.append(Bone(level, centre, axes, shape, shape, disc))
        point = centre - 0.5 * shape.height_rim * axes[2]
        if level == "S1":
            pitch -= 0.3 * _wedge_angle(shape)
    return placed
