"""The vocabulary of rules: every input a condition may name, with its kind, unit and range.

Clinical inputs come from the fields of `ClinicalInput`; the rest is read from the study report by
`service.planning.facts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le

from models.findings import Acuity, Anchor, Call, Etiology, Shape
from models.scorer.heads import MIMICS, SIGNS
from service.planning.clinical import ClinicalInput
from service.planning.model import Scope
from service.report.document import Status


class Kind(StrEnum):
    """What values an input takes."""

    FLAG = "flag"
    NUMBER = "number"
    CHOICE = "choice"


class Origin(StrEnum):
    """Who gives an input."""

    CLINICAL = "clinical"
    STUDY = "study"
    LEVEL = "level"


class Region(StrEnum):
    """Part of the spine, as the technical table cuts it."""

    CERVICAL = "cervical"
    UPPER_THORACIC = "upper_thoracic"
    MID_THORACIC = "mid_thoracic"
    LOWER_THORACIC = "lower_thoracic"
    THORACOLUMBAR = "thoracolumbar"
    LUMBAR = "lumbar"
    SACRUM = "sacrum"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input.

    Attributes:
        name: As conditions and sentences name it.
        label: As a reader sees it.
        kind: Flag, number or choice.
        origin: Who gives it.
        unit: "" for none, "probability" for a value in [0, 1] that is written as a percentage.
        choices: Codes of a choice.
        low: Smallest number.
        high: Largest number.
    """

    name: str
    label: str
    kind: Kind
    origin: Origin
    unit: str = ""
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0

    @property
    def scope(self) -> Scope:
        """Whether it has one value for the patient or one for each level."""
        return Scope.LEVEL if self.origin is Origin.LEVEL else Scope.PATIENT


def _flag(name: str, label: str, origin: Origin = Origin.LEVEL) -> InputSpec:
    return InputSpec(name, label, Kind.FLAG, origin)


def _choice(
    name: str, label: str, choices: type[StrEnum], origin: Origin = Origin.LEVEL
) -> InputSpec:
    return InputSpec(
        name, label, Kind.CHOICE, origin, choices=tuple(item.value for item in choices)
    )


def _number(
    name: str, label: str, unit: str, low: float, high: float, origin: Origin = Origin.LEVEL
) -> InputSpec:
    return InputSpec(name, label, Kind.NUMBER, origin, unit, low=low, high=high)


def _probability(name: str, label: str) -> InputSpec:
    return _number(name, label, "probability", 0.0, 1.0)


def mimic_input(name: str) -> str:
    """Name of the input that holds a mimic's probability."""
    return f"mimic_{name}"


def sign_input(name: str) -> str:
    """Name of the input that holds a sign's probability."""
    return f"sign_{name}"


_STUDY: Final = (
    _flag("fluid_sensitive_series", "Fluid-sensitive series used", Origin.STUDY),
    _flag("t1_or_fat_series", "T1 or Dixon fat series used", Origin.STUDY),
    _choice("numbering_anchor", "Levels counted from", Anchor, Origin.STUDY),
    _choice("report_status", "Standing of the report", Status, Origin.STUDY),
    _flag("transitional_level", "Extra or transitional level seen", Origin.STUDY),
    _number("levels_reported", "Bodies reported", "", 0, 40, Origin.STUDY),
    _number("unhealed_levels", "Levels with an unhealed fracture", "", 0, 40, Origin.STUDY),
    _number("fractured_levels", "Levels with a fracture", "", 0, 40, Origin.STUDY),
    _number("pathological_levels", "Levels with pathological features", "", 0, 40, Origin.STUDY),
    _flag("confirmed_level_missing", "Pain confirmed at a level that was not read", Origin.STUDY),
)

_LEVEL: Final = (
    _flag("level_named", "Level has a name"),
    _probability("level_confidence", "Confidence of the level's name"),
    _choice("level_region", "Region", Region),
    _flag("body_complete", "Body wholly in the image"),
    _flag("in_distribution", "Images like those of the training"),
    _choice("edema", "Marrow edema", Call),
    _probability("edema_probability", "Probability of marrow edema"),
    _number("edema_extent_percent", "Part of the body with edema", "%", 0, 100),
    _choice("fracture", "Fracture", Call),
    _probability("fracture_probability", "Probability of fracture"),
    _number("height_loss_percent", "Height loss", "%", -100, 100),
    _number("genant_grade", "Genant grade", "", 0, 3),
    _choice("fracture_shape", "Fracture shape", Shape),
    _choice("acuity", "Acuity", Acuity),
    _probability("unhealed_probability", "Probability of an unhealed fracture"),
    _choice("etiology", "Etiology", Etiology),
    _probability("pathological_probability", "Probability of a pathological cause"),
    _flag("adjacent_fracture", "Fracture of a neighbouring level"),
    *(_probability(sign_input(name), name.replace("_", " ").capitalize()) for name in SIGNS),
    *(_probability(mimic_input(name), f"Mimic: {name.replace('_', ' ')}") for name in MIMICS),
    _number("wall_convexity_mm", "Convexity of the posterior wall", "mm", -30, 30),
    _number("retropulsion_mm", "Retropulsion", "mm", -30, 30),
    _number("canal_ap_mm", "Smallest AP diameter of the canal", "mm", 0, 40),
    _number("canal_ap_low_mm", "Smallest AP diameter of the canal, at least", "mm", 0, 40),
    _number("canal_compromise_percent", "Compromise of the canal", "%", 0, 100),
    _number("pedicle_width_mm", "Width of the narrower pedicle", "mm", 0, 40),
    _number("pedicle_width_low_mm", "Width of the narrower pedicle, at least", "mm", 0, 40),
    _number("pedicle_width_high_mm", "Width of the narrower pedicle, at most", "mm", 0, 60),
    _number("kyphosis_degrees", "Kyphosis over the level", "degrees", -90, 120),
    _number("body_volume_ml", "Volume of the body", "mL", 0, 150),
    _number("volume_15_percent_ml", "15 % of the body", "mL", 0, 30),
    _number("volume_24_percent_ml", "24 % of the body", "mL", 0, 40),
    _flag("pain_confirmed_here", "Examination confirms the pain at this level"),
    _flag("cement_reported_here", "Cement reported at this level"),
    _flag("posterior_wall_intact_on_ct", "Posterior wall intact on CT"),
)

LISTS: Final = (
    "pain_levels_confirmed", "prior_cement_levels", "ct_posterior_wall_intact_levels",
    "ct_posterior_wall_broken_levels", "medical_therapy",
)  # fmt: skip
"""Clinical fields that hold lists; as an input each is "none" or "some"."""


@cache
def vocabulary() -> Mapping[str, InputSpec]:
    """Every input by name."""
    return {spec.name: spec for spec in (*_clinical(), *_STUDY, *_LEVEL)}


def _clinical() -> Iterator[InputSpec]:
    for name, info in ClinicalInput.model_fields.items():
        if name == "schema_version":
            continue
        label = info.title or name
        extra = info.json_schema_extra
        unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
        kinds = [part for part in _flat(info.annotation) if part is not type(None)]
        if name in LISTS:
            yield InputSpec(name, label, Kind.CHOICE, Origin.CLINICAL, choices=("none", "some"))
        elif bool in kinds:
            yield InputSpec(name, label, Kind.FLAG, Origin.CLINICAL)
        elif float in kinds:
            low = next(float(_real(mark.ge)) for mark in info.metadata if isinstance(mark, Ge))
            high = next(float(_real(mark.le)) for mark in info.metadata if isinstance(mark, Le))
            yield InputSpec(name, label, Kind.NUMBER, Origin.CLINICAL, unit, low=low, high=high)
        else:
            choices = tuple(str(part) for part in kinds)
            yield InputSpec(name, label, Kind.CHOICE, Origin.CLINICAL, choices=choices)


def _flat(annotation: object) -> Iterator[Any]:
    """Give the members of unions and literals of a field's annotation."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType, Literal):
        for part in get_args(annotation):
            yield from _flat(part)
    else:
        yield annotation


def _real(bound: object) -> float:
    if not isinstance(bound, int | float):
        raise TypeError("a bound of a clinical field is not a number")
    return float(bound)
