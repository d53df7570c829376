"""Who a synthetic spine belongs to: sex, age, stature, marrow fat, numbering and transition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.errors import GeometryError
from training.phantom.anatomy.norms import CASTELLVI, NUMBERINGS
from training.phantom.numbers import held

MEAN_STATURE_CM: Final = {"F": (163.0, 6.5), "M": (176.0, 7.0)}
"""Mean and standard deviation of adult stature."""


@dataclass(frozen=True, slots=True)
class Demographics:
    """What is fixed about a subject in advance; None is sampled.

    Attributes:
        sex: "F" or "M".
        age_years: 18 to 100.
        stature_cm: 130 to 215.
        numbering: One of `norms.NUMBERINGS`.
        castellvi: One of `norms.CASTELLVI`.
    """

    sex: str | None = None
    age_years: float | None = None
    stature_cm: float | None = None
    numbering: str | None = None
    castellvi: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no adult is."""
        if self.sex not in (None, "F", "M"):
            raise GeometryError("sex is neither F nor M")
        if self.age_years is not None and not 18 <= self.age_years <= 100:
            raise GeometryError("age is not between 18 and 100 years")
        if self.stature_cm is not None and not 130 <= self.stature_cm <= 215:
            raise GeometryError("stature is not between 130 and 215 cm")
        if self.numbering is not None and self.numbering not in NUMBERINGS:
            raise GeometryError(f"numbering is none of {', '.join(NUMBERINGS)}")
        if self.castellvi is not None and self.castellvi not in CASTELLVI:
            raise GeometryError(f"Castellvi type is none of {', '.join(CASTELLVI)}")


@dataclass(frozen=True, slots=True)
class Subject:
    """Who the spine belongs to.

    Attributes:
        sex: "F" or "M".
        age_years: Age.
        scale: Size of all bones against an average man's.
        marrow_fat: Mean fat fraction of vertebral marrow, 0..1.
        numbering: One of `norms.NUMBERINGS`.
        stature_cm: Stature.
        castellvi: Type of the lumbosacral transition, one of `norms.CASTELLVI`.
        joined_left: Side of a one-sided transition.
        lumbar_rib: Whether L1 carries a short rib.
        last_rib_mm: Length of the last thoracic rib.
    """

    sex: str
    age_years: float
    scale: float
    marrow_fat: float
    numbering: str
    stature_cm: float = 170.0
    castellvi: str = "none"
    joined_left: bool = True
    lumbar_rib: bool = False
    last_rib_mm: float = 95.0


def sample_subject(rng: np.random.Generator, demographics: Demographics | None = None) -> Subject:
    """Sample sex, age, stature, marrow fat and numbering with their published spreads.

    Args:
        rng: Source.
        demographics: What is fixed in advance.
    """
    fixed = demographics or Demographics()
    sex = fixed.sex or ("F" if rng.random() < 0.62 else "M")
    age = held(rng.normal(62, 17), 19, 93)
    age = age if fixed.age_years is None else fixed.age_years
    mean, spread = MEAN_STATURE_CM[sex]
    stature = held(rng.normal(mean, spread), 140, 205)
    stature = stature if fixed.stature_cm is None else fixed.stature_cm
    # With sex, 6 % in all: 4 % go with stature, the rest is build.
    scale = held(stature / MEAN_STATURE_CM["M"][0] * rng.normal(1.0, 0.02), 0.78, 1.2)
    # Proton-density fat fraction rises with age; women cross men after menopause (Baum 2018).
    base = 0.30 + 0.0048 * (age - 25) + (0.03 if sex == "F" and age > 55 else -0.02)
    marrow_fat = held(rng.normal(base, 0.09), 0.12, 0.78)
    numbering = str(rng.choice(list(NUMBERINGS), p=list(NUMBERINGS.values())))
    numbering = fixed.numbering or numbering
    castellvi = fixed.castellvi or _sample_castellvi(numbering, rng)
    return Subject(
        sex,
        age,
        scale,
        marrow_fat,
        numbering,
        stature_cm=stature,
        castellvi=castellvi,
        joined_left=bool(rng.random() < 0.5),
        lumbar_rib=bool(rng.random() < 0.015),
        last_rib_mm=held(rng.normal(95, 38), 15, 180),
    )


def _sample_castellvi(numbering: str, rng: np.random.Generator) -> str:
    chances = {
        "sacralised": (0.0, 0.0, 0.05, 0.15, 0.2, 0.15, 0.35, 0.1),
        "lumbarised": (0.3, 0.1, 0.2, 0.15, 0.1, 0.05, 0.05, 0.05),
    }.get(numbering, (0.93, 0.02, 0.02, 0.02, 0.01, 0.0, 0.0, 0.0))
    return str(rng.choice(list(CASTELLVI), p=chances))
