"""The synthetic spine's bones as parameters: one chain from the coccyx to C2 in patient space.

Everything is sampled bottom-up from the sacral endplate. A vertebra has a body frame: origin at
the body's centre, axes to the patient's left (x), back (y) and along the body to the head (z).
Sizes: posterior heights of T1-T11 after Panjabi 1991 scaled to living subjects, T12-L5, depths,
discs and segment angles after the masks measured in the product's simulator statistics; widths
after Panjabi 1991/1992. All millimetres, LPS.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LevelNorm:
    """Mean size of a level in an adult man of average stature, mm and degrees.

    Attributes:
        height: Posterior height of the body.
        wedge: Anterior over posterior height.
        depth, width: Of the body at mid height.
        disc: Mean height of the disc below, rim to rim.
        angle: Supine angle from the superior endplate of the level below to this one's superior
            endplate; lordosis is positive.
    """

    height: float
    wedge: float
    depth: float
    width: float
    disc: float
    angle: float


NORMS: dict[str, LevelNorm] = {
    "C2": LevelNorm(19.0, 1.00, 15.0, 17.0, 4.5, 2.0),
    "C3": LevelNorm(13.5, 0.98, 15.5, 18.0, 5.0, 2.0),
    "C4": LevelNorm(13.0, 0.97, 16.0, 18.5, 5.0, 2.0),
    "C5": LevelNorm(12.7, 0.96, 16.0, 19.0, 5.0, 2.0),
    "C6": LevelNorm(12.8, 0.96, 16.5, 20.0, 5.3, 2.0),
    "C7": LevelNorm(14.2, 0.97, 16.8, 22.5, 4.8, 1.0),
    "T1": LevelNorm(15.9, 0.97, 17.6, 25.0, 4.0, -1.0),
    "T2": LevelNorm(17.4, 0.96, 19.0, 25.0, 3.6, -1.5),
    "T3": LevelNorm(17.7, 0.96, 21.3, 24.5, 3.4, -2.0),
    "T4": LevelNorm(18.2, 0.96, 22.3, 24.5, 3.3, -3.0),
    "T5": LevelNorm(18.4, 0.95, 23.4, 25.2, 3.4, -4.0),
    "T6": LevelNorm(19.5, 0.94, 24.7, 26.4, 3.6, -4.5),
    "T7": LevelNorm(20.4, 0.94, 26.0, 27.6, 4.0, -4.5),
    "T8": LevelNorm(21.0, 0.94, 26.8, 29.0, 4.3, -4.0),
    "T9": LevelNorm(21.7, 0.95, 27.8, 30.8, 4.6, -3.2),
    "T10": LevelNorm(22.6, 0.96, 28.4, 32.6, 5.0, -3.0),
    "T11": LevelNorm(23.9, 0.94, 29.0, 35.8, 5.8, -3.0),
    "T12": LevelNorm(25.6, 0.96, 29.8, 39.0, 6.6, -0.8),
    "T13": LevelNorm(26.2, 0.96, 30.2, 40.2, 7.0, -0.2),
    "L1": LevelNorm(26.8, 0.97, 30.6, 41.6, 7.7, 0.4),
    "L2": LevelNorm(27.2, 1.01, 31.5, 43.2, 8.6, 4.2),
    "L3": LevelNorm(27.3, 1.04, 32.2, 45.2, 9.4, 9.3),
    "L4": LevelNorm(26.6, 1.08, 32.4, 47.4, 9.8, 13.6),
    "L5": LevelNorm(24.8, 1.19, 32.6, 49.6, 9.2, 18.0),
    "L6": LevelNorm(24.0, 1.20, 32.0, 50.0, 8.0, 15.0),
}

# Sacral and coccygeal bodies, going down: heights, depth above, depth below, width above, width
# below, gap above (remnant disc), and how the axis turns against the body above (degrees).
SACRAL = {
    "S1": (30.0, 1.10, 33.0, 22.5, 50.0, 33.0, 0.0, 0.0),
    "S2": (25.0, 1.05, 21.5, 16.5, 32.0, 26.0, 3.4, -9.0),
    "S3": (20.5, 1.00, 16.0, 13.0, 26.0, 22.0, 2.0, 6.0),
    "S4": (17.5, 0.98, 12.5, 10.5, 22.0, 19.0, 1.4, 17.0),
    "S5": (15.0, 0.96, 10.0, 8.5, 19.0, 15.0, 1.2, 18.0),
    "Co1": (12.0, 1.00, 8.0, 7.0, 13.0, 10.0, 2.4, 18.0),
    "Co2": (9.0, 1.00, 6.5, 6.0, 9.0, 8.0, 1.6, 12.0),
}


@dataclass(frozen=True, slots=True)
class BodyShape:
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
        squareness: Exponent of the outline.
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
    squareness: float = 2.6
    dish_centre_superior: float = 0.1
    dish_centre_inferior: float = 0.15
    dish_width_superior: float = 0.85
    dish_width_inferior: float = 0.85

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
        disc: The disc below it; None for S1 and the pieces under it.
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
class Subject:
    """Who the spine belongs to."""

    sex: str
    age_years: float
    scale: float
    marrow_fat: float
    numbering: str


@dataclass(frozen=True, slots=True)
class Spine:
    """Bones from C2 down to the coccyx and the subject they were sampled for."""

    subject: Subject
    bones: tuple[Bone, ...]
    canal_half_depth: float
    canal_half_width: float
    conus_level: str
    levels: tuple[str, ...] = field(default=())

    def bone(self, level: str) -> Bone:
        """The bone of that name.

        Raises:
            KeyError: This spine has no such level.
        """
        for bone in self.bones:
            if bone.level == level:
                return bone
        raise KeyError(level)


def sample_subject(rng: np.random.Generator) -> Subject:
    """Sample sex, age, stature, marrow fat and numbering with their published spreads."""
    sex = "F" if rng.random() < 0.62 else "M"
    age = float(np.clip(rng.normal(62, 17), 19, 93))
    scale = float(np.clip(rng.normal(1.03 if sex == "M" else 0.955, 0.055), 0.82, 1.18))
    # Proton-density fat fraction rises with age; women cross men after menopause (Baum 2018).
    base = 0.30 + 0.0048 * (age - 25) + (0.03 if sex == "F" and age > 55 else -0.02)
    marrow_fat = float(np.clip(rng.normal(base, 0.09), 0.12, 0.78))
    numbering = str(
        rng.choice(
            ["usual", "T11", "T13", "L4", "L6", "lumbarised", "sacralised"],
            p=[0.86, 0.01, 0.01, 0.03, 0.04, 0.025, 0.025],
        )
    )
    return Subject(sex, age, scale, marrow_fat, numbering)


def level_names(numbering: str) -> tuple[str, ...]:
    """Presacral levels of a numbering variant, from C2 down."""
    thoracic = {"T11": 11, "T13": 13}.get(numbering, 12)
    lumbar = {"L4": 4, "sacralised": 5, "L6": 6}.get(numbering, 5)
    names = [f"C{i}" for i in range(2, 8)]
    names += [f"T{i}" for i in range(1, thoracic + 1)]
    names += [f"L{i}" for i in range(1, lumbar + 1)]
    return tuple(names)


def sample_disc(level: str, age: float, rng: np.random.Generator, degeneration: float) -> DiscState:
    """State of the disc below `level`; lower lumbar discs and older people degenerate more."""
    load = {"L5": 0.35, "L4": 0.35, "L3": 0.15}.get(level, 0.0)
    wear = (age - 30) / 60 + load + degeneration + rng.normal(0, 0.28)
    hydration = float(np.clip(1.0 - 0.75 * wear, 0.02, 1.0))
    height = float(np.clip(1.0 - 0.35 * max(0.0, wear - 0.5) + rng.normal(0, 0.09), 0.25, 1.3))
    bulge = float(np.clip(rng.normal(0.6 + 1.6 * max(0.0, wear - 0.3), 0.8), 0.0, 5.0))
    return DiscState(hydration, bulge, height, vacuum=bool(hydration < 0.2 and rng.random() < 0.12))


def sample_body(level: str, subject: Subject, rng: np.random.Generator, common: float) -> BodyShape:
    """Sample an intact presacral body: level norm, the subject's scale, own jitter."""
    norm = NORMS[level]
    scale = subject.scale * common
    height = norm.height * scale * rng.normal(1.0, 0.035)
    wedge = norm.wedge * rng.normal(1.0, 0.04)
    waist = float(np.clip(rng.normal(0.075, 0.025), 0.01, 0.16))
    half_depth = 0.5 * norm.depth * scale * rng.normal(1.0, 0.04) / (1 - waist)
    half_width = 0.5 * norm.width * scale * rng.normal(1.0, 0.04) / (1 - waist)
    thoracic = level.startswith(("T", "C"))
    dish = 1.4 if thoracic else 2.0
    return BodyShape(
        height_anterior=float(height * wedge),
        height_posterior=float(height),
        dish_superior=float(np.clip(rng.normal(dish, 0.8), 0.1, 4.5)),
        dish_inferior=float(np.clip(rng.normal(dish + 0.2, 0.8), 0.1, 4.5)),
        half_depth_top=float(half_depth * rng.normal(0.995, 0.012)),
        half_depth_bottom=float(half_depth * rng.normal(1.01, 0.012)),
        half_width_top=float(half_width * 0.975),
        half_width_bottom=float(half_width * 1.02),
        waist=waist,
        lip=float(np.clip(rng.normal((subject.age_years - 45) / 25, 1.0), 0.0, 5.0)),
        posterior_bulge=float(rng.normal(-0.8, 0.5)),
        squareness=float(np.clip(rng.normal(2.7, 0.3), 2.1, 3.6)),
        dish_centre_superior=float(rng.normal(0.08, 0.12)),
        dish_centre_inferior=float(rng.normal(0.18, 0.12)),
        dish_width_superior=float(np.clip(rng.normal(0.8, 0.12), 0.5, 1.1)),
        dish_width_inferior=float(np.clip(rng.normal(0.8, 0.12), 0.5, 1.1)),
    )


def sacral_body(level: str, subject: Subject, rng: np.random.Generator) -> BodyShape:
    """Sample S1 … S5 or a coccygeal piece: narrowing downwards, almost flat endplates."""
    height, wedge, depth_top, depth_bottom, width_top, width_bottom, _, _ = SACRAL[level]
    scale = subject.scale * rng.normal(1.0, 0.05)
    first = level == "S1"
    return BodyShape(
        height_anterior=float(height * wedge * scale),
        height_posterior=float(height * scale * rng.normal(0.93, 0.03)),
        dish_superior=float(np.clip(rng.normal(1.2 if first else 0.4, 0.4), 0.0, 3.0)),
        dish_inferior=float(np.clip(rng.normal(0.4, 0.3), 0.0, 1.5)),
        half_depth_top=float(0.5 * depth_top * scale),
        half_depth_bottom=float(0.5 * depth_bottom * scale),
        half_width_top=float(0.5 * width_top * scale),
        half_width_bottom=float(0.5 * width_bottom * scale),
        waist=0.02,
        lip=float(np.clip(rng.normal(0.5, 0.7), 0, 3)) if first else 0.0,
        posterior_bulge=0.0,
        squareness=2.5,
    )


def rotation(pitch: float, roll: float, yaw: float) -> Vector:
    """Body axes as rows (left, back, head).

    Args:
        pitch: Backward lean of the head axis in the sagittal plane, radians.
        roll: Sideways lean to the left (scoliosis), radians.
        yaw: Turn about the body's own axis, radians.
    """
    lean = np.array(
        [
            [1.0, 0.0, 0.0],
            [0.0, np.cos(pitch), -np.sin(pitch)],
            [0.0, np.sin(pitch), np.cos(pitch)],
        ]
    )
    side = np.array(
        [
            [np.cos(roll), 0.0, -np.sin(roll)],
            [0.0, 1.0, 0.0],
            [np.sin(roll), 0.0, np.cos(roll)],
        ]
    )
    turn = np.array(
        [[np.cos(yaw), np.sin(yaw), 0.0], [-np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]]
    )
    return np.asarray(turn @ lean @ side)


@dataclass(frozen=True, slots=True)
class _Posture:
    """Sampled curvature: sacral slope, how much of the mean curves, and a sideways curve."""

    slope: float
    lordosis: float
    kyphosis: float
    scoliosis: float
    scoliosis_phase: float
    scoliosis_length: float

    def roll(self, height_mm: float) -> float:
        """Sideways lean at a height above the sacrum, radians."""
        angle = 2 * np.pi * height_mm / self.scoliosis_length + self.scoliosis_phase
        return float(np.radians(self.scoliosis) * np.sin(angle))


def sample_posture(kyphosis_added: float, rng: np.random.Generator) -> _Posture:
    """Supine posture: slope 38 ± 8 degrees; one spine in eight has a visible scoliosis.

    Args:
        kyphosis_added: Degrees by which fractures tip the spine forward; people make up for more
            than half of it with their lordosis.
        rng: Source.
    """
    marked = rng.random() < 0.12
    slope = float(np.clip(rng.normal(38, 8.5), 14, 64))
    # Lordosis follows the sacral slope so that L1 ends up nearly level (Legaye's relation).
    level_out = slope + 0.65 * kyphosis_added + rng.normal(8, 6.5)
    lordosis = level_out / sum(NORMS[f"L{i}"].angle for i in range(1, 6))
    return _Posture(
        slope=slope,
        lordosis=float(np.clip(lordosis, 0.1, 1.8)),
        kyphosis=float(np.clip(rng.normal(1.0, 0.35), 0.1, 2.2)),
        scoliosis=float(rng.uniform(6, 20) if marked else abs(rng.normal(0, 2.5))),
        scoliosis_phase=float(rng.uniform(0, 2 * np.pi)),
        scoliosis_length=float(rng.uniform(260, 520)),
    )


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
    """
    lost = sum(
        np.degrees(_wedge_angle(intact) - _wedge_angle(shape)) for shape, intact in bodies.values()
    )
    posture = sample_posture(float(lost), rng)
    names = tuple(bodies)
    bones = _place_upwards(subject, bodies, discs, posture, rng)
    bones += _place_downwards(subject, posture, rng)
    return Spine(
        subject=subject,
        bones=tuple(bones),
        canal_half_depth=float(np.clip(rng.normal(8.8, 1.0), 6.0, 11.5)) * subject.scale,
        canal_half_width=float(np.clip(rng.normal(11.6, 1.2), 8.5, 15.0)) * subject.scale,
        conus_level=str(rng.choice([n for n in names if n in ("T12", "L1", "L2")])),
        levels=names,
    )


def _wedge_angle(shape: BodyShape) -> float:
    """Angle between the endplates, radians; open to the front is positive."""
    rise = shape.height_anterior - shape.height_posterior
    return float(np.arctan2(rise, 2 * shape.half_depth))


def _place_upwards(
    subject: Subject,
    bodies: dict[str, tuple[BodyShape, BodyShape]],
    discs: dict[str, DiscState],
    posture: _Posture,
    rng: np.random.Generator,
) -> list[Bone]:
    pitch = -np.radians(posture.slope)
    point = np.zeros(3)
    placed: list[Bone] = []
    climbed = 0.0
    slip = rng.normal(4.0, 2.0) if rng.random() < 0.06 else 0.0
    slip_at = str(rng.choice(["L4", "L5", "L3"]))
    for level in reversed(tuple(bodies)):
        shape, intact = bodies[level]
        norm = NORMS[level]
        share = posture.lordosis if norm.angle > 0 else posture.kyphosis
        # The intact body's wedge belongs to posture; a fracture's wedge adds kyphosis on top.
        depth = 2 * shape.half_depth
        wedge = _wedge_angle(shape)
        disc_angle = np.radians(norm.angle * share + rng.normal(0, 2.2)) - _wedge_angle(intact)
        gap = norm.disc * subject.scale * discs[level].height_factor
        disc_angle = float(np.clip(disc_angle, -1.6 * gap / depth, 1.6 * gap / depth))
        roll = posture.roll(climbed)
        middle = rotation(pitch + disc_angle / 2, roll, 0.0)
        point = point + gap * middle[2]
        if level == slip_at:
            point = point - slip * middle[1]
        pitch += disc_angle
        axes = rotation(pitch + wedge / 2, roll, rng.normal(0, 0.02) + 0.25 * roll)
        centre = point + 0.5 * shape.height_rim * axes[2]
        placed.append(Bone(level, centre, axes, shape, intact, discs[level]))
        point = centre + 0.5 * shape.height_rim * axes[2]
        point = point + rng.normal(-0.5, 0.5) * axes[1]
        pitch += wedge
        climbed += gap + shape.height_rim
    return placed[::-1]


def _place_downwards(subject: Subject, posture: _Posture, rng: np.random.Generator) -> list[Bone]:
    pitch = -np.radians(posture.slope)
    point = np.zeros(3)
    placed: list[Bone] = []
    residual = 3.0 if subject.numbering == "lumbarised" else rng.uniform(0.3, 1.3)
    for level, row in SACRAL.items():
        gap, turn = row[6], row[7]
        shape = sacral_body(level, subject, rng)
        if level == "S2":
            gap *= residual
        if level != "S1":
            pitch += np.radians(turn * rng.normal(1.0, 0.3))
        axes = rotation(pitch, posture.roll(0.0), 0.0)
        point = point - gap * subject.scale * axes[2]
        centre = point - 0.5 * shape.height_rim * axes[2]
        placed.append(Bone(level, centre, axes, shape, shape, None))
        point = centre - 0.5 * shape.height_rim * axes[2]
        if level == "S1":
            pitch -= 0.3 * _wedge_angle(shape)
    return placed
