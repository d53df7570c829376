"""Read the inputs of the rules from a report and the clinical input. What is not there is None."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

from models.anatomy import CERVICAL
from models.findings import Acuity, Call, Coverage, Etiology
from models.scorer.heads import MIMICS, SIGNS
from models.volume import FLUID_SENSITIVE, Role
from service.planning.clinical import ClinicalInput
from service.planning.conditions import Facts, Value
from service.planning.inputs import LISTS, Region, mimic_input, sign_input
from service.report.document import LevelReport, PedicleReport, StudyReport

REGIONS: Final[Mapping[str, Region]] = {
    **dict.fromkeys(CERVICAL, Region.CERVICAL),
    **dict.fromkeys(("T1", "T2", "T3"), Region.UPPER_THORACIC),
    **dict.fromkeys(("T4", "T5", "T6"), Region.MID_THORACIC),
    **dict.fromkeys(("T7", "T8", "T9", "T10"), Region.LOWER_THORACIC),
    **dict.fromkeys(("T11", "T12", "T13"), Region.THORACOLUMBAR),
    **dict.fromkeys(("L1", "L2", "L3", "L4", "L5", "L6"), Region.LUMBAR),
    "S1": Region.SACRUM,
}
"""Level name to the row of the technical table that it belongs to."""

CEMENT_PERCENTS: Final = (15, 24)
"""Shares of the body's volume that cement studies name."""

_TRANSITIONAL: Final = frozenset({"T13", "L6"})


def patient_facts(report: StudyReport, clinical: ClinicalInput) -> Facts:
    """Give the inputs that have one value for the patient."""
    return {**_clinical(clinical), **_study(report, clinical)}


def level_facts(report: StudyReport, clinical: ClinicalInput) -> tuple[Facts, ...]:
    """Give the inputs of each level, in the report's order."""
    fractured = _beside_fracture(report.levels)
    return tuple(
        {
            **_identity(level),
            **_calls(level),
            **_signs(level),
            **_volumes(level),
            **_geometry(level),
            **_of_lists(level.level, clinical),
            "adjacent_fracture": beside,
        }
        for level, beside in zip(report.levels, fractured, strict=True)
    )


def _clinical(clinical: ClinicalInput) -> Facts:
    given = clinical.model_dump(exclude={"schema_version", *LISTS})
    lists = {name: getattr(clinical, name) for name in LISTS}
    return {
        **given,
        **{
            name: None if items is None else ("some" if items else "none")
            for name, items in lists.items()
        },
    }


def _study(report: StudyReport, clinical: ClinicalInput) -> Facts:
    used = {series.role for series in report.series if series.used}
    names = {level.level for level in report.levels}
    confirmed = clinical.pain_levels_confirmed
    return {
        "fluid_sensitive_series": not used.isdisjoint(FLUID_SENSITIVE),
        "t1_or_fat_series": not used.isdisjoint({Role.T1, Role.DIXON_FAT}),
        "numbering_anchor": report.anchor.value,
        "report_status": report.status.value,
        "transitional_level": _transitional(names),
        "levels_reported": float(len(report.levels)),
        "unhealed_levels": _count(
            level.acuity is not None and level.acuity.call is Acuity.UNHEALED
            for level in report.levels
        ),
        "fractured_levels": _count(_is_fractured(level) is True for level in report.levels),
        "pathological_levels": _count(
            level.etiology is not None and level.etiology.call is Etiology.PATHOLOGICAL
            for level in report.levels
        ),
        "confirmed_level_missing": None
        if confirmed is None
        else any(name not in names for name in confirmed),
    }


def _transitional(names: set[str | None]) -> bool | None:
    """Whether an extra level is named; a body without a name may be one."""
    if not names.isdisjoint(_TRANSITIONAL):
        return True
    return None if None in names else False


def _count(answers: Iterator[bool]) -> float:
    return float(sum(answers))


def _identity(level: LevelReport) -> Facts:
    return {
        "level_named": level.level is not None,
        "level_confidence": level.level_confidence,
        "level_region": None if level.level is None else REGIONS[level.level].value,
        "body_complete": level.coverage is Coverage.COMPLETE,
        "in_distribution": level.in_distribution,
    }


def _calls(level: LevelReport) -> Facts:
    """Calls of a body that the image cuts are not calls: they are left unknown if indeterminate."""
    facts: dict[str, Value | None] = {}
    if level.edema is not None:
        facts["edema"] = level.edema.call.value
        facts["edema_probability"] = level.edema.probability
        facts["edema_extent_percent"] = round(100.0 * level.edema.extent_fraction, 2)
    if level.fracture is not None:
        facts["fracture"] = level.fracture.call.value
        facts["fracture_probability"] = level.fracture.probability
        facts["height_loss_percent"] = level.fracture.height_loss_percent
        grade = level.fracture.genant_grade
        facts["genant_grade"] = None if grade is None else float(grade)
        facts["fracture_shape"] = level.fracture.shape.value
    if level.acuity is not None:
        facts["acuity"] = level.acuity.call.value
        facts["unhealed_probability"] = level.acuity.probability_unhealed
    if level.etiology is not None:
        facts["etiology"] = level.etiology.call.value
        facts["pathological_probability"] = level.etiology.pathological_probability
    if level.coverage is Coverage.PARTIAL:
        for name in ("edema", "fracture", "acuity", "etiology"):
            if facts.get(name) == Call.INDETERMINATE.value:
                facts[name] = None
    return facts


def _signs(level: LevelReport) -> Facts:
    signs = {
        sign_input(name): feature.probability
        for name, feature in level.features.items()
        if name in SIGNS
    }
    mimics = {mimic_input(name): value for name, value in level.mimics.items() if name in MIMICS}
    return {**signs, **mimics}


def _volumes(level: LevelReport) -> Facts:
    # A body that the slices cut sideways has a volume that is too small.
    whole = level.geometry is None or "volume" not in level.geometry.reasons
    volume = level.body.volume_ml if level.body is not None and whole else None
    return {
        "body_volume_ml": volume,
        **{
            f"volume_{percent}_percent_ml": None if volume is None else volume * percent / 100
            for percent in CEMENT_PERCENTS
        },
    }


def _geometry(level: LevelReport) -> Facts:
    geometry = level.geometry
    if geometry is None:
        return {}
    facts: dict[str, Value | None] = {}
    if geometry.posterior_wall is not None:
        facts["wall_convexity_mm"] = geometry.posterior_wall.convexity_mm
        facts["retropulsion_mm"] = geometry.posterior_wall.retropulsion_mm
    if geometry.canal is not None:
        canal = geometry.canal
        facts["canal_ap_mm"] = canal.ap_minimum_mm
        facts["canal_ap_low_mm"] = max(0.0, canal.ap_minimum_mm - canal.uncertainty_mm)
        facts["canal_compromise_percent"] = canal.compromise_percent
    if geometry.angles is not None:
        facts["kyphosis_degrees"] = geometry.angles.kyphosis_deg
    return {**facts, **_pedicles(geometry.pedicle_left, geometry.pedicle_right)}


def _pedicles(left: PedicleReport | None, right: PedicleReport | None) -> Facts:
    """Give the width of the narrower side; one side alone does not answer for both."""
    measured = [
        (side.width_mm, side.width_uncertainty_mm)
        for side in (left, right)
        if side is not None and side.width_mm is not None and side.width_uncertainty_mm is not None
    ]
    if len(measured) < 2:
        return {}
    width, uncertainty = min(measured)
    return {
        "pedicle_width_mm": width,
        "pedicle_width_low_mm": max(0.0, min(value - error for value, error in measured)),
        "pedicle_width_high_mm": width + uncertainty,
    }


def _of_lists(name: str | None, clinical: ClinicalInput) -> Facts:
    # A level that is listed neither as intact nor as broken was not looked at.
    on_ct = {
        **dict.fromkeys(clinical.ct_posterior_wall_intact_levels or (), True),
        **dict.fromkeys(clinical.ct_posterior_wall_broken_levels or (), False),
    }
    return {
        "pain_confirmed_here": _listed(name, clinical.pain_levels_confirmed),
        "cement_reported_here": _listed(name, clinical.prior_cement_levels),
        "posterior_wall_intact_on_ct": None if name is None else on_ct.get(name),
    }


def _listed(name: str | None, levels: tuple[str, ...] | None) -> bool | None:
    return None if name is None or levels is None else name in levels


def _is_fractured(level: LevelReport) -> bool | None:
    if level.fracture is None or level.fracture.call is Call.INDETERMINATE:
        return None
    return level.fracture.call is Call.PRESENT


def _beside_fracture(levels: tuple[LevelReport, ...]) -> tuple[bool | None, ...]:
    """Say of each level whether a direct neighbour in the report is fractured."""
    beside: list[list[bool | None]] = [[] for _ in levels]
    for (above, upper), (below, lower) in pairwise(enumerate(levels)):
        beside[above].append(_is_fractured(lower))
        beside[below].append(_is_fractured(upper))
    return tuple(
        True if True in answers else (None if None in answers else False) for answers in beside
    )
