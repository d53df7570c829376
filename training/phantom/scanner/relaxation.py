"""Relaxation times and densities of every tissue, and how they change with the field.

Sources: de Bazelaire 2004, Biffar 2010, Traeber 1996, Byun 2023, Stanisz 2005, SyMRI and
Pfirrmann-graded disc T2 as collected for this project; values between field strengths follow a
power law.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from training.phantom.painting.tissues import Tissue

EDEMA_DISPLACED_FAT: Final = 0.2
"""Part of the drawn fat fraction that the strongest edema still dilutes away."""

FAT_T1_MS: Final = (260.0, 360.0)
FAT_T2_MS: Final = (62.0, 64.0)
"""Single-echo fat T2; a turbo spin echo lengthens it by its J-coupling factor."""

MARROW_FAT_T2: Final = 0.86
"""Part of that T2 that trabeculae leave to the fat between them. Chosen such that fat under the
skin, discs and CSF are as bright over marrow on T2 as measured."""


class Relaxation(NamedTuple):
    """Water compartment: T1 and T2 in ms at 1.5 T and 3 T, and relative proton density."""

    t1: tuple[float, float]
    t2: tuple[float, float]
    density: float


NORMAL_MARROW: Final = Relaxation((870.0, 975.0), (44.0, 40.0), 0.85)
EDEMATOUS_MARROW: Final = Relaxation((1400.0, 1550.0), (96.0, 88.0), 0.85)

NUCLEUS_BY_GRADE: Final = (
    Relaxation((560.0, 620.0), (42.0, 38.0), 0.58),
    Relaxation((600.0, 660.0), (47.0, 43.0), 0.68),
    Relaxation((723.0, 800.0), (80.0, 74.0), 0.80),
    Relaxation((1000.0, 1100.0), (129.0, 120.0), 0.87),
    Relaxation((1165.0, 1280.0), (205.0, 190.0), 0.90),
)
"""Disc nucleus, Pfirrmann V to I: free water 0 to 255 runs evenly through them."""

WATER: Final[dict[Tissue, Relaxation]] = {
    Tissue.AIR: Relaxation((1000.0, 1000.0), (1.0, 1.0), 0.0),
    Tissue.FAT: Relaxation((900.0, 1000.0), (40.0, 36.0), 1.0),
    Tissue.MARROW: NORMAL_MARROW,
    Tissue.CORTEX: Relaxation((400.0, 450.0), (9.0, 8.0), 0.15),
    Tissue.NUCLEUS: NUCLEUS_BY_GRADE[2],
    Tissue.ANNULUS: Relaxation((700.0, 770.0), (46.0, 42.0), 0.56),
    Tissue.CSF: Relaxation((4300.0, 4300.0), (1578.0, 1578.0), 1.07),
    Tissue.CORD: Relaxation((760.0, 970.0), (85.0, 78.0), 0.72),
    Tissue.NERVE: Relaxation((850.0, 1000.0), (78.0, 72.0), 0.70),
    Tissue.MUSCLE: Relaxation((1040.0, 1310.0), (39.0, 36.0), 0.80),
    Tissue.FLOWING_BLOOD: Relaxation((1440.0, 1930.0), (290.0, 275.0), 0.95),
    Tissue.SLOW_BLOOD: Relaxation((1440.0, 1930.0), (115.0, 75.0), 0.90),
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
    Tissue.METAL: Relaxation((1000.0, 1000.0), (1.0, 1.0), 0.0),
    Tissue.LIGAMENT: Relaxation((700.0, 800.0), (10.0, 9.0), 0.60),
    Tissue.VISCUS: Relaxation((1250.0, 1400.0), (78.0, 72.0), 0.92),
}

TRANSFERRING: Final[dict[Tissue, float]] = {
    Tissue.MUSCLE: 0.42,
    Tissue.CORD: 0.30,
    Tissue.NERVE: 0.30,
    Tissue.LIVER: 0.35,
    Tissue.KIDNEY: 0.25,
    Tissue.SOFT_ORGAN: 0.30,
    Tissue.NUCLEUS: 0.14,
    Tissue.ANNULUS: 0.30,
    Tissue.CARTILAGE: 0.30,
    Tissue.LIGAMENT: 0.30,
    Tissue.SKIN: 0.30,
}
"""Part of a tissue's water signal that full magnetisation transfer saturates. A multi-slice turbo
spin echo pulses often enough to transfer most of it; fluid and fat have none.

Source: magnetisation transfer ratios of the literature (muscle about 0.4, cartilage and cord about
0.3), with marrow water (about 0.1) taken as the reference."""


def water_of(tissue: Tissue) -> Relaxation:
    """The water compartment of a tissue.

    Raises:
        ValueError: The tissue was added without relaxation values.
    """
    try:
        return WATER[tissue]
    except KeyError:
        raise ValueError(f"tissue {tissue.name} has no relaxation values") from None


def nulled_fat_t1(inversion_ms: float) -> float:
    """Fat T1 in ms that an inversion time nulls (repetition long against it)."""
    return inversion_ms / float(np.log(2.0))


def at_field(pair: tuple[float, float], field_t: float) -> float:
    """A time known at 1.5 T and 3 T, at another field, by a power law of the field."""
    exponent = np.log2(pair[1] / pair[0])
    return float(pair[0] * (field_t / 1.5) ** exponent)
