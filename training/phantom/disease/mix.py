"""How often each disease is drawn: the part of a recipe that names the patients.

Values that the recipes hold are shares of spines, of discs or of levels. They say what a network
should meet, not how often it happens: fractures and tumours are far rarer in a scanner's week.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final

from training.phantom.disease.fracture import STAGE_SHARES
from training.phantom.disease.metastasis import KIND_SHARES
from training.phantom.disease.model import ImpossibleDiseaseError


@dataclass(frozen=True, slots=True)
class DiseaseMix:
    """Shares of diseases.

    Attributes:
        healthy: Spines without any disease; faint unrest and variants of no name remain.
        fractures: Other spines with osteoporotic fractures, at mean age and bone mass.
        further_fracture: Chance of each further fracture in such a spine, doubled at low mass.
        metastases: Spines with metastases; `metastases_many` of these at several levels.
        metastases_many: See there.
        pathological_fracture: Metastases with a fracture.
        marrow_disease: Spines with diffuse marrow disease.
        spondyloarthritis: Spines with inflamed corners and now and then an Andersson lesion.
        discitis: Spines with one infected disc.
        scheuermann, post_radiation, red_marrow: Spines.
        modic: Discs of mean load with a Modic change.
        unrest: Discs with faint wetness of both endplates below the threshold of edema.
        schmorl, schmorl_acute, haemangioma, haemangioma_atypical, bone_island, limbus,
            facet_edema, spot: Levels.
        implants: Spines with pedicle screws and rods.
        sacral_fracture: Spines of 75 years with an insufficiency fracture of the sacrum; fewer of
            the younger.
        stages: Fracture stage to its share, adding up to one.
        kinds: Kind of metastasis to its share, adding up to one.

    Raises:
        ImpossibleDiseaseError: A share outside 0..1, or shares that do not add up to one.
    """

    healthy: float = 0.13
    fractures: float = 0.56
    further_fracture: float = 0.40
    metastases: float = 0.17
    metastases_many: float = 0.55
    pathological_fracture: float = 0.5
    marrow_disease: float = 0.04
    spondyloarthritis: float = 0.10
    discitis: float = 0.06
    scheuermann: float = 0.05
    post_radiation: float = 0.03
    red_marrow: float = 0.20
    modic: float = 0.13
    unrest: float = 0.10
    schmorl: float = 0.07
    schmorl_acute: float = 0.025
    haemangioma: float = 0.05
    haemangioma_atypical: float = 0.015
    bone_island: float = 0.02
    limbus: float = 0.012
    facet_edema: float = 0.04
    spot: float = 0.08
    implants: float = 0.025
    sacral_fracture: float = 0.04
    stages: Mapping[str, float] = field(default_factory=lambda: dict(STAGE_SHARES))
    kinds: Mapping[str, float] = field(default_factory=lambda: dict(KIND_SHARES))

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, Mapping):
                _check_shares(each.name, value)
            elif not 0.0 <= value <= 1.0:
                raise ImpossibleDiseaseError(f"mix: {each.name} outside 0..1")

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> DiseaseMix:
        """A mix from a recipe's table; what it does not name keeps its default.

        Raises:
            ImpossibleDiseaseError: An unknown name, or a value that is no share.
        """
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ImpossibleDiseaseError(f"mix: unknown name: {', '.join(unknown)}")
        return cls(**{name: _share(name, value) for name, value in values.items()})  # type: ignore[arg-type]


def _share(name: str, value: object) -> float | dict[str, float]:
    if isinstance(value, Mapping):
        return {str(key): float(part) for key, part in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ImpossibleDiseaseError(f"mix: {name} is no number")
    return float(value)


def _check_shares(name: str, shares: Mapping[str, float]) -> None:
    known = STAGE_SHARES if name == "stages" else KIND_SHARES
    unknown = sorted(set(shares) - set(known))
    if unknown:
        raise ImpossibleDiseaseError(f"mix: unknown name in {name}: {', '.join(unknown)}")
    if min(shares.values(), default=-1.0) < 0.0 or abs(sum(shares.values()) - 1.0) > 1e-6:
        raise ImpossibleDiseaseError(f"mix: {name} do not add up to one")


MIXES: Final[Mapping[str, DiseaseMix]] = {
    "train": DiseaseMix(),
    "validate": DiseaseMix(),
    "stress": DiseaseMix(
        healthy=0.08,
        fractures=0.40,
        further_fracture=0.48,
        metastases=0.24,
        marrow_disease=0.07,
        spondyloarthritis=0.18,
        discitis=0.10,
        modic=0.22,
        unrest=0.18,
        red_marrow=0.30,
        schmorl_acute=0.05,
        haemangioma_atypical=0.035,
        implants=0.06,
        sacral_fracture=0.08,
        stages={
            "acute": 0.22,
            "subacute": 0.24,
            "unhealed_cleft": 0.12,
            "healed": 0.24,
            "refractured": 0.10,
            "cemented": 0.08,
        },
        kinds={"lytic": 0.5, "blastic": 0.25, "mixed": 0.25},
    ),
}
"""Presets of the recipes. The stress mix has more of what is hard to tell apart."""
