"""Read clinical input from a FHIR Bundle (R4 or R5). What is not understood is listed, not guessed.

Only statements that answer a field are used: a known code, in force, with a value in a known unit.
Absence of a resource says nothing: a field without a statement stays unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final

from service.planning import codes
from service.planning.clinical import ClinicalInput, read_clinical
from service.planning.document import Unread
from service.planning.errors import ClinicalInputError, FieldProblem
from service.planning.fhir_parts import (
    Gathered,
    Json,
    by_prefix,
    codings,
    moment_of,
    named,
    part,
    settle,
    states,
)
from service.planning.inputs import LISTS

MAX_ENTRIES: Final = 10_000

NOT_IN_FORCE: Final = frozenset({"entered-in-error", "refuted", "cancelled", "preliminary"})
"""Codes of any status by which a statement does not count."""


def from_fhir(bundle: object, *, on: date | None = None) -> tuple[ClinicalInput, list[Unread]]:
    """Read a Bundle.

    Args:
        bundle: As it comes from JSON.
        on: Day on which the patient's age is counted from Patient.birthDate; None leaves it out.

    Returns:
        The clinical input, and every resource or statement that was not used, with the reason.

    Raises:
        ClinicalInputError: It is no Bundle, it is too large, or a value is out of range.
    """
    if not isinstance(bundle, Mapping) or bundle.get("resourceType") != "Bundle":
        raise ClinicalInputError((FieldProblem("resourceType", "a FHIR Bundle is needed"),))
    entries = bundle.get("entry") or []
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        raise ClinicalInputError(
            (FieldProblem("entry", f"a list of at most {MAX_ENTRIES} is needed"),)
        )
    gathered = Gathered()
    for place, entry in enumerate(entries):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        kind = resource.get("resourceType") if isinstance(resource, dict) else None
        where = f"entry[{place}]"
        if not isinstance(resource, dict) or not isinstance(kind, str):
            gathered.leave(where, "no_resource")
            continue
        _read(resource, kind, f"{where}.{kind}"[:80], gathered, on)
    return read_clinical(settle(gathered)), gathered.unread


def _read(resource: Json, kind: str, where: str, gathered: Gathered, on: date | None) -> None:
    if not NOT_IN_FORCE.isdisjoint(states(resource)):
        gathered.leave(where, "not_in_force")
    elif kind == "Observation":
        _read_observation(resource, where, gathered)
    elif kind == "Condition":
        _read_condition(resource, where, gathered)
    elif kind == "AllergyIntolerance":
        _read_allergy(resource, where, gathered)
    elif kind == "MedicationStatement":
        _read_medication(resource, where, gathered)
    elif kind == "Patient":
        _read_patient(resource, where, gathered, on)
    else:
        gathered.leave(where, "unknown_resource")


def _read_patient(resource: Json, where: str, gathered: Gathered, on: date | None) -> None:
    try:
        born = date.fromisoformat(str(resource.get("birthDate")))
    except ValueError:
        gathered.leave(where, "no_value", "birthDate")
        return
    if on is None or on < born:
        gathered.leave(where, "no_value", "birthDate")
        return
    before_birthday = (on.month, on.day) < (born.month, born.day)
    gathered.say("age_years", float(on.year - born.year - before_birthday))


def _read_observation(resource: Json, where: str, gathered: Gathered) -> None:
    for system, code in codings(resource.get("code")):
        if system == codes.OWN_SYSTEM:
            _read_own(resource, code, where, gathered)
            return
        if system == codes.LOINC and code in codes.NUMBERS:
            _read_number(resource, code, where, gathered)
            return
        if (system, code) == (codes.LOINC, codes.PREGNANCY):
            _read_pregnancy(resource, where, gathered)
            return
    gathered.leave(where, "unknown_code", named(resource.get("code")))


def _read_pregnancy(resource: Json, where: str, gathered: Gathered) -> None:
    answers = codings(resource.get("valueCodeableConcept"))
    said = [codes.PREGNANCY_ANSWERS[a] for a in answers if a in codes.PREGNANCY_ANSWERS]
    if said:
        gathered.say("pregnancy", said[0], moment_of(resource))
    else:
        gathered.leave(where, "no_value", "pregnancy")


def _read_number(resource: Json, code: str, where: str, gathered: Gathered) -> None:
    name, factors = codes.NUMBERS[code]
    quantity = part(resource, "valueQuantity")
    value = quantity.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        gathered.leave(where, "no_value", name)
    elif quantity.get("comparator"):
        gathered.leave(where, "comparator", name)
    elif (unit := str(quantity.get("code") or quantity.get("unit") or "")) not in factors:
        gathered.leave(where, "unknown_unit", name)
    else:
        gathered.say(name, float(value) * factors[unit], moment_of(resource))


def _read_own(resource: Json, name: str, where: str, gathered: Gathered) -> None:
    """Read an observation whose code is a field of the clinical input."""
    if name not in ClinicalInput.model_fields or name == "schema_version":
        gathered.leave(where, "unknown_code", codes.OWN_SYSTEM)
        return
    answers = [code for _, code in codings(resource.get("valueCodeableConcept"))]
    if name in LISTS:
        if answers:
            gathered.lists.setdefault(name, []).extend(a for a in answers if a != "none")
        else:
            gathered.leave(where, "no_value", name)
        return
    number = part(resource, "valueQuantity").get("value")
    given = (resource.get("valueBoolean"), resource.get("valueInteger"), number, *answers[:1])
    value = next((item for item in given if item is not None), None)
    if isinstance(value, bool | str):
        gathered.say(name, value, moment_of(resource))
    elif isinstance(value, int | float):
        gathered.say(name, float(value), moment_of(resource))
    else:
        gathered.leave(where, "no_value", name)


def _read_condition(resource: Json, where: str, gathered: Gathered) -> None:
    status = next((code for _, code in codings(resource.get("clinicalStatus"))), "active")
    active = status in ("active", "recurrence", "relapse")
    for system, code in codings(resource.get("code")):
        said = _condition_field(system, code)
        if said is not None:
            name, value = said
            if name == "cancer_history" and status in codes.PAST_CANCER:
                gathered.say(name, "past")
            elif active:
                gathered.say(name, value)
            else:
                gathered.leave(where, "not_in_force", name)
            return
        bears_on = _judgement(system, code)
        if bears_on is not None:
            gathered.leave(where, "needs_judgement", bears_on)
            return
    gathered.leave(where, "unknown_code", named(resource.get("code")))


def _condition_field(system: str, code: str) -> tuple[str, bool | str] | None:
    if system == codes.SNOMED:
        return codes.CONDITIONS.get(code)
    if system in codes.ICD10:
        return by_prefix(codes.CONDITION_PREFIXES, code.replace(".", ""))
    return None


def _judgement(system: str, code: str) -> str | None:
    if system == codes.SNOMED:
        return codes.JUDGEMENTS.get(code)
    return by_prefix(codes.JUDGEMENTS, code.replace(".", "")) if system in codes.ICD10 else None


def _read_allergy(resource: Json, where: str, gathered: Gathered) -> None:
    status = next((code for _, code in codings(resource.get("clinicalStatus"))), "active")
    if status != "active":
        gathered.leave(where, "not_in_force")
        return
    for system, code in codings(resource.get("code")):
        if (system, code) == (codes.SNOMED, codes.NO_KNOWN_ALLERGY):
            for name in codes.ALLERGY_FIELDS:
                gathered.say(name, value=False)
            return
        name = codes.ALLERGIES.get(code, "") if system == codes.SNOMED else ""
        name = code if system == codes.OWN_SYSTEM else name
        if name in codes.ALLERGY_FIELDS:
            gathered.say(name, value=True)
            return
    gathered.leave(where, "unknown_code", named(resource.get("code")))


def _read_medication(resource: Json, where: str, gathered: Gathered) -> None:
    # R4 has the concept at the top and the state in `status`; R5 moved both.
    concept = resource.get("medicationCodeableConcept", part(resource, "medication").get("concept"))
    taken = [code for _, code in codings(part(resource, "adherence").get("code"))]
    state = taken[0] if taken else str(resource.get("status") or "")
    if state.startswith(("stopped", "not-taking", "not-taken", "completed", "draft", "intended")):
        gathered.leave(where, "not_in_force")
        return
    for system, code in codings(concept):
        if _is_antithrombotic(system, code):
            # Whether it could be held is for a clinician to say.
            if state.startswith("on-hold"):
                gathered.say("anticoagulation", "held")
            else:
                gathered.open.add("anticoagulation")
                gathered.leave(where, "needs_judgement", "anticoagulation")
            return
        therapy = by_prefix(codes.THERAPIES_ATC, code) if system == codes.ATC else None
        if therapy is not None:
            gathered.lists.setdefault("medical_therapy", []).append(therapy)
            return
    gathered.leave(where, "unknown_code", named(concept))


def _is_antithrombotic(system: str, code: str) -> bool:
    if system == codes.ATC:
        return code.startswith(codes.ANTITHROMBOTIC_ATC)
    return system == codes.RXNORM and code in codes.ANTITHROMBOTIC_RXNORM
