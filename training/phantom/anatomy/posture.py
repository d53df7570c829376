"""How a spine is curved in the scanner: supine lordosis and kyphosis, scoliosis, slips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.phantom.anatomy.norms import NORMS
from training.phantom.numbers import held

Vector = NDArray[np.float64]

ROTATION_OF_COBB: Final = 0.45
"""Turn of the apical vertebra about its axis as a part of the Cobb angle."""

NECK: Final = tuple(f"C{i}" for i in range(2, 8))
LUMBAR: Final = tuple(f"L{i}" for i in range(1, 6))


def rotation(pitch: float, roll: float, yaw: float) -> Vector:
    """Body axes as rows (left, back, head).

    Args:
        pitch: Backward lean of the head axis in the sagittal plane, radians.
        roll: Sideways lean to the left (scoliosis), radians.
        yaw: Turn about the body's own axis, radians; positive, the front turns to the left.
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
class Posture:
    """Sampled curvature.

    Attributes:
        slope: Sacral slope, degrees.
        lordosis, kyphosis: How much of the mean curves.
        gaze: Forward lean that the neck leaves at C2, degrees: it bends the head up again.
        scoliosis: Largest sideways lean, degrees: half the Cobb angle.
        scoliosis_phase: Of the sideways wave, radians.
        scoliosis_length: Of the wave, mm.
        window: (centre, half-width) of a curve confined to a part of the spine, mm above the
            sacrum; a half-width of 0 bends the whole spine.
        slips: Level to how far it slips (forward, to the left) on the level below, mm.
    """

    slope: float
    lordosis: float
    kyphosis: float
    gaze: float
    scoliosis: float
    scoliosis_phase: float
    scoliosis_length: float
    window: tuple[float, float]
    slips: dict[str, tuple[float, float]]

    def share(self, level: str) -> float:
        """How much of its mean angle a thoracic or lumbar level has."""
        return self.lordosis if NORMS[level].angle > 0 else self.kyphosis

    def neck_share(self, lean: float) -> float:
        """How much of their mean angles the cervical levels have above a thorax's lean, radians."""
        wanted = np.degrees(lean) - self.gaze
        return held(wanted / sum(NORMS[level].angle for level in NECK), -0.8, 3.0)

    def roll(self, height_mm: float) -> float:
        """Sideways lean at a height above the sacrum, radians."""
        return self._lean(height_mm) * float(np.sin(self._angle(height_mm)))

    def yaw(self, height_mm: float) -> float:
        """Turn about the long axis: bodies turn towards the convexity, spinous processes away."""
        turn = -2 * ROTATION_OF_COBB * self._lean(height_mm) * np.cos(self._angle(height_mm))
        return float(turn)

    def _angle(self, height_mm: float) -> float:
        return float(2 * np.pi * height_mm / self.scoliosis_length + self.scoliosis_phase)

    def _lean(self, height_mm: float) -> float:
        centre, half = self.window
        fade = np.exp(-(((height_mm - centre) / half) ** 2)) if half > 0 else 1.0
        return float(np.radians(self.scoliosis) * fade)


def sample_posture(kyphosis_added: float, age_years: float, rng: np.random.Generator) -> Posture:
    """Supine posture: slope 38 ± 8.5 degrees; one spine in eight has a visible scoliosis.

    Args:
        kyphosis_added: Degrees by which fractures tip the spine forward; people make up for more
            than half of it with their lordosis.
        age_years: Degenerative scoliosis and slips come with age.
        rng: Source.
    """
    slope = held(rng.normal(38, 8.5), 14, 64)
    # Lordosis follows the sacral slope so that L1 ends up nearly level (Legaye's relation).
    level_out = slope + 0.65 * kyphosis_added + rng.normal(8, 6.5)
    lordosis = level_out / sum(NORMS[level].angle for level in LUMBAR)
    kyphosis, gaze = rng.normal(1.0, 0.35), rng.normal(11.0, 7.0)
    kind = rng.random()
    phase = float(rng.uniform(0, 2 * np.pi))
    length, window = float(rng.uniform(260, 520)), (0.0, 0.0)
    degenerative = kind < (0.08 if age_years > 55 else 0.01)
    if degenerative:  # a short lumbar curve with its apex about L3 and a sideways slip
        length, window = float(rng.uniform(190, 260)), (110.0, 105.0)
        phase = float(
            np.pi * (rng.integers(2) + 0.0) - 2 * np.pi * 105 / length + rng.normal(0, 0.3)
        )
    marked = rng.uniform(6, 15 if degenerative else 20)
    return Posture(
        slope=slope,
        lordosis=held(lordosis, 0.1, 1.8),
        kyphosis=held(kyphosis, 0.1, 2.2),
        gaze=float(gaze),
        scoliosis=float(marked if degenerative or kind > 0.92 else abs(rng.normal(0, 2.2))),
        scoliosis_phase=phase,
        scoliosis_length=length,
        window=window,
        slips=_sample_slips(age_years, degenerative=degenerative, rng=rng),
    )


def _sample_slips(
    age_years: float, *, degenerative: bool, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    slips: dict[str, tuple[float, float]] = {}
    if rng.random() < (0.09 if age_years > 55 else 0.04):
        # Degenerative slips are commonest at L4, lytic ones at L5; few go backwards.
        level = str(rng.choice(["L3", "L4", "L5"], p=[0.15, 0.5, 0.35]))
        forward = -rng.uniform(2, 5) if rng.random() < 0.2 else rng.uniform(2.5, 10)
        slips[level] = (float(forward), 0.0)
    if degenerative:
        level = str(rng.choice(["L2", "L3"]))
        forward = slips.get(level, (0.0, 0.0))[0]
        slips[level] = (forward, float(rng.normal(0, 3.5)))
    return slips
