"""What differs from scan to scan at equal protocol: coil and field shading, noise, flow, motion.

`Conditions` are drawn once per acquisition and can be shared by images of the same acquisition
(the four parts of a Dixon series). Maps are made at the acquired resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.phantom.physics import Suppression
from training.phantom.protocols import Protocol
from training.phantom.tissues import Tissue

Map = NDArray[np.float32]

SPINE_DEPTH_CM: Final = 7.0
"""Depth below the skin of the back at which coil shading is set to 1: the vertebral bodies."""

BAND_CLEARANCE: Final = 0.02
"""Part of the field of view between a saturation band and the spine."""

MODES: Final = 3
"""Cosine modes per axis of a smooth random field."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Nuisance of one acquisition.

    Attributes:
        tissue_gain: (tissues,) relaxation and density differ between people by these factors.
        shift_mm: (left, down, back) by which the patient lies off the position in the header.
        coil_per_cm, coil_floor: Log signal per cm towards the coil; what the body coil still sees.
        coil_centre, coil_reach: Of the coil along the rows, as parts of the field of view.
        corrected: The scanner divided the coil profile out: even signal, uneven noise.
        field_modes: (MODES, MODES) amplitudes of a smooth log-gain field.
        noise_modes: The same, of the noise level under parallel imaging.
        failure: (row, column, radius) parts of the field of view where fat suppression fails.
        saturation: (column at the top, column at the bottom, width, depth) of an anterior band.
        texture: Relative strength of correlated grain; real marrow is not even.
        csf_ghost, breathing_ghost: Ghost strength; csf_void: how much flow darkens CSF.
        slice_gain: Relative standard deviation of the slices' gains.
        window: k-space filter of the reconstruction.
        scale: Stored value of marrow.
    """

    tissue_gain: NDArray[np.float64]
    shift_mm: tuple[float, float, float]
    coil_per_cm: float
    coil_floor: float
    coil_centre: float
    coil_reach: float
    corrected: bool
    field_modes: NDArray[np.float64]
    noise_modes: NDArray[np.float64]
    failure: tuple[float, float, float] | None
    saturation: tuple[float, float, float, float] | None
    texture: float
    csf_ghost: float
    breathing_ghost: float
    csf_void: float
    slice_gain: float
    window: float
    scale: float


def draw_conditions(
    protocol: Protocol, rng: np.random.Generator, *, motion_mm: float = 0.0
) -> Conditions:
    """Draw the nuisance of one acquisition.

    Args:
        protocol: What is acquired.
        rng: Source of randomness.
        motion_mm: Standard deviation of the patient's shift since the position was planned.
    """
    field = 0.04 + 0.03 * protocol.sequence.field_t
    spectral = protocol.sequence.suppression in (Suppression.CHESS, Suppression.SPAIR)
    failing = spectral and rng.random() < 0.4
    shift = rng.normal(0.0, max(motion_mm, 1e-9), 3)
    return Conditions(
        tissue_gain=rng.lognormal(0.0, 0.09, len(Tissue)),
        shift_mm=(float(shift[0]), float(shift[1]), float(shift[2])),
        coil_per_cm=protocol.coil_per_cm,
        coil_floor=float(rng.uniform(0.02, 0.10)),
        coil_centre=float(rng.uniform(0.35, 0.65)),
        coil_reach=float(rng.uniform(0.5, 1.2)),
        corrected=protocol.coil_per_cm < 0.02 or bool(rng.random() < 0.1),
        field_modes=_modes(rng, field),
        noise_modes=_modes(rng, 0.15 * (protocol.acceleration - 1.0)),
        failure=_place_failure(rng) if failing else None,
        saturation=_place_band(rng) if protocol.saturation_band else None,
        texture=float(rng.uniform(0.01, 0.04)),
        csf_ghost=_sometimes(rng, 0.5, 0.06),
        breathing_ghost=_sometimes(rng, 0.4, 0.10),
        csf_void=_sometimes(rng, 0.85, 0.65),
        slice_gain=float(rng.uniform(0.0, 0.03)),
        window=float(rng.uniform(0.05, 0.46)),
        scale=float(rng.uniform(120.0, 420.0)),
    )


def coil_map(conditions: Conditions, rows: int, depth_cm: NDArray[np.float64]) -> Map:
    """Receive sensitivity (rows, columns), 1 at the depth of the spine.

    Args:
        conditions: Of the acquisition.
        rows: How many rows.
        depth_cm: (columns,) below the skin of the back; negative behind it.
    """
    slope, floor = conditions.coil_per_cm, conditions.coil_floor
    near = floor + (1.0 - floor) * np.exp(-slope * np.clip(depth_cm, -2.0, None))
    near /= floor + (1.0 - floor) * np.exp(-slope * SPINE_DEPTH_CM)
    along = (np.linspace(0.0, 1.0, rows) - conditions.coil_centre) / conditions.coil_reach
    ends = np.exp(-min(1.0, slope / 0.06) * along**2)
    return np.outer(ends, near).astype(np.float32)


def smooth_map(modes: NDArray[np.float64], rows: int, columns: int) -> Map:
    """Smooth gain around 1, (rows, columns): the exponential of a low-order cosine field."""
    down = _cosines(rows) @ modes @ _cosines(columns).T
    return np.exp(down).astype(np.float32)


def band_map(
    saturation: tuple[float, float, float, float], wall: NDArray[np.float64], columns: int
) -> Map:
    """Gain under an oblique saturation band in front of the spine, (rows, columns).

    Args:
        saturation: As in `Conditions`.
        wall: (rows,) front of the spine as a part of the columns, infinite where there is none;
            the band is moved to stay before it, as it is planned at the console.
        columns: How many columns.
    """
    top, bottom, width, depth = saturation
    centre = np.linspace(top, bottom, len(wall))[:, None]
    room = float(np.min(wall - centre[:, 0])) - width / 2 - BAND_CLEARANCE
    centre = centre + min(room, 0.0)
    distance = np.linspace(0.0, 1.0, columns)[None, :] - centre
    edge = 0.012
    inside = 1.0 / (1.0 + np.exp(np.clip((np.abs(distance) - width / 2) / edge, -50, 50)))
    return (1.0 - depth * inside).astype(np.float32)


def failure_map(failure: tuple[float, float, float], rows: int, columns: int) -> Map:
    """Where fat suppression fails, (rows, columns) in [0, 1], with soft edges."""
    row, column, radius = failure
    down = (np.linspace(0.0, 1.0, rows)[:, None] - row) ** 2
    across = (np.linspace(0.0, 1.0, columns)[None, :] - column) ** 2
    return (1.0 / (1.0 + np.exp((np.sqrt(down + across) - radius) / 0.05))).astype(np.float32)


def _cosines(count: int) -> NDArray[np.float64]:
    along = np.linspace(0.0, np.pi, count)
    return np.stack([np.cos(order * along) for order in range(MODES)], axis=1)


def _modes(rng: np.random.Generator, strength: float) -> NDArray[np.float64]:
    order = np.add.outer(np.arange(MODES), np.arange(MODES))
    modes = rng.normal(0.0, max(strength, 1e-9), (MODES, MODES)) / (1.0 + order)
    modes[0, 0] = 0.0
    return np.asarray(modes)


def _place_failure(rng: np.random.Generator) -> tuple[float, float, float]:
    # Air and the ends of the magnet: the diaphragm, the back's curve, the edges of the image.
    row = float(rng.choice((rng.normal(0.0, 0.1), rng.normal(1.0, 0.1), rng.uniform(0.0, 1.0))))
    return row, float(rng.uniform(0.0, 1.0)), float(rng.uniform(0.08, 0.3))


def _place_band(rng: np.random.Generator) -> tuple[float, float, float, float]:
    top = float(rng.uniform(-0.1, 0.25))
    bottom = top + float(rng.uniform(-0.1, 0.35))
    return top, bottom, float(rng.uniform(0.15, 0.35)), float(rng.uniform(0.5, 0.95))


def _sometimes(rng: np.random.Generator, share: float, most: float) -> float:
    """Zero in most draws of a rare effect, else its strength."""
    return float(rng.uniform(0.0, most)) if rng.random() < share else 0.0
