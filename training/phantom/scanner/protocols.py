"""Protocols: what a scanner is told to do, sampled from the settings that vendors and sites use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np

from models.volume import Role
from training.phantom.scanner.mix import TRAIN, AcquisitionMix
from training.phantom.scanner.physics import DixonPart, Sequence
from training.phantom.scanner.sequences import outside_the_tables, sample_sequence
from training.phantom.scanner.vendors import SETTINGS

Value = TypeVar("Value")

FAT_SHIFT_PPM: Final = 3.45
PROTON_MHZ_PER_T: Final = 42.577

TRAINING_ROLES: Final[Mapping[Role, float]] = {
    Role.STIR: 0.27,
    Role.T1: 0.24,
    Role.T2: 0.20,
    Role.DIXON_WATER: 0.16,
    Role.T2_FS: 0.08,
    Role.DIXON_FAT: 0.05,
}
"""How often each role is drawn for training when none is asked for."""

GRADIENT_ECHO_COARSER: Final = 1.5
"""Measured gradient-echo water images hold no detail finer than about 2 mm."""

LOWEST_SNR: Final = 5.0
"""Noisier series are repeated, not read."""

COIL_PER_CM: Final[Mapping[Role, tuple[float, float]]] = {
    Role.STIR: (0.140, 0.035),
    Role.T1: (0.060, 0.030),
    Role.T2: (0.075, 0.035),
    Role.T2_FS: (0.085, 0.040),
    Role.DIXON_WATER: (0.045, 0.035),
    Role.DIXON_FAT: (0.045, 0.035),
}
"""Log signal per cm towards the coil at the spine, mean and standard deviation, as measured inside
bodies: 0.145 in TIRM, 0.05 to 0.09 in T1, 0.06 in T2 and 0.04 in gradient-echo water images."""

MARROW_SNR: Final[Mapping[Role, float]] = {
    Role.STIR: 16.0,
    Role.T2_FS: 14.0,
    Role.DIXON_WATER: 28.0,
}
"""Median of marrow signal over noise at 1.5 T; 30 of the other roles."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One series as it is set up at the console.

    Attributes:
        role: What the images will be.
        vendor: One of `VENDORS`.
        sequence: What forms the contrast.
        fov_mm: (rows, columns) extent, head-foot and antero-posterior.
        acquired_mm: (rows, columns) true resolution in k-space.
        pixel_mm: Pitch of the reconstructed image, the same along rows and columns.
        thickness_mm, gap_mm: Slice thickness and the gap between slices.
        slices: How many.
        phase_axis: Array axis of phase encoding: 1 rows (head-foot), 2 columns (antero-posterior).
        shift_px: By how many reconstructed pixels fat is shifted along the other axis.
        snr: Marrow signal over noise at the spine, before any scanner filter.
        acceleration: Parallel imaging; noise grows and its level varies over the image.
        coil_per_cm: Log signal per cm towards the coil in the table.
        saturation_band: Whether an anterior saturation band is laid over bowel and vessels.
        filter_strength: Scanner filter: below 0 smooths, above 0 sharpens.
    """

    role: Role
    vendor: str
    sequence: Sequence
    fov_mm: tuple[float, float]
    acquired_mm: tuple[float, float]
    pixel_mm: float
    thickness_mm: float
    gap_mm: float
    slices: int
    phase_axis: int = 1
    shift_px: float = 0.0
    snr: float = 25.0
    acceleration: float = 1.0
    coil_per_cm: float = 0.06
    saturation_band: bool = False
    filter_strength: float = 0.0

    @property
    def pitch_mm(self) -> float:
        """Distance between slice centres."""
        return self.thickness_mm + self.gap_mm


@dataclass(frozen=True, slots=True)
class Site:
    """What the series of one study share: the scanner."""

    vendor: str
    field_t: float


def sample_site(rng: np.random.Generator, mix: AcquisitionMix = TRAIN) -> Site:
    """A scanner: vendor and field strength in tesla."""
    vendor = _weighted(rng, mix.vendors)
    return Site(vendor, _weighted(rng, mix.fields_t))


def sample_protocol(
    role: Role,
    rng: np.random.Generator,
    site: Site | None = None,
    *,
    gradient_echo: bool | None = None,
    mix: AcquisitionMix = TRAIN,
) -> Protocol:
    """A protocol for a role.

    Args:
        role: What the images will be.
        rng: Source of randomness.
        site: The scanner; drawn when None.
        gradient_echo: Whether a Dixon acquisition is a gradient echo and not a T2 turbo spin
            echo; drawn when None.
        mix: What protocols are drawn from.

    Raises:
        ValueError: No protocol is known for the role.
    """
    site = site or sample_site(rng, mix)
    if gradient_echo is None:
        gradient_echo = bool(rng.random() < mix.gradient_echo_dixon_share)
    sequence = sample_sequence(role, (site.vendor, site.field_t), rng, gradient_echo=gradient_echo)
    sequence = outside_the_tables(sequence, mix.timing_spread, rng)
    settings = SETTINGS[site.vendor]
    rows_mm = float(rng.uniform(260, 340))
    acquired = float(rng.uniform(0.8, 1.3)) * mix.pixel_factor
    longest = 1.45
    if gradient_echo and role in (Role.DIXON_WATER, Role.DIXON_FAT):
        acquired *= GRADIENT_ECHO_COARSER
        longest = 1.2
    thickness = float(np.round(rng.uniform(*settings.thickness) * mix.thickness_factor, 1))
    gap_share = rng.uniform(*settings.gap_share) * mix.gap_factor
    shift_hz = FAT_SHIFT_PPM * PROTON_MHZ_PER_T * site.field_t
    pixel = acquired * float(rng.choice((0.5, 0.7, 0.85, 1.0)))
    fov_columns = rows_mm * float(rng.uniform(0.8, 1.0))
    phase_mm = acquired * float(rng.uniform(1.0, longest))
    slices = int(rng.integers(settings.slices[0], settings.slices[1] + 1))
    phase_axis = 1 if rng.random() < 0.7 else 2
    return Protocol(
        role=role,
        vendor=site.vendor,
        sequence=sequence,
        fov_mm=(rows_mm, fov_columns),
        acquired_mm=(phase_mm, acquired) if phase_axis == 1 else (acquired, phase_mm),
        pixel_mm=pixel,
        thickness_mm=thickness,
        gap_mm=float(np.round(thickness * gap_share, 2)),
        slices=slices,
        phase_axis=phase_axis,
        shift_px=_shift(shift_hz / rng.uniform(*settings.bandwidth_hz), acquired / pixel, rng),
        snr=_sample_snr(role, site.field_t, rng) * mix.snr_factor,
        acceleration=float(rng.choice((1.0, 1.5, 2.0))),
        coil_per_cm=_sample_coil(role, rng) * mix.coil_factor,
        saturation_band=bool(rng.random() < 0.6),
        filter_strength=float(rng.normal(0.0, 0.25)),
    )


def dixon_part(protocol: Protocol, part: DixonPart) -> Protocol:
    """Another image of the same Dixon acquisition."""
    role = {
        DixonPart.WATER: Role.DIXON_WATER,
        DixonPart.FAT: Role.DIXON_FAT,
        DixonPart.IN_PHASE: Role.T2,
        DixonPart.OUT_OF_PHASE: Role.OTHER,
    }[part]
    return replace(protocol, role=role, sequence=replace(protocol.sequence, dixon_part=part))


def sample_role(rng: np.random.Generator) -> Role:
    """A role by its training share."""
    roles = tuple(TRAINING_ROLES)
    return roles[rng.choice(len(roles), p=tuple(TRAINING_ROLES.values()))]


def _weighted(rng: np.random.Generator, weights: tuple[tuple[Value, float], ...]) -> Value:
    share = np.array([weight for _, weight in weights])
    return weights[rng.choice(len(weights), p=share / share.sum())][0]


def _shift(acquired_px: float, stored_per_acquired: float, rng: np.random.Generator) -> float:
    """Chemical shift of fat in stored pixels, to either side."""
    return float(acquired_px * stored_per_acquired * rng.choice((-1, 1)))


def _sample_snr(role: Role, field_t: float, rng: np.random.Generator) -> float:
    base = MARROW_SNR.get(role, 30.0)
    # Low fields make up for part of what they lack with more averages.
    drawn = base * (field_t / 1.5) ** 0.45 * rng.lognormal(0.0, 0.35)
    return float(max(drawn, LOWEST_SNR))


def _sample_coil(role: Role, rng: np.random.Generator) -> float:
    # About one scan in eight is stored after the scanner's own intensity correction.
    if rng.random() < 0.12:
        return float(rng.uniform(0.0, 0.02))
    mean, spread = COIL_PER_CM.get(role, (0.06, 0.035))
    return float(max(rng.normal(mean, spread), 0.0))
