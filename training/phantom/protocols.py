"""Protocols: what a scanner is told to do, sampled from the settings that vendors and sites use.

Physics first; a share of the training images gets a contrast that no scanner makes, so that a
network learns shapes and neighbours and not one signal level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from models.volume import Role
from training.phantom.physics import (
    FAT_LEVELS,
    FAT_T1_MS,
    TABLE_SHAPE,
    WATER_LEVELS,
    DixonPart,
    Readout,
    Sequence,
    SignalTable,
    Suppression,
    at_field,
    nulled_fat_t1,
)
from training.phantom.tissues import Tissue

VENDORS: Final = ("siemens", "ge", "philips", "canon", "uih")

Range = tuple[float, float]


class VendorSettings(NamedTuple):
    """Ranges (low, high) a vendor's sagittal spine protocols use. Times in ms, lengths in mm."""

    t1_tr: Range
    t1_te: Range
    t2_tr: Range
    t2_te: Range
    stir_tr: Range
    stir_te: Range
    stir_ti_1t5: Range
    stir_ti_3t: Range
    thickness: Range
    gap_share: Range
    slices: tuple[int, int]
    fields_t: tuple[float, ...]


SETTINGS: Final[Mapping[str, VendorSettings]] = {
    "siemens": VendorSettings(
        (500, 750), (8, 12), (3000, 4500), (85, 115), (3500, 5500), (35, 75),
        (150, 165), (200, 230), (3, 4), (0.1, 0.2), (13, 21), (1.5, 3.0),
    ),
    "ge": VendorSettings(
        (450, 700), (8, 20), (3000, 4500), (85, 120), (3500, 6000), (40, 80),
        (140, 165), (180, 200), (3, 4), (0.15, 0.25), (13, 19), (1.5, 3.0),
    ),
    "philips": VendorSettings(
        (400, 700), (7, 15), (2500, 4500), (90, 120), (2500, 5000), (50, 80),
        (150, 175), (190, 220), (3, 4), (0.1, 0.15), (13, 19), (1.5, 3.0),
    ),
    "canon": VendorSettings(
        (400, 600), (10, 15), (3000, 4500), (90, 120), (3000, 5000), (60, 90),
        (140, 165), (170, 200), (4, 5), (0.1, 0.2), (11, 17), (1.5, 1.5, 3.0),
    ),
    "uih": VendorSettings(
        (500, 700), (9, 11), (3000, 4500), (90, 105), (3500, 5000), (40, 70),
        (150, 170), (190, 220), (3, 4), (0.1, 0.2), (15, 19), (1.5, 3.0),
    ),
}  # fmt: skip
"""Per vendor, from published examples and protocol defaults."""

LONG_TR_T1_SHARE: Final = 0.5
"""Part of GE T1 protocols at 3 T that are inversion-prepared (T1 FLAIR)."""

GRADIENT_ECHO_DIXON_SHARE: Final = 0.35
"""Part of the Dixon acquisitions for training that are gradient echoes."""

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


def sample_site(rng: np.random.Generator) -> Site:
    """A scanner: vendor and field strength in tesla."""
    vendor = VENDORS[rng.choice(len(VENDORS), p=(0.42, 0.22, 0.20, 0.08, 0.08))]
    fields = SETTINGS[vendor].fields_t
    low_field = rng.random() < 0.04
    return Site(vendor, float(rng.uniform(0.3, 1.0) if low_field else rng.choice(fields)))


def sample_protocol(
    role: Role,
    rng: np.random.Generator,
    site: Site | None = None,
    *,
    gradient_echo: bool | None = None,
) -> Protocol:
    """A protocol for a role.

    Args:
        role: What the images will be.
        rng: Source of randomness.
        site: The scanner; drawn when None.
        gradient_echo: Whether a Dixon acquisition is a gradient echo and not a T2 turbo spin
            echo; drawn when None.

    Raises:
        ValueError: No protocol is known for the role.
    """
    site = site or sample_site(rng)
    if gradient_echo is None:
        gradient_echo = bool(rng.random() < GRADIENT_ECHO_DIXON_SHARE)
    sequence = _sequence_for(role, site, rng, gradient_echo)
    settings = SETTINGS[site.vendor]
    rows_mm = float(rng.uniform(260, 340))
    acquired = float(rng.uniform(0.75, 1.15))
    thickness = float(np.round(rng.uniform(*settings.thickness), 1))
    return Protocol(
        role=role,
        vendor=site.vendor,
        sequence=sequence,
        fov_mm=(rows_mm, rows_mm * float(rng.uniform(0.8, 1.0))),
        acquired_mm=(acquired * float(rng.uniform(1.0, 1.3)), acquired),
        pixel_mm=acquired * float(rng.choice((0.5, 0.7, 0.85, 1.0))),
        thickness_mm=thickness,
        gap_mm=float(np.round(thickness * rng.uniform(*settings.gap_share), 2)),
        slices=int(rng.integers(settings.slices[0], settings.slices[1] + 1)),
        phase_axis=1 if rng.random() < 0.7 else 2,
        shift_px=_chemical_shift_px(sequence, rng),
        snr=_sample_snr(role, site.field_t, rng),
        acceleration=float(rng.choice((1.0, 1.5, 2.0))),
        coil_per_cm=_sample_coil(rng),
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


def random_contrast(rng: np.random.Generator) -> SignalTable:
    """A contrast no scanner makes: every tissue its own signal, marrow still led by fat and water.

    Tissues stay groups (one level each, plus a slope with fat, edema and hydration), and what is
    void in every sequence mostly stays dark, so that anatomy can still be told from background.

    Source: contrast randomisation as in synthetic-to-real segmentation; a trial here found it
    worthless alone and helpful as a third of the images.
    """
    level = rng.uniform(0.05, 1.0, len(Tissue))
    for void in (Tissue.AIR, Tissue.GAS, Tissue.CEMENT, Tissue.LUNG):
        level[void] = rng.uniform(0.0, 0.06)
    level[Tissue.CORTEX] *= rng.choice((0.15, 0.5))
    # A body is only seen where it differs from its discs.
    while abs(level[Tissue.MARROW] - level[Tissue.NUCLEUS]) < 0.12:
        level[Tissue.NUCLEUS] = rng.uniform(0.05, 1.0)
    water = np.broadcast_to(level[:, None, None], TABLE_SHAPE).copy()
    free = np.linspace(0.0, 1.0, WATER_LEVELS)
    for tissue, spread in ((Tissue.MARROW, 0.6), (Tissue.NUCLEUS, 0.3)):
        water[tissue] *= np.clip(1.0 + rng.normal(0.0, spread) * free, 0.15, 2.5)
    fraction = np.linspace(0.0, 1.0, FAT_LEVELS)[None, :, None]
    fat_level = rng.uniform(0.0, 1.2)
    # Bulk fat and marrow fat need not agree, as under failing suppression.
    per_tissue_fat = np.full((len(Tissue), 1, 1), fat_level)
    per_tissue_fat[Tissue.MARROW] = fat_level + rng.normal(0.0, 0.15) * (rng.random() < 0.5)
    fat = np.clip(per_tissue_fat, 0.0, None) * fraction
    return SignalTable(
        (water * (1.0 - fraction)).astype(np.float32),
        np.broadcast_to(fat, TABLE_SHAPE).astype(np.float32),
    )


def _sequence_for(
    role: Role, site: Site, rng: np.random.Generator, gradient_echo: bool
) -> Sequence:
    settings = SETTINGS[site.vendor]
    match role:
        case Role.T1:
            return _t1(settings, site, rng)
        case Role.T2:
            return _turbo(site, rng, settings.t2_tr, settings.t2_te)
        case Role.STIR:
            return _stir(settings, site, rng)
        case Role.T2_FS:
            return _fat_saturated(site, rng)
        case Role.DIXON_WATER | Role.DIXON_FAT:
            part = DixonPart.WATER if role is Role.DIXON_WATER else DixonPart.FAT
            if gradient_echo:
                return _gradient_echo_dixon(site, part, rng)
            base = _turbo(site, rng, settings.t2_tr, (80.0, 105.0))
            leak = float(rng.beta(1.2, 14.0))
            return replace(base, suppression=Suppression.DIXON, dixon_part=part, fat_residual=leak)
    raise ValueError(f"no protocol for role {role}")


def _turbo(site: Site, rng: np.random.Generator, tr: Range, te: Range) -> Sequence:
    return Sequence(
        readout=Readout.TURBO_SPIN_ECHO,
        field_t=site.field_t,
        repetition_ms=float(np.round(rng.uniform(*tr), -1)),
        echo_ms=float(np.round(rng.uniform(*te))),
        flip_deg=float(rng.choice((120, 135, 150, 160, 180))),
        echo_train_length=int(rng.integers(10, 22)),
        echo_spacing_ms=float(rng.uniform(7, 11)),
        fat_t1_ms=at_field(FAT_T1_MS, site.field_t) * float(rng.uniform(0.92, 1.08)),
        j_coupling=float(rng.uniform(1.2, 1.6)),
    )


def _t1(settings: VendorSettings, site: Site, rng: np.random.Generator) -> Sequence:
    base = _turbo(site, rng, settings.t1_tr, settings.t1_te)
    base = replace(base, echo_train_length=int(rng.integers(2, 5)), j_coupling=1.2)
    if settings is SETTINGS["ge"] and site.field_t > 2 and rng.random() < LONG_TR_T1_SHARE:
        return replace(
            base,
            repetition_ms=float(np.round(rng.uniform(2000, 2600), -1)),
            inversion_ms=float(np.round(rng.uniform(750, 1000))),
            echo_train_length=8,
        )
    return base


def _stir(settings: VendorSettings, site: Site, rng: np.random.Generator) -> Sequence:
    base = _turbo(site, rng, settings.stir_tr, settings.stir_te)
    window = settings.stir_ti_3t if site.field_t > 2 else settings.stir_ti_1t5
    inversion = float(np.round(rng.uniform(*window)))
    if site.field_t < 1.0:
        inversion = float(np.round(rng.uniform(80, 130)))
    return replace(
        base,
        inversion_ms=inversion,
        fat_t1_ms=nulled_fat_t1(inversion) * float(rng.uniform(0.92, 1.08)),
        # Fitted to real TIRM, where marrow and suppressed fat are nearly equal at one depth.
        fat_residual=float(rng.beta(2.2, 8.5)),
    )


def _fat_saturated(site: Site, rng: np.random.Generator) -> Sequence:
    spectral = Suppression.SPAIR if rng.random() < 0.5 else Suppression.CHESS
    base = _turbo(site, rng, (2500.0, 4000.0), (60.0, 90.0))
    return replace(base, suppression=spectral, fat_residual=float(rng.uniform(0.02, 0.20)))


def _gradient_echo_dixon(site: Site, part: DixonPart, rng: np.random.Generator) -> Sequence:
    return Sequence(
        readout=Readout.GRADIENT_ECHO,
        field_t=site.field_t,
        repetition_ms=float(rng.uniform(7, 16)),
        echo_ms=float(rng.uniform(1.2, 3.0)),
        flip_deg=float(rng.uniform(2, 6)),
        echo_train_length=1,
        suppression=Suppression.DIXON,
        dixon_part=part,
        fat_t1_ms=at_field(FAT_T1_MS, site.field_t),
        fat_residual=float(rng.beta(1.2, 20.0)),
    )


def _chemical_shift_px(sequence: Sequence, rng: np.random.Generator) -> float:
    offset_hz = FAT_SHIFT_PPM * PROTON_MHZ_PER_T * sequence.field_t
    return float(offset_hz / rng.uniform(150, 400)) * float(rng.choice((-1, 1)))


def _sample_snr(role: Role, field_t: float, rng: np.random.Generator) -> float:
    base = {Role.STIR: 20.0, Role.T2_FS: 20.0, Role.DIXON_WATER: 24.0}.get(role, 34.0)
    return float(base * np.sqrt(field_t / 1.5) * rng.lognormal(0.0, 0.3))


def _sample_coil(rng: np.random.Generator) -> float:
    # About one scan in five is stored after the scanner's own intensity correction.
    return float(rng.uniform(0.0, 0.02) if rng.random() < 0.2 else rng.uniform(0.03, 0.15))
