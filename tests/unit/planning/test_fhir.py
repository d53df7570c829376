"""A FHIR Bundle answers fields only where it says so, and nothing of it is dropped in silence."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.planning import codes
from service.planning.clinical import ClinicalInput
from service.planning.document import Unread
from service.planning.errors import ClinicalInputError
from service.planning.fhir import from_fhir
from tests.unit.planning import cases

LOINC, SNOMED, OWN = codes.LOINC, codes.SNOMED, codes.OWN_SYSTEM
TERMS = "http://terminology.hl7.org/CodeSystem"
ADHERENCE = "http://hl7.org/fhir/CodeSystem/medication-statement-adherence"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"


def read(*resources: Any, on: date | None = None) -> tuple[ClinicalInput, list[Unread]]:  # noqa: ANN401
    entries = [{"resource": resource} for resource in resources]
    return from_fhir({"resourceType": "Bundle", "type": "collection", "entry": entries}, on=on)


def concept(system: str, *given_codes: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code} for code in given_codes]}


def lab(code: str, value: float, unit: str = "", **more: object) -> dict[str, Any]:
    return {
        "resourceType": "Observation", "status": "final", "code": concept(LOINC, code),
        "valueQuantity": {"value": value, "code": unit}, **more,
    }  # fmt: skip


def condition(
    system: str, code: str, status: str = "active", sure: str = "confirmed"
) -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "clinicalStatus": concept(f"{TERMS}/condition-clinical", status),
        "verificationStatus": concept(f"{TERMS}/condition-ver-status", sure),
        "code": concept(system, code),
    }  # fmt: skip


def allergy(system: str, code: str, status: str = "active") -> dict[str, Any]:
    return {
        "resourceType": "AllergyIntolerance",
        "clinicalStatus": concept(f"{TERMS}/allergyintolerance-clinical", status),
        "code": concept(system, code),
    }  # fmt: skip


def drug(system: str, code: str, status: str = "active") -> dict[str, Any]:
    return {
        "resourceType": "MedicationStatement", "status": status,
        "medicationCodeableConcept": concept(system, code),
    }  # fmt: skip


def own(name: str, **value: object) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": concept(OWN, name), **value}


def answer(name: str, *given_codes: str) -> dict[str, Any]:
    return own(name, valueCodeableConcept=concept(OWN, *given_codes))


@pytest.mark.parametrize(
    ("resource", "field", "value"),
    [
        (lab("6301-6", 1.3, "{INR}"), "inr", 1.3),
        (lab("34714-6", 1.3), "inr", 1.3),
        (lab("777-3", 180, "10*9/L"), "platelets_10e9_per_l", 180),
        (lab("777-3", 180, "10*3/uL"), "platelets_10e9_per_l", 180),
        (lab("26515-7", 180000, "/uL"), "platelets_10e9_per_l", 180),
        (lab("30525-0", 77, "a"), "age_years", 77),
        (
            {
                "resourceType": "Observation", "status": "final", "code": concept(LOINC, "82810-3"),
                "valueCodeableConcept": concept(SNOMED, "60001007"),
            },
            "pregnancy", "no",
        ),
        (condition(SNOMED, "91302008"), "active_systemic_infection", True),
        (condition(SNOMED, "77386006"), "pregnancy", "yes"),
        (condition(ICD10, "M46.46"), "active_spinal_infection", True),
        (condition(ICD10, "C50.9"), "cancer_history", "active"),
        (condition(ICD10, "C50.9", "remission"), "cancer_history", "past"),
        (condition(ICD10, "Z85.3"), "cancer_history", "past"),
        (condition(ICD10, "M80.08XA"), "fracture_cause", "osteoporotic"),
        (allergy(OWN, "allergy_pmma"), "allergy_pmma", True),
        (allergy(SNOMED, "293637006"), "allergy_contrast", True),
        (allergy(SNOMED, "716186003"), "allergy_pmma", False),
        (drug(codes.RXNORM, "11289", "on-hold"), "anticoagulation", "held"),
        (drug(codes.ATC, "N02AA01"), "medical_therapy", ("opioids",)),
        (
            {
                "resourceType": "MedicationStatement", "status": "recorded",
                "medication": {"concept": concept(codes.ATC, "B01AF02")},
                "adherence": {"code": concept(ADHERENCE, "on-hold-as-directed")},
            },
            "anticoagulation", "held",
        ),
        (answer("ambulation", "prevented_by_pain"), "ambulation", "prevented_by_pain"),
        (own("pain_present", valueBoolean=False), "pain_present", False),
        (own("medical_therapy_weeks", valueQuantity={"value": 7}), "medical_therapy_weeks", 7),
        (own("medical_therapy_weeks", valueInteger=7), "medical_therapy_weeks", 7),
        (answer("pain_levels_confirmed", "L1", "T12"), "pain_levels_confirmed", ("T12", "L1")),
        (answer("prior_cement_levels", "none"), "prior_cement_levels", ()),
    ],
)  # fmt: skip
def test_a_statement_answers_its_field(resource: dict[str, Any], field: str, value: Any) -> None:  # noqa: ANN401
    clinical, unread = read(resource)
    assert getattr(clinical, field) == value
    assert unread == []


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        (lab("718-7", 13.0, "g/dL"), "unknown_code"),
        (lab("777-3", 180, "10*6/L"), "unknown_unit"),
        (lab("6301-6", 1.3) | {"status": "entered-in-error"}, "not_in_force"),
        (lab("6301-6", 1.3) | {"status": "preliminary"}, "not_in_force"),
        (lab("6301-6", 1.3) | {"valueQuantity": {"value": 8, "comparator": ">"}}, "comparator"),
        (lab("6301-6", 1.3) | {"valueQuantity": {"value": "1.3"}}, "no_value"),
        (lab("6301-6", 1.3) | {"valueQuantity": None}, "no_value"),
        (condition(SNOMED, "91302008", "resolved"), "not_in_force"),
        (condition(SNOMED, "91302008", sure="refuted"), "not_in_force"),
        (condition(ICD10, "D68.3"), "needs_judgement"),
        (condition(ICD10, "M54.16"), "needs_judgement"),
        (condition(SNOMED, "38341003"), "unknown_code"),
        (allergy(SNOMED, "91936005"), "unknown_code"),
        (allergy(SNOMED, "293637006", "resolved"), "not_in_force"),
        (drug(codes.RXNORM, "11289"), "needs_judgement"),
        (drug(codes.RXNORM, "11289", "stopped"), "not_in_force"),
        (drug(codes.RXNORM, "860975"), "unknown_code"),
        (own("inrr", valueInteger=1), "unknown_code"),
        (own("pain_present"), "no_value"),
        (own("prior_cement_levels"), "no_value"),
        ({"resourceType": "Patient", "birthDate": "1950-02-03"}, "no_value"),
        ({"resourceType": "Procedure"}, "unknown_resource"),
        ({"status": "final"}, "no_resource"),
        ("text", "no_resource"),
        ({"resourceType": "Observation"}, "unknown_code"),
    ],
)
def test_what_does_not_answer_is_listed_and_leaves_the_fields_unknown(
    resource: Any,  # noqa: ANN401
    code: str,
) -> None:
    clinical, unread = read(resource)
    assert clinical == ClinicalInput()
    assert [item.code for item in unread] == [code]
    assert unread[0].where.startswith("entry[0]")


def test_age_is_counted_on_the_day_given() -> None:
    patient = {"resourceType": "Patient", "birthDate": "1950-02-03"}
    assert read(patient, on=date(2026, 2, 2))[0].age_years == 75
    assert read(patient, on=date(2026, 2, 3))[0].age_years == 76


def test_the_latest_value_stands_whatever_the_order() -> None:
    old = lab("6301-6", 2.4, effectiveDateTime="2026-01-01")
    new = lab("6301-6", 1.2, effectiveDateTime="2026-01-02")
    assert read(old, new)[0].inr == read(new, old)[0].inr == 1.2


@pytest.mark.parametrize(
    "moments",
    [
        ("2026-01-02", "2026-01-02"),
        ("2026-01-02", "2026-01-02T09:00:00+01:00"),
        ("2026", "2026-01-02"),
    ],
)
def test_values_of_which_the_latest_cannot_be_told_leave_the_field_unknown(
    moments: tuple[str, str],
) -> None:
    first, second = moments
    clinical, unread = read(
        lab("6301-6", 2.4, effectiveDateTime=first), lab("6301-6", 1.2, effectiveDateTime=second)
    )
    assert clinical.inr is None
    assert [(item.code, item.detail) for item in unread] == [("ambiguous", "inr")]


def test_the_graver_statement_stands() -> None:
    clinical, _ = read(
        allergy(SNOMED, "716186003"), allergy(OWN, "allergy_pmma"),
        condition(ICD10, "Z85.3"), condition(ICD10, "C34.1"),
    )  # fmt: skip
    assert clinical.allergy_pmma is True
    assert clinical.allergy_contrast is False
    assert clinical.cancer_history == "active"


def test_one_antithrombotic_held_and_one_not_leaves_it_to_a_clinician() -> None:
    clinical, unread = read(
        drug(codes.RXNORM, "11289", "on-hold"), drug(codes.RXNORM, "1191", "active")
    )
    assert clinical.anticoagulation is None
    assert [item.code for item in unread] == ["needs_judgement"]


def test_no_allergy_listed_is_not_no_allergy() -> None:
    assert read()[0].allergy_pmma is None


def test_an_impossible_value_is_an_error_that_names_the_field() -> None:
    with pytest.raises(ClinicalInputError) as refused:
        read(lab("6301-6", 500))
    assert refused.value.problems[0].field == "inr"


NO_BUNDLES = [{}, {"resourceType": "Patient"}, {"resourceType": "Bundle", "entry": 3}, [], None]


@pytest.mark.parametrize("bundle", NO_BUNDLES)
def test_what_is_no_bundle_is_refused(bundle: object) -> None:
    with pytest.raises(ClinicalInputError):
        from_fhir(bundle)


def test_every_field_can_be_sent_as_our_own_observation() -> None:
    resources = []
    for name, value in cases.CLINICAL.items():
        if isinstance(value, bool):
            resources.append(own(name, valueBoolean=value))
        elif isinstance(value, int | float):
            resources.append(own(name, valueQuantity={"value": value}))
        else:
            items = value if isinstance(value, list) else [value]
            resources.append(own(name, valueCodeableConcept=concept(OWN, *(items or ["none"]))))
    clinical, unread = read(*resources)
    assert clinical == cases.clinical()
    assert unread == []


KEYS = [
    "code", "coding", "system", "status", "value", "valueQuantity", "medication", "adherence",
    "medicationCodeableConcept", "clinicalStatus", "verificationStatus", "birthDate", "concept",
    "effectiveDateTime",
]  # fmt: skip
KINDS = ["Observation", "Condition", "AllergyIntolerance", "MedicationStatement", "Patient"]
JSON = st.recursive(
    st.sampled_from([None, True, 3, "", "active", "2026-01-02", LOINC, "777-3"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    resource=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4),
)
def test_any_shape_of_resource_is_read_or_listed(kind: str, resource: dict[str, Any]) -> None:
    clinical, unread = read({"resourceType": kind, **resource})
    assert clinical == ClinicalInput()
    assert len(unread) == 1
