"""A patient and a report with every input known and nothing against it, to be changed by tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from models.findings import Acuity, Anchor, Call, Coverage, Etiology, Shape
from models.scorer.heads import MIMICS, SIGNS
from models.volume import Role
from service.planning.clinical import ClinicalInput, read_clinical
from service.report.document import (
    AcuityReport,
    BodyReport,
    EdemaReport,
    EtiologyReport,
    ExtentBin,
    FeatureReport,
    FilesReport,
    FractureReport,
    GeometryReport,
    LevelReport,
    ProvenanceReport,
    SeriesReport,
    Status,
    StudyReference,
    StudyReport,
)

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)

CLINICAL: dict[str, Any] = {
    "age_years": 78,
    "pain_present": True,
    "pain_severity": "severe",
    "symptoms_improving": False,
    "pain_levels_confirmed": ["L1"],
    "symptom_weeks": 5,
    "fracture_cause": "osteoporotic",
    "medical_therapy_weeks": 4,
    "medical_therapy": ["analgesics", "brace"],
    "analgesia_hours": 500,
    "analgesia_appropriate": True,
    "analgesic_side_effects": "tolerable",
    "ambulation": "prevented_by_pain",
    "physiotherapy_tolerated": False,
    "active_systemic_infection": False,
    "active_spinal_infection": False,
    "inr": 1.1,
    "platelets_10e9_per_l": 210,
    "bleeding_disorder": "none",
    "anticoagulation": "none",
    "allergy_pmma": False,
    "allergy_contrast": False,
    "allergy_local_anaesthetic": False,
    "anaesthesia_fitness": "sedation",
    "airway_risk": False,
    "radiculopathy": "none",
    "stenosis_symptoms": False,
    "myelopathy": False,
    "cancer_history": "none",
    "pregnancy": "not_applicable",
    "prior_cement_levels": [],
    "radiographs_available": True,
    "ct_available": True,
    "ct_posterior_wall_intact_levels": ["L1"],
    "ct_posterior_wall_broken_levels": [],
    "height_loss_progressing": False,
}
"""Nothing against it under any shipped profile."""

GEOMETRY: dict[str, Any] = {
    "posterior_wall": {
        "points_lps_mm": (),
        "convexity_mm": 0.2,
        "retropulsion_mm": 0.5,
        "reference": "neighbours",
        "uncertainty_mm": 0.6,
        "integrity": "not_assessable_on_mri",
    },
    "canal": {
        "ap_body_mm": 16.0,
        "ap_disc_above_mm": 15.5,
        "ap_disc_below_mm": 15.5,
        "ap_minimum_mm": 15.0,
        "minimum_line_lps_mm": (),
        "compromise_percent": 0.0,
        "uncertainty_mm": 0.5,
        "compromise_uncertainty_percent": 4.0,
    },
    "pedicle_left": {
        "slices": 3,
        "height_mm": 15.0,
        "height_uncertainty_mm": 0.5,
        "width_mm": 8.7,
        "width_uncertainty_mm": 0.2,
        "centre_lps_mm": (12.0, 20.0, 0.0),
    },
    "angles": {"wedge_deg": 8.0, "kyphosis_deg": 12.0, "uncertainty_deg": 2.0},
}
"""Measured, and nothing in it."""

UNMEASURED: dict[str, Any] = {
    "volume": None,
    "heights": None,
    "target": None,
    "adjacent_fractures": (),
    "reasons": {},
}

LEVEL: dict[str, Any] = {
    "level": "L1",
    "confidence": 0.97,
    "coverage": "complete",
    "edema": "present",
    "edema_probability": 0.93,
    "extent": 0.46,
    "fracture": "present",
    "height_loss": 23.0,
    "acuity": "unhealed",
    "unhealed": 0.91,
    "etiology": "benign",
    "pathological": 0.06,
    "volume_ml": 24.0,
    "mimics": {},
    "signs": {},
    "in_distribution": True,
    "geometry": {},
    "absent": [],
}
"""An unhealed benign fracture."""

NORMAL: dict[str, Any] = {
    "edema": "absent",
    "edema_probability": 0.03,
    "extent": 0.0,
    "fracture": "absent",
    "height_loss": 2.0,
    "acuity": "no_fracture",
    "unhealed": 0.01,
    "etiology": "not_applicable",
}
"""What makes a level of it that shows nothing."""


def clinical_mapping(
    changes: Mapping[str, Any] | None = None, without: Sequence[str] = ()
) -> dict[str, Any]:
    """The complete input, changed, and with fields left out."""
    given = {**CLINICAL, **(changes or {})}
    return {name: value for name, value in given.items() if name not in without}


def clinical(
    changes: Mapping[str, Any] | None = None, without: Sequence[str] = ()
) -> ClinicalInput:
    return read_clinical(clinical_mapping(changes, without))


def level(changes: Mapping[str, Any] | None = None, label_value: int = 20) -> LevelReport:
    """The level, changed; `absent` names parts of the report that are null."""
    unknown = set(changes or {}) - set(LEVEL) - {"normal"}
    assert not unknown, f"a vignette names {unknown}"
    given = {**LEVEL, **(NORMAL if (changes or {}).get("normal") else {}), **(changes or {})}
    absent = set(given["absent"])
    named = given["level"] != ""
    return LevelReport(
        level=given["level"] if named else None,
        level_confidence=given["confidence"] if named else None,
        alternatives=(),
        coverage=Coverage(given["coverage"]),
        centroid_lps_mm=(0.0, 0.0, 0.0),
        body=None
        if "body" in absent
        else BodyReport(
            volume_ml=given["volume_ml"],
            depth_mm=33.0,
            width_mm=42.0,
            height_anterior_mm=20.0,
            height_middle_mm=19.0,
            height_posterior_mm=25.0,
        ),
        edema=None if "edema" in absent else _edema(given),
        fracture=None if "fracture" in absent else _fracture(given, absent),
        acuity=None
        if "acuity" in absent
        else AcuityReport(call=Acuity(given["acuity"]), probability_unhealed=given["unhealed"]),
        etiology=None if "etiology" in absent else _etiology(given),
        features={
            name: FeatureReport(probability=given["signs"].get(name, 0.02))
            for name in SIGNS
            if name not in absent and "signs" not in absent
        },
        mimics={
            name: given["mimics"].get(name, 0.01)
            for name in MIMICS
            if name not in absent and "mimics" not in absent
        },
        in_distribution=given["in_distribution"],
        label_value=label_value,
        geometry=None if "geometry" in absent else _geometry(given["geometry"], absent),
    )


def report(
    levels: Sequence[Mapping[str, Any]] = ({},),
    *,
    roles: Sequence[str] = ("stir", "t1"),
    anchor: str = "c2",
    status: str = "preliminary",
) -> StudyReport:
    """A report of these levels."""
    return StudyReport(
        study=StudyReference(study_instance_uid="1.2.3"),
        status=Status(status),
        series=tuple(
            SeriesReport(
                series_instance_uid=f"1.2.3.{place}",
                role=Role(role),
                used=True,
                confidence=0.99,
                evidence=(),
                refused=None,
            )
            for place, role in enumerate(roles)
        ),
        files=FilesReport(used=20, refused=()),
        reference_series_uid="1.2.3.0" if roles else None,
        anchor=Anchor(anchor),
        levels=tuple(level(changes, 20 + place) for place, changes in enumerate(levels)),
        abstentions=(),
        provenance=ProvenanceReport(software="made", bundles=(), device="cpu"),
    )


def _edema(given: Mapping[str, Any]) -> EdemaReport:
    return EdemaReport(
        probability=given["edema_probability"],
        call=Call(given["edema"]),
        extent_fraction=given["extent"],
        extent_bin=ExtentBin.NONE,
        limited_by=(),
    )


def _fracture(given: Mapping[str, Any], absent: set[str]) -> FractureReport:
    return FractureReport(
        probability=0.95,
        call=Call(given["fracture"]),
        height_loss_percent=None if "height_loss" in absent else given["height_loss"],
        genant_grade=1,
        shape=Shape.WEDGE,
    )


def _etiology(given: Mapping[str, Any]) -> EtiologyReport:
    return EtiologyReport(
        call=Etiology(given["etiology"]),
        pathological_probability=given["pathological"],
        prediction_set=(),
        limited_by=(),
    )


def _geometry(changes: Mapping[str, Any], absent: set[str]) -> GeometryReport:
    """The measured parts, changed by part and field; both pedicles are alike unless changed."""
    parts = {**GEOMETRY, "pedicle_right": GEOMETRY["pedicle_left"]}
    made = {name: {**part, **changes.get(name, {})} for name, part in parts.items()}
    plain = {name: value for name, value in changes.items() if name in UNMEASURED}
    return GeometryReport.model_validate(
        {**UNMEASURED, **made, **plain, **dict.fromkeys(absent & set(made))}
    )
