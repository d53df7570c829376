"""Sequences sampled from the vendors' tables: T1 TSE and FLAIR, T2, STIR, T2 FS, Dixon TSE and GRE.

What no header says (how well fat is suppressed, how much magnetisation is transferred) is drawn
such that tissue ratios fall where they were measured on real scans.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.volume import Role
from training.phantom.scanner.physics import DixonPart, Readout, Sequence, Suppression
from training.phantom.scanner.relaxation import FAT_T1_MS, at_field, nulled_fat_t1
from training.phantom.scanner.vendors import SETTINGS, Range, VendorSettings


def sample_sequence(
    role: Role, scanner: tuple[str, float], rng: np.random.Generator, *, gradient_echo: bool
) -> Sequence:
    """A sequence for a role.

    Args:
        role: What the images will be.
        scanner: Vendor and field strength in tesla.
        rng: Source of randomness.
        gradient_echo: Whether a Dixon acquisition is a gradient echo and not a T2 turbo spin echo.

    Raises:
        ValueError: No protocol is known for the role.
    """
    vendor, field_t = scanner
    settings = SETTINGS[vendor]
    match role:
        case Role.T1:
            return _t1(settings, field_t, rng)
        case Role.T2:
            return _turbo(settings, field_t, rng, settings.t2_tr, settings.t2_te)
        case Role.STIR:
            return _stir(settings, field_t, rng)
        case Role.T2_FS:
            return _fat_saturated(settings, field_t, rng)
        case Role.DIXON_WATER | Role.DIXON_FAT:
            part = DixonPart.WATER if role is Role.DIXON_WATER else DixonPart.FAT
            if gradient_echo:
                return _gradient_echo_dixon(field_t, part, rng)
            base = _turbo(settings, field_t, rng, settings.dixon_tr, settings.dixon_te)
            leak = float(rng.beta(1.5, 14.0))
            return replace(base, suppression=Suppression.DIXON, dixon_part=part, fat_residual=leak)
    raise ValueError(f"no protocol for role {role}")


def outside_the_tables(sequence: Sequence, spread: float, rng: np.random.Generator) -> Sequence:
    """The sequence with TR, TE and TI moved by up to `spread` of their values each."""
    if spread == 0.0:
        return sequence
    tr, te, ti = 1.0 + rng.uniform(-spread, spread, 3)
    moved = replace(
        sequence,
        repetition_ms=float(np.round(sequence.repetition_ms * tr, 1)),
        echo_ms=float(np.round(sequence.echo_ms * te, 1)),
    )
    if sequence.inversion_ms is None:
        return moved
    # Only half of the step is a change of contrast: sites tune TI to null their scanner's fat.
    return replace(
        moved,
        inversion_ms=float(np.round(sequence.inversion_ms * ti)),
        fat_t1_ms=sequence.fat_t1_ms * (1.0 + 0.5 * (float(ti) - 1.0)),
    )


def _turbo(
    settings: VendorSettings, field_t: float, rng: np.random.Generator, tr: Range, te: Range
) -> Sequence:
    return Sequence(
        readout=Readout.TURBO_SPIN_ECHO,
        field_t=field_t,
        repetition_ms=float(np.round(rng.uniform(*tr), -1)),
        echo_ms=float(np.round(rng.uniform(*te))),
        flip_deg=float(rng.choice((120, 135, 150, 160, 180))),
        echo_train_length=int(rng.integers(10, 22)),
        echo_spacing_ms=float(rng.uniform(*settings.echo_spacing)),
        fat_t1_ms=at_field(FAT_T1_MS, field_t) * float(rng.uniform(0.92, 1.08)),
        j_coupling=float(rng.uniform(1.2, 1.6)),
        transfer=float(rng.uniform(0.3, 1.0)) * min(1.0, 0.5 + field_t / 3.0),
    )


def _t1(settings: VendorSettings, field_t: float, rng: np.random.Generator) -> Sequence:
    base = _turbo(settings, field_t, rng, settings.t1_tr, settings.t1_te)
    base = replace(
        base, echo_train_length=int(rng.integers(2, 5)), j_coupling=1.2, transfer=base.transfer / 2
    )
    if field_t > 2 and rng.random() < settings.long_t1_share:
        return replace(
            base,
            repetition_ms=float(np.round(rng.uniform(2000, 2600), -1)),
            inversion_ms=float(np.round(rng.uniform(750, 1000))),
            echo_train_length=8,
        )
    return base


def _stir(settings: VendorSettings, field_t: float, rng: np.random.Generator) -> Sequence:
    base = _turbo(settings, field_t, rng, settings.stir_tr, settings.stir_te)
    window = settings.stir_ti_3t if field_t > 2 else settings.stir_ti_1t5
    if field_t < 1.0:
        window = (80.0, 130.0)
    inversion = float(np.round(rng.uniform(*window)))
    return replace(
        base,
        inversion_ms=inversion,
        fat_t1_ms=nulled_fat_t1(inversion) * float(rng.uniform(0.92, 1.08)),
        # Fitted to real TIRM, where marrow and suppressed fat are nearly equal at one depth.
        fat_residual=float(rng.beta(7.0, 20.0)),
    )


def _fat_saturated(settings: VendorSettings, field_t: float, rng: np.random.Generator) -> Sequence:
    chess = rng.random() < settings.chess_share
    base = _turbo(settings, field_t, rng, settings.fs_tr, settings.fs_te)
    # Below 1 T the two lines lie too close to be told apart well.
    most = 0.28 if field_t >= 1.0 else 0.45
    return replace(
        base,
        suppression=Suppression.CHESS if chess else Suppression.SPAIR,
        fat_residual=float(rng.uniform(0.04, most)),
    )


def _gradient_echo_dixon(field_t: float, part: DixonPart, rng: np.random.Generator) -> Sequence:
    return Sequence(
        readout=Readout.GRADIENT_ECHO,
        field_t=field_t,
        repetition_ms=float(rng.uniform(7, 16)),
        echo_ms=float(rng.uniform(1.2, 3.0)),
        flip_deg=float(rng.uniform(2, 5)),
        echo_train_length=1,
        suppression=Suppression.DIXON,
        dixon_part=part,
        fat_t1_ms=at_field(FAT_T1_MS, field_t),
        fat_residual=float(rng.beta(1.2, 20.0)),
    )
