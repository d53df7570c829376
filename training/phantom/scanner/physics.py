"""Signal of every tissue under a pulse sequence: two compartments, water and fat, per fine voxel.

The signal depends on a voxel only through (tissue, fat percent, free water), so it is worked out
once for that small table and then looked up for the whole grid. Signals stay signed: the scanner
takes the magnitude after water, fat and partial volume are summed, and so does `acquisition`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.phantom.painting.tissues import Tissue, TissueGrid
from training.phantom.scanner.relaxation import (
    EDEMA_DISPLACED_FAT,
    EDEMATOUS_MARROW,
    FAT_T2_MS,
    MARROW_FAT_T2,
    NORMAL_MARROW,
    NUCLEUS_BY_GRADE,
    TRANSFERRING,
    at_field,
    water_of,
)

FAT_LEVELS: Final = 101
WATER_LEVELS: Final = 32
"""Free water is looked up in steps of eight: finer than any signal difference that noise leaves."""

TABLE_SHAPE: Final = (len(Tissue), FAT_LEVELS, WATER_LEVELS)

FLOW_SIGNAL: Final = {"spin": 0.12, "gradient": 0.7}
"""Part of the signal of flowing blood that remains: mostly washed out of spin echoes, less than
across a slice because the great vessels run within sagittal slices; bright on gradient echoes,
where only the spread of velocities within a voxel takes some of it."""

T2_STAR: Final = 0.6
MARROW_T2_STAR: Final = 0.2
"""Part of T2 that is left of it without refocusing; trabeculae shorten that of marrow further."""

INFLOW_T1_MS: Final = 2400.0
"""Longest T1 that counts on a gradient echo: fresh CSF keeps moving into the slice."""

TRABECULAR: Final = (
    Tissue.MARROW,
    Tissue.SCLEROSIS,
    Tissue.METASTASIS_BLASTIC,
    Tissue.HAEMANGIOMA,
)


class Readout(StrEnum):
    """How the signal is refocused."""

    TURBO_SPIN_ECHO = "turbo_spin_echo"
    GRADIENT_ECHO = "gradient_echo"


class Suppression(StrEnum):
    """What is done about fat, apart from an inversion pulse."""

    NONE = "none"
    CHESS = "chess"
    SPAIR = "spair"
    DIXON = "dixon"


class DixonPart(StrEnum):
    """Which image of a Dixon acquisition."""

    WATER = "water"
    FAT = "fat"
    IN_PHASE = "in_phase"
    OUT_OF_PHASE = "out_of_phase"


@dataclass(frozen=True, slots=True)
class Sequence:
    """Contrast-forming settings of a pulse sequence. Times in ms, field in tesla, angle in degrees.

    Attributes:
        inversion_ms: TI of an inversion-recovery preparation, None without one.
        echo_train_length, echo_spacing_ms: Of a turbo spin echo; they shorten the recovery time.
        fat_t1_ms: Fat T1; with a short TI it must follow the TI, because sites tune the TI to
            their own scanner's fat (see `nulled_fat_t1`).
        fat_residual: Part of the fat signal that fat suppression leaves: after CHESS or SPAIR, in
            a Dixon water image, or as the never-nulled part of fat (olefins) under STIR.
        j_coupling: By how much the echo train lengthens fat T2.
        transfer: How much of the magnetisation transfer of a tissue its other slices' pulses and
            the echo train bring about, 0 to 1.
    """

    readout: Readout
    field_t: float
    repetition_ms: float
    echo_ms: float
    inversion_ms: float | None = None
    flip_deg: float = 150.0
    echo_train_length: int = 15
    echo_spacing_ms: float = 9.0
    suppression: Suppression = Suppression.NONE
    dixon_part: DixonPart | None = None
    fat_t1_ms: float = 260.0
    fat_residual: float = 0.0
    j_coupling: float = 1.4
    transfer: float = 0.0


@dataclass(frozen=True, slots=True)
class SignalTable:
    """Signed signals of the water and the fat compartment, by tissue, fat and free water.

    Attributes:
        water, fat: `TABLE_SHAPE` float32; fat as it would be without suppression or inversion.
        water_gain, fat_gain: How the two compartments add up to the image (for example 1 and -1
            for an out-of-phase image, or a small fat gain under suppression).
    """

    water: NDArray[np.float32]
    fat: NDArray[np.float32]
    water_gain: float = 1.0
    fat_gain: float = 1.0

    @property
    def combined(self) -> NDArray[np.float32]:
        """`TABLE_SHAPE` float32: the signed signal of the image."""
        return np.float32(self.water_gain) * self.water + np.float32(self.fat_gain) * self.fat

    def scaled(self, gain: NDArray[np.floating]) -> SignalTable:
        """The table with every tissue's signal multiplied by its own gain, (tissues,)."""
        factor = np.asarray(gain, dtype=np.float32)[:, None, None]
        return SignalTable(self.water * factor, self.fat * factor, self.water_gain, self.fat_gain)

    def at(self, tissue: Tissue, fat_percent: int = 0, free_water: int = 0) -> float:
        """Magnitude of one mixture, for tests and for setting noise levels."""
        return abs(float(self.combined[tissue, fat_percent, free_water >> 3]))


def mixture_index(grid: TissueGrid) -> NDArray[np.int32]:
    """Index of every fine voxel into a raveled table, (slice, row, column) int32."""
    index = grid.tissue.astype(np.int32)
    index *= FAT_LEVELS
    index += grid.fat_percent
    index *= WATER_LEVELS
    index += grid.free_water >> 3
    return index


def signal_table(sequence: Sequence) -> SignalTable:
    """Water and fat signals of every tissue mixture under a sequence.

    Source: spin-echo, inversion-recovery and spoiled gradient-echo signal equations with
    TR - ETL x echo spacing as the recovery time of a turbo spin echo.

    Raises:
        ValueError: A tissue has no relaxation values.
    """
    t1, t2, density = _water_compartment(sequence.field_t)
    if sequence.readout is Readout.GRADIENT_ECHO:
        t1 = np.minimum(t1, INFLOW_T1_MS)
        t2 = t2 * T2_STAR
        t2[list(TRABECULAR)] *= MARROW_T2_STAR / T2_STAR
    fat_fraction = _fat_fraction()
    water = density * (1.0 - fat_fraction) * _signal(sequence, t1, t2)
    flow = FLOW_SIGNAL["gradient" if sequence.readout is Readout.GRADIENT_ECHO else "spin"]
    water[Tissue.FLOWING_BLOOD] *= flow
    for tissue, part in TRANSFERRING.items():
        water[tissue] *= 1.0 - part * sequence.transfer
    plain, inverted_gain = _fat_signal(sequence, 1.0)
    fat = np.broadcast_to(density, TABLE_SHAPE) * fat_fraction * plain
    if sequence.readout is Readout.TURBO_SPIN_ECHO:
        fat[list(TRABECULAR)] *= _fat_signal(sequence, MARROW_FAT_T2)[0] / plain
    water_gain, fat_gain = _compartment_gains(sequence)
    return SignalTable(
        water.astype(np.float32),
        fat.astype(np.float32),
        water_gain,
        fat_gain * inverted_gain,
    )


def _fat_signal(sequence: Sequence, t2_part: float) -> tuple[float, float]:
    """Signal of pure fat of density one, and the signed part of it an inversion pulse leaves."""
    t2 = at_field(FAT_T2_MS, sequence.field_t) * t2_part
    if sequence.readout is Readout.TURBO_SPIN_ECHO:
        t2 *= sequence.j_coupling
    else:
        t2 *= T2_STAR
    t1 = np.asarray(sequence.fat_t1_ms)
    plain = float(_signal(replace(sequence, inversion_ms=None), t1, np.asarray(t2)))
    if sequence.inversion_ms is None:
        return plain, 1.0
    left = float(_signal(sequence, t1, np.asarray(t2))) / plain
    if sequence.suppression is Suppression.NONE:
        # Olefinic and methylene-bridge protons do not share the main T1; they carry water's sign.
        left -= sequence.fat_residual
    return plain, left


def _compartment_gains(sequence: Sequence) -> tuple[float, float]:
    if sequence.suppression in (Suppression.CHESS, Suppression.SPAIR):
        return 1.0, sequence.fat_residual
    if sequence.dixon_part is None:
        return 1.0, 1.0
    return {
        DixonPart.WATER: (1.0, sequence.fat_residual),
        DixonPart.FAT: (sequence.fat_residual, 1.0),
        DixonPart.IN_PHASE: (1.0, 1.0),
        DixonPart.OUT_OF_PHASE: (1.0, -1.0),
    }[sequence.dixon_part]


def _signal(
    sequence: Sequence, t1: NDArray[np.float64], t2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Signed transverse signal of unit density."""
    if sequence.readout is Readout.GRADIENT_ECHO:
        recovery = np.exp(-sequence.repetition_ms / t1)
        flip = np.radians(sequence.flip_deg)
        steady = np.sin(flip) * (1.0 - recovery) / (1.0 - np.cos(flip) * recovery)
        return np.asarray(steady * np.exp(-sequence.echo_ms / t2))
    repetition = sequence.repetition_ms - sequence.echo_train_length * sequence.echo_spacing_ms
    repetition = max(repetition, 0.6 * sequence.repetition_ms)
    decay = np.exp(-sequence.echo_ms / t2)
    if sequence.inversion_ms is None:
        return np.asarray((1.0 - np.exp(-repetition / t1)) * decay)
    longitudinal = 1.0 - 2.0 * np.exp(-sequence.inversion_ms / t1) + np.exp(-repetition / t1)
    return np.asarray(longitudinal * decay)


def _water_compartment(
    field_t: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """T1, T2 (ms) and density, each (tissues, 1, water levels)."""
    shape = (len(Tissue), 1, WATER_LEVELS)
    t1, t2, density = np.empty(shape), np.empty(shape), np.empty(shape)
    for tissue in Tissue:
        relaxation = water_of(tissue)
        t1[tissue] = at_field(relaxation.t1, field_t)
        t2[tissue] = at_field(relaxation.t2, field_t)
        density[tissue] = relaxation.density
    share = np.linspace(0.0, 1.0, WATER_LEVELS)
    marrow = (NORMAL_MARROW, EDEMATOUS_MARROW)
    for tissue, grades in ((Tissue.MARROW, marrow), (Tissue.NUCLEUS, NUCLEUS_BY_GRADE)):
        knots = np.linspace(0.0, 1.0, len(grades))
        t1[tissue] = np.interp(share, knots, [at_field(grade.t1, field_t) for grade in grades])
        t2[tissue] = np.interp(share, knots, [at_field(grade.t2, field_t) for grade in grades])
        density[tissue] = np.interp(share, knots, [grade.density for grade in grades])
    return t1, t2, density


def _fat_fraction() -> NDArray[np.float64]:
    """`TABLE_SHAPE`: fat part of each mixture; edema dilutes the fat of marrow a little."""
    fraction = np.broadcast_to(np.linspace(0.0, 1.0, FAT_LEVELS)[None, :, None], TABLE_SHAPE).copy()
    edema = np.linspace(0.0, 1.0, WATER_LEVELS)
    fraction[Tissue.MARROW] *= 1.0 - EDEMA_DISPLACED_FAT * edema
    return fraction
