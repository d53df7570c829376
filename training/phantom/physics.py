"""Signal of every tissue under a pulse sequence: two compartments, water and fat, per fine voxel.

The signal depends on a voxel only through (tissue, fat percent, free water), so it is worked out
once for that small table and then looked up for the whole grid. Signals stay signed: the scanner
takes the magnitude after water, fat and partial volume are summed, and so does `acquisition`.

Sources of the relaxation values: de Bazelaire 2004, Biffar 2010, Traeber 1996, Byun 2023, Stanisz
2005, SyMRI and Pfirrmann-graded disc T2 as collected for this project; values between field
strengths follow a power law.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.phantom.tissues import Tissue, TissueGrid

FAT_LEVELS: Final = 101
WATER_LEVELS: Final = 32
"""Free water is looked up in steps of eight: finer than any signal difference that noise leaves."""

TABLE_SHAPE: Final = (len(Tissue), FAT_LEVELS, WATER_LEVELS)

EDEMA_DISPLACED_FAT: Final = 0.2
"""Part of the drawn fat fraction that the strongest edema still dilutes away."""

FAT_T1_MS: Final = (260.0, 360.0)
FAT_T2_MS: Final = (62.0, 64.0)
"""Single-echo fat T2; a turbo spin echo lengthens it by its J-coupling factor."""


class Relaxation(NamedTuple):
    """Water compartment: T1 and T2 in ms at 1.5 T and 3 T, and relative proton density."""

    t1: tuple[float, float]
    t2: tuple[float, float]
    density: float


NORMAL_MARROW: Final = Relaxation((870.0, 975.0), (42.0, 38.0), 0.85)
EDEMATOUS_MARROW: Final = Relaxation((1400.0, 1550.0), (92.0, 84.0), 0.85)

NUCLEUS_BY_GRADE: Final = (
    Relaxation((560.0, 620.0), (42.0, 38.0), 0.50),
    Relaxation((600.0, 660.0), (51.0, 47.0), 0.60),
    Relaxation((723.0, 800.0), (84.0, 78.0), 0.72),
    Relaxation((1000.0, 1100.0), (129.0, 120.0), 0.85),
    Relaxation((1165.0, 1280.0), (205.0, 190.0), 0.88),
)
"""Disc nucleus, Pfirrmann V to I: free water 0 to 255 runs evenly through them."""

WATER: Final[dict[Tissue, Relaxation]] = {
    Tissue.AIR: Relaxation((1000.0, 1000.0), (1.0, 1.0), 0.0),
    Tissue.FAT: Relaxation((900.0, 1000.0), (40.0, 36.0), 1.0),
    Tissue.MARROW: NORMAL_MARROW,
    Tissue.CORTEX: Relaxation((400.0, 450.0), (9.0, 8.0), 0.15),
    Tissue.NUCLEUS: NUCLEUS_BY_GRADE[2],
    Tissue.ANNULUS: Relaxation((700.0, 770.0), (46.0, 42.0), 0.48),
    Tissue.CSF: Relaxation((4300.0, 4300.0), (1578.0, 1578.0), 1.07),
    Tissue.CORD: Relaxation((760.0, 970.0), (85.0, 78.0), 0.72),
    Tissue.NERVE: Relaxation((850.0, 1000.0), (78.0, 72.0), 0.70),
    Tissue.MUSCLE: Relaxation((980.0, 1250.0), (37.0, 34.0), 0.80),
    Tissue.FLOWING_BLOOD: Relaxation((1440.0, 1930.0), (290.0, 275.0), 0.95),
    Tissue.SLOW_BLOOD: Relaxation((1440.0, 1930.0), (180.0, 150.0), 0.90),
    Tissue.SOFT_ORGAN: Relaxation((1000.0, 1150.0), (62.0, 55.0), 0.80),
    Tissue.LIVER: Relaxation((590.0, 800.0), (46.0, 36.0), 0.80),
    Tissue.KIDNEY: Relaxation((1000.0, 1250.0), (85.0, 75.0), 0.85),
    Tissue.LUNG: Relaxation((1200.0, 1300.0), (30.0, 20.0), 0.14),
    Tissue.GAS: Relaxation((1000.0, 1000.0), (1.0, 1.0), 0.0),
    Tissue.FLUID: Relaxation((3000.0, 3200.0), (700.0, 700.0), 1.0),
    Tissue.CEMENT: Relaxation((500.0, 500.0), (2.0, 2.0), 0.02),
    Tissue.SCLEROSIS: Relaxation((900.0, 1000.0), (30.0, 27.0), 0.38),
    Tissue.METASTASIS_LYTIC: Relaxation((1252.0, 1400.0), (64.0, 60.0), 0.92),
    Tissue.METASTASIS_BLASTIC: Relaxation((1675.0, 1800.0), (36.0, 33.0), 0.62),
    Tissue.SOFT_MASS: Relaxation((1250.0, 1400.0), (78.0, 72.0), 0.92),
    Tissue.HAEMANGIOMA: Relaxation((1100.0, 1250.0), (120.0, 110.0), 0.96),
    Tissue.PUS: Relaxation((1900.0, 2100.0), (230.0, 220.0), 0.96),
    Tissue.CARTILAGE: Relaxation((900.0, 1050.0), (38.0, 35.0), 0.65),
    Tissue.SKIN: Relaxation((900.0, 1000.0), (30.0, 27.0), 0.70),
}

FLOW_SIGNAL: Final = {"spin": 0.05, "gradient": 1.3}
"""Part of the signal of flowing blood that remains: washed out of spin echoes, inflow-bright on
gradient echoes."""


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


@dataclass(frozen=True, slots=True)
class SignalTable:
    """Signed signals of the water and the fat compartment, by tissue, fat and free water.

    Attributes:
        water, fat: `TABLE_SHAPE` float32.
        water_gain, fat_gain: How the two compartments add up to the image (for example 1 and -1
            for an out-of-phase image).
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


def nulled_fat_t1(inversion_ms: float) -> float:
    """Fat T1 in ms that an inversion time nulls (repetition long against it)."""
    return inversion_ms / float(np.log(2.0))


def at_field(pair: tuple[float, float], field_t: float) -> float:
    """A time known at 1.5 T and 3 T, at another field, by a power law of the field."""
    exponent = np.log2(pair[1] / pair[0])
    return float(pair[0] * (field_t / 1.5) ** exponent)


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
    """
    t1, t2, density = _water_compartment(sequence.field_t)
    fat_fraction = _fat_fraction()
    water = density * (1.0 - fat_fraction) * _signal(sequence, t1, t2)
    fat_t2 = at_field(FAT_T2_MS, sequence.field_t)
    if sequence.readout is Readout.TURBO_SPIN_ECHO:
        fat_t2 *= sequence.j_coupling
    flow = FLOW_SIGNAL["gradient" if sequence.readout is Readout.GRADIENT_ECHO else "spin"]
    water[Tissue.FLOWING_BLOOD] *= flow
    one_fat = _fat_signal(sequence, fat_t2)
    fat = np.broadcast_to(density, TABLE_SHAPE) * fat_fraction * one_fat
    water_gain, fat_gain = _compartment_gains(sequence)
    return SignalTable(water.astype(np.float32), fat.astype(np.float32), water_gain, fat_gain)


def _fat_signal(sequence: Sequence, fat_t2_ms: float) -> float:
    """Signed signal of pure fat of density one."""
    main = float(_signal(sequence, np.asarray(sequence.fat_t1_ms), np.asarray(fat_t2_ms)))
    if sequence.inversion_ms is None or sequence.suppression is not Suppression.NONE:
        return main
    # Olefinic and methylene-bridge protons do not share the main T1; they carry water's sign.
    never_nulled = np.exp(-sequence.echo_ms / fat_t2_ms) * sequence.fat_residual
    return main - float(never_nulled)


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
        # Trabeculae shorten T2* of marrow and soft tissue alike to about a third of T2.
        return np.asarray(steady * np.exp(-sequence.echo_ms / (0.35 * t2)))
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
    for tissue, relaxation in WATER.items():
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
