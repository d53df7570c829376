"""What differs from scan to scan at equal protocol: coil and field shading, noise, flow, motion.

`Conditions` are drawn once per acquisition and can be shared by images of the same acquisition
(the four parts of a Dixon series). They hold numbers only; `fields` makes maps of them and
`artefacts` applies the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.volume import Role
from training.phantom.painting.tissues import Tissue
from training.phantom.scanner.mix import TRAIN, AcquisitionMix
from training.phantom.scanner.physics import Readout, Sequence, Suppression
from training.phantom.scanner.protocols import Protocol
from training.phantom.scanner.static_field import MODES, StaticField, draw_static_field
from training.phantom.scanner.vendors import Range

ELEMENT_PITCH_CM: Final = (6.0, 12.0)
"""Distance of neighbouring elements of a spine coil along the table."""

COIL_RIDGE: Final[Mapping[Role, tuple[float, float]]] = {
    Role.STIR: (0.8, 1.7),
    Role.T1: (1.0, 1.9),
    Role.T2: (0.1, 0.9),
    Role.T2_FS: (0.3, 1.5),
    Role.DIXON_WATER: (0.2, 1.0),
    Role.DIXON_FAT: (0.2, 1.0),
}
"""How much of the humps is seen, such that healthy bodies differ from one another as measured: by
0.13 in T1 and STIR, 0.06 in T2 and 0.06 to 0.11 in water images (coefficients of variation)."""

CSF_GAIN: Final[Mapping[str, Range]] = {
    "early": (1.1, 1.5),
    "late": (0.55, 0.82),
    "inverted": (0.3, 0.5),
    "gradient": (0.85, 1.0),
}
"""Of CSF by kind of sequence, such that canals are as bright over marrow as measured: about 2.9 on
T2, 2.5 on STIR and 2.4 on gradient-echo water images, and CSF alone about 0.5 on T1."""

EARLY_MS: Final = 30.0
LONGEST_STIR_MS: Final = 300.0

COIL_SPAN_CM: Final = 90.0
"""Length along which elements are laid out before the ends are switched off."""


class Element(NamedTuple):
    """One loop of a surface coil: its place along the rows from the image's middle, and gain."""

    row_cm: float
    gain: float


class SaturationBand(NamedTuple):
    """A saturation band before the spine, in parts of the columns.

    Attributes:
        top, bottom: Its middle at the top and the bottom row.
        width: How wide.
        depth: Part of the signal that it takes.
    """

    top: float
    bottom: float
    width: float
    depth: float


@dataclass(frozen=True, slots=True)
class Conditions:
    """Nuisance of one acquisition.

    Attributes:
        tissue_gain: (tissues,) relaxation and density differ between people by these factors.
        shift_mm: (left, down, back) by which the patient lies off the position in the header.
        turn_deg: By how much the patient is turned in the sagittal plane.
        coil_per_cm: Log signal per cm towards the coil, at the spine.
        coil_ridge: How much of the elements' humps along the spine is seen, 1 all.
        elements, element_radius_cm: Of the coil.
        corrected: The scanner divided the coil profile out: even signal, uneven noise.
        field_modes: (MODES, MODES, MODES) amplitudes of a smooth log-gain field (transmit B1).
        noise_modes: (MODES, MODES) of the noise level; noise_bands: height of its g-factor bands.
        static_field: What spectral fat suppression and Dixon reconstructions have to stand; None
            where it is even.
        inversion_loss: Mean part by which the inversion pulse falls short; it varies as
            `inversion_modes` (MODES, MODES).
        swapped: Part of the tissue, farthest from an even field first, where a Dixon image takes
            fat for water.
        saturation: Anterior saturation band.
        texture: Relative strength of correlated grain; real tissue is not even.
        csf_ghost, breathing_ghost, vessel_ghost: Ghost strength.
        csf_void: How much flow darkens CSF.
        blur_mm: Standard deviation of breathing and restlessness along the phase direction.
        wrap: Strength of what folds in from beyond the field of view along phase.
        metal: Field distortion around metal in mm of displacement along the readout.
        slice_gain: Relative standard deviation of the slices' gains; cross_talk: difference of
            odd and even slices.
        window: k-space filter of the reconstruction.
        scale: Stored value of marrow.
    """

    tissue_gain: NDArray[np.float64]
    shift_mm: tuple[float, float, float]
    coil_per_cm: float
    coil_ridge: float
    elements: tuple[Element, ...]
    element_radius_cm: float
    corrected: bool
    field_modes: NDArray[np.float64]
    noise_modes: NDArray[np.float64]
    noise_bands: float
    static_field: StaticField | None
    saturation: SaturationBand | None
    texture: float
    csf_ghost: float
    breathing_ghost: float
    csf_void: float
    slice_gain: float
    window: float
    scale: float
    turn_deg: float = 0.0
    inversion_loss: float = 0.0
    inversion_modes: NDArray[np.float64] | None = None
    swapped: float = 0.0
    vessel_ghost: float = 0.0
    blur_mm: float = 0.0
    wrap: float = 0.0
    metal: float = 0.0
    cross_talk: float = 0.0


def draw_conditions(
    protocol: Protocol,
    rng: np.random.Generator,
    *,
    motion_mm: float = 0.0,
    mix: AcquisitionMix = TRAIN,
) -> Conditions:
    """Draw the nuisance of one acquisition.

    Args:
        protocol: What is acquired.
        rng: Source of randomness.
        motion_mm: Standard deviation of the patient's shift since the position was planned; the
            patient turns by as many degrees.
        mix: How often and how strongly things go wrong.
    """
    sequence = protocol.sequence
    faults = mix.artefact_factor
    shift = rng.normal(0.0, max(motion_mm, 1e-9), 3)
    spin_echo = sequence.readout is Readout.TURBO_SPIN_ECHO
    fluid_bright = spin_echo and sequence.echo_ms > EARLY_MS
    inverted = sequence.inversion_ms is not None and sequence.inversion_ms < LONGEST_STIR_MS
    return Conditions(
        tissue_gain=_draw_tissue_gain(_csf_gain(sequence), rng),
        shift_mm=(float(shift[0]), float(shift[1]), float(shift[2])),
        turn_deg=float(rng.normal(0.0, motion_mm)) if motion_mm > 0 else 0.0,
        coil_per_cm=protocol.coil_per_cm,
        coil_ridge=_draw_ridge(protocol, rng) * mix.coil_factor,
        elements=_draw_elements(rng),
        element_radius_cm=float(rng.uniform(5.0, 8.0)),
        corrected=protocol.coil_per_cm < 0.02 or bool(rng.random() < 0.1),
        field_modes=_modes(rng, 0.015 + 0.022 * sequence.field_t, 3),
        noise_modes=_modes(rng, 0.15 * (protocol.acceleration - 1.0), 2),
        noise_bands=float(rng.uniform(0.0, 0.7)) * (protocol.acceleration - 1.0),
        static_field=draw_static_field(sequence.suppression, sequence.field_t, faults, rng),
        inversion_loss=float(rng.uniform(0.0, 0.04)) * faults if inverted else 0.0,
        inversion_modes=_modes(rng, 0.02 * faults, 2) if inverted else None,
        swapped=_draw_swapped(sequence, rng, faults),
        saturation=_draw_band(rng) if protocol.saturation_band else None,
        texture=float(rng.uniform(0.01, 0.05)),
        csf_ghost=_sometimes(rng, 0.5, 0.06, faults) if fluid_bright else 0.0,
        breathing_ghost=_sometimes(rng, 0.4, 0.10, faults),
        vessel_ghost=_sometimes(rng, 0.35, 0.25, faults),
        csf_void=_sometimes(rng, 0.9, 0.4, faults) if fluid_bright else 0.0,
        blur_mm=_sometimes(rng, 0.25, 1.1, faults),
        wrap=_sometimes(rng, 0.06, 0.5, faults),
        metal=float(rng.uniform(6.0, 14.0)) * _distortion(sequence),
        slice_gain=float(rng.uniform(0.0, 0.03)) * faults,
        cross_talk=_sometimes(rng, 0.3, 0.06, faults),
        window=float(rng.uniform(0.05, 0.46 if spin_echo else 0.2)),
        scale=float(rng.uniform(120.0, 420.0)),
    )


def _draw_tissue_gain(csf: Range, rng: np.random.Generator) -> NDArray[np.float64]:
    gain = rng.lognormal(0.0, 0.07, len(Tissue))
    gain[Tissue.CSF] *= rng.uniform(*csf)
    return np.asarray(gain)


def _csf_gain(sequence: Sequence) -> Range:
    """What flow does to the signal of CSF.

    Pulsation takes part of it away on late and on gradient echoes; after a short inversion time
    fresh CSF cancels part of what was there; fresh CSF is brighter on T1.
    """
    if sequence.readout is Readout.GRADIENT_ECHO:
        return CSF_GAIN["gradient"]
    if sequence.inversion_ms is not None and sequence.inversion_ms < LONGEST_STIR_MS:
        return CSF_GAIN["inverted"]
    return CSF_GAIN["early" if sequence.echo_ms <= EARLY_MS else "late"]


def _draw_ridge(protocol: Protocol, rng: np.random.Generator) -> float:
    return float(rng.uniform(*COIL_RIDGE.get(protocol.role, (0.2, 1.2))))


def _draw_elements(rng: np.random.Generator) -> tuple[Element, ...]:
    """Loops along the table; those beyond the spine's planned part are off."""
    pitch = float(rng.uniform(*ELEMENT_PITCH_CM))
    first = -COIL_SPAN_CM / 2 + float(rng.uniform(0.0, pitch))
    places = np.arange(first, COIL_SPAN_CM / 2, pitch)
    gains = rng.lognormal(0.0, 0.32, len(places))
    top, bottom = -float(rng.uniform(12.0, 28.0)), float(rng.uniform(12.0, 28.0))
    switched_on = [
        Element(float(place), float(gain))
        for place, gain in zip(places, gains, strict=True)
        if top - pitch / 2 <= place <= bottom + pitch / 2
    ]
    return tuple(switched_on)


def _modes(rng: np.random.Generator, strength: float, axes: int) -> NDArray[np.float64]:
    order = np.indices((MODES,) * axes).sum(axis=0)
    modes = rng.normal(0.0, max(strength, 1e-9), order.shape) / (1.0 + order)
    modes[(0,) * axes] = 0.0
    return np.asarray(modes)


def _draw_swapped(sequence: Sequence, rng: np.random.Generator, faults: float) -> float:
    if sequence.suppression is not Suppression.DIXON:
        return 0.0
    draw = rng.random() / max(faults, 1e-9)
    if draw < 0.01:
        return 1.0
    return float(rng.uniform(0.01, 0.12)) if draw < 0.06 else 0.0


def _draw_band(rng: np.random.Generator) -> SaturationBand:
    top = float(rng.uniform(-0.1, 0.25))
    bottom = top + float(rng.uniform(-0.1, 0.35))
    return SaturationBand(
        top, bottom, float(rng.uniform(0.15, 0.35)), float(rng.uniform(0.5, 0.95))
    )


def _distortion(sequence: Sequence) -> float:
    """Of metal, against a turbo spin echo at 1.5 T: grows with the field and without refocusing."""
    kind = 2.2 if sequence.readout is Readout.GRADIENT_ECHO else 1.0
    return kind * (sequence.field_t / 1.5) ** 0.7


def _sometimes(rng: np.random.Generator, share: float, most: float, faults: float) -> float:
    """Zero in most draws of a rare effect, else its strength."""
    strength = float(rng.uniform(0.0, most)) * faults
    return min(strength, 0.95) if rng.random() < share * faults else 0.0
