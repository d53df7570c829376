"""FHIR R5 drafts of a planning document: a CarePlan, and a ServiceRequest per ordered level.

A level that something else comes before is no request for a procedure; the CarePlan says why.

Drafts only: status "draft" and intent "proposal", whatever the document says. The patient is named
by the study alone, for the report holds no patient data; the ordering system fills in its own.
Source: HL7 FHIR R5 (5.0.0), CarePlan and ServiceRequest.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from models.anatomy import SNOMED_VERTEBRA
from service.planning.document import LevelPlan, PlanningDocument
from service.planning.rendering.words import OUTCOME_WORDS, ROUTE_WORDS

SNOMED: Final = "http://snomed.info/sct"
DICOM_UID: Final = "urn:dicom:uid"
VERTEBRA_UNSPECIFIED: Final = "51282000"


def to_fhir(document: PlanningDocument) -> bytes:
    """Write a Bundle of type collection: the CarePlan first, then the ServiceRequests.

    Returns:
        JSON, validated against the R5 models; the same document gives the same bytes.
    """
    # Its models cost most of a second to import, which no other output needs.
    from fhir.resources.bundle import Bundle  # noqa: PLC0415

    ordered = {item.label_value for item in document.session.levels}
    requests = [
        _request(document, level) for level in document.levels if level.label_value in ordered
    ]
    plan = _care_plan(document, [f"urn:uuid:{request['id']}" for request in requests])
    bundle = Bundle.model_validate(
        {
            "resourceType": "Bundle",
            "type": "collection",
            "timestamp": document.created.isoformat(),
            "entry": [
                {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}
                for resource in (plan, *requests)
            ],
        }
    )
    return f"{bundle.model_dump_json(indent=2)}\n".encode()


def _care_plan(document: PlanningDocument, requests: list[str]) -> dict[str, Any]:
    patient = document.patient
    notes = [document.statement, *(rule.sentence for rule in patient.fired)]
    notes += [
        f"{item.level or f'Body {item.label_value}'}: {ROUTE_WORDS[item.route]}."
        for item in document.session.routed_first
    ]
    missing = "; ".join(value.label for value in document.missing)
    if missing:
        notes.append(f"Missing, and not taken as normal: {missing}.")
    care_plan = {
        "resourceType": "CarePlan",
        "id": _id(document, "plan"),
        "status": "draft",
        "intent": "proposal",
        "title": "Vertebroplasty planning document",
        "description": (
            f"{OUTCOME_WORDS[patient.outcome]}. {ROUTE_WORDS[patient.route]}. Profile "
            f"{document.profile.name} {document.profile.version}."
        ),
        "subject": _subject(document),
        "created": document.created.isoformat(),
        "supportingInfo": [_study(document)],
        "note": [{"text": text} for text in notes],
    }
    if requests:
        care_plan["activity"] = [
            {"plannedActivityReference": {"reference": url}} for url in requests
        ]
    return care_plan


def _request(document: PlanningDocument, level: LevelPlan) -> dict[str, Any]:
    name = level.level
    site = SNOMED_VERTEBRA.get(name, VERTEBRA_UNSPECIFIED) if name else VERTEBRA_UNSPECIFIED
    outcome = level.outcome
    notes = [document.statement, *(rule.sentence for rule in level.fired)]
    return {
        "resourceType": "ServiceRequest",
        "id": _id(document, f"level {level.label_value}"),
        "status": "draft",
        "intent": "proposal",
        "code": {
            "concept": {
                # No code was verified for the procedure, so it is named and not coded.
                "text": (
                    f"Vertebroplasty of {level.title}: "
                    f"{OUTCOME_WORDS[outcome].lower() if outcome else 'not a candidate'}"
                ),
            }
        },
        "subject": _subject(document),
        "authoredOn": document.created.isoformat(),
        "bodySite": [{"coding": [{"system": SNOMED, "code": site}], "text": level.title}],
        "supportingInfo": [{"reference": _study(document)}],
        "note": [{"text": text} for text in notes],
    }


def _subject(document: PlanningDocument) -> dict[str, Any]:
    return {"display": "Patient of the study", "identifier": _identifier(document)}


def _study(document: PlanningDocument) -> dict[str, Any]:
    return {"type": "ImagingStudy", "identifier": _identifier(document)}


def _identifier(document: PlanningDocument) -> dict[str, str]:
    uid = document.study.study_instance_uid or "unknown"
    return {"system": DICOM_UID, "value": f"urn:oid:{uid}"}


def _id(document: PlanningDocument, part: str) -> str:
    """An id that the same plan of the same study has again."""
    study = document.study.study_instance_uid
    profile = document.profile
    return str(uuid5(NAMESPACE_OID, f"{study} {profile.name} {profile.sha256} {part}"))
