"""FHIR R5: a DiagnosticReport with Observations per body, following the HL7 DICOM SR mapping.

A measurement group of the SR is an Observation (category DCM 125007) with its measurements and
calls as members; identifiers are the DICOM UIDs, so that both say the same of the same thing.
Status is preliminary until a reader has verified the report.
Source: HL7 FHIR R5 (5.0.0); HL7 "DICOM SR to FHIR Resource Mapping" 1.0.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from service.ingest.records import Ingested
from service.report import codes
from service.report.coded import answers, limits, measured_values, remarks
from service.report.dicom.identity import (
    MANUFACTURER,
    MODEL_NAME,
    content_key,
    derived_uid,
    device_uid,
    software_version,
    tracking_uid,
)
from service.report.document import LevelReport, Status, StudyReport
from service.report.headline import level_title
from service.report.written import Written

SYSTEMS: Final = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org",
    codes.SCHEME: f"urn:oid:{derived_uid('codes')}",
}
DICOM_UID: Final = "urn:dicom:uid"
MEASUREMENT_GROUP: Final = Code("125007", "DCM", "Measurement Group")
REPORT_TITLE: Final = Code("126000", "DCM", "Imaging Measurement Report")
IMAGING: Final = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "imaging",
        }
    ]
}
REPORT_STATUS: Final = {
    Status.PRELIMINARY: "preliminary",
    Status.VERIFIED: "final",
    Status.SUPERSEDED: "cancelled",
}


def to_fhir(report: StudyReport, ingested: Ingested, written: Written) -> bytes:
    """Write a Bundle of type collection: DiagnosticReport, Device, Observations.

    Args:
        report: Of any study, readable or not.
        ingested: Its source headers name the patient and the order.
        written: When, and by whose word.

    Returns:
        JSON; equal reports of equal time give equal bytes.
    """
    source = next(iter(ingested.headers.values()), Dataset())
    bundle = _Bundle(report, source, written, content_key(report))
    resources = list(bundle.resources())
    document = {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": bundle.time,
        "entry": [
            {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}
            for resource in resources
        ],
    }
    return f"{json.dumps(document, indent=1, ensure_ascii=False)}\n".encode()


def _concept(code: Code, text: str = "") -> dict[str, Any]:
    coding = {
        "system": SYSTEMS[code.scheme_designator],
        "code": code.value,
        "display": code.meaning,
    }
    return {"coding": [coding], **({"text": text} if text else {})}


@dataclass(frozen=True, slots=True)
class _Bundle:
    report: StudyReport
    source: Dataset
    written: Written
    key: str

    @property
    def time(self) -> str:
        return self.written.created.astimezone(UTC).isoformat(timespec="seconds")

    @property
    def status(self) -> str:
        return REPORT_STATUS[self.report.status]

    def resources(self) -> Iterator[dict[str, Any]]:
        groups: list[str] = []
        observations: list[dict[str, Any]] = []
        for level in self.report.levels:
            members = list(self._members(level))
            group = self._group(level, members)
            groups.append(group["id"])
            observations += [group, *members]
        yield self._diagnostic_report(groups)
        yield self._device()
        yield from observations

    def _id(self, *parts: str) -> str:
        return str(uuid5(NAMESPACE_OID, "/".join((self.key, *parts))))

    def _about(self) -> dict[str, Any]:
        """Whose it is and what it was made from, by identifiers: no resource is assumed."""
        about: dict[str, Any] = {}
        if patient := str(self.source.get("PatientID") or ""):
            about["subject"] = {"type": "Patient", "identifier": {"value": patient}}
        return about

    def _diagnostic_report(self, groups: list[str]) -> dict[str, Any]:
        resource: dict[str, Any] = {
            "resourceType": "DiagnosticReport",
            "id": self._id("report"),
            "status": self.status,
            "category": [_concept(codes.MRI)],
            "code": _concept(REPORT_TITLE),
            **self._about(),
            "issued": self.time,
            "result": [{"reference": f"urn:uuid:{identity}"} for identity in groups],
            "conclusion": " ".join(remarks(self.report)),
        }
        if study := self.report.study.study_instance_uid:
            resource["study"] = [
                {
                    "type": "ImagingStudy",
                    "identifier": {"system": DICOM_UID, "value": f"urn:oid:{study}"},
                }
            ]
        if accession := str(self.source.get("AccessionNumber") or ""):
            kind = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}
            resource["basedOn"] = [
                {
                    "type": "ServiceRequest",
                    "identifier": {"type": {"coding": [kind]}, "value": accession},
                }
            ]
        if not groups:
            del resource["result"]
        return resource

    def _device(self) -> dict[str, Any]:
        return {
            "resourceType": "Device",
            "id": self._id("device"),
            "identifier": [{"system": DICOM_UID, "value": f"urn:oid:{device_uid()}"}],
            "manufacturer": MANUFACTURER,
            "name": [{"value": MODEL_NAME, "type": "user-friendly-name", "display": True}],
            "version": [{"value": software_version()}],
        }

    def _observation(self, level: LevelReport, *parts: str) -> dict[str, Any]:
        return {
            "resourceType": "Observation",
            "id": self._id(str(level.label_value), *parts),
            "status": self.status,
            **self._about(),
            "issued": self.time,
            "bodySite": _concept(codes.vertebra_code(level.level), level_title(level)),
            "device": {"reference": f"urn:uuid:{self._id('device')}"},
        }

    def _group(self, level: LevelReport, members: list[dict[str, Any]]) -> dict[str, Any]:
        uid = tracking_uid(self.key, level.label_value)
        group = {
            **self._observation(level),
            "identifier": [{"system": DICOM_UID, "value": f"urn:oid:{uid}"}],
            "category": [_concept(MEASUREMENT_GROUP), IMAGING],
            "code": _concept(MEASUREMENT_GROUP),
            "valueCodeableConcept": _concept(codes.VERTEBRA, level_title(level)),
            "hasMember": [{"reference": f"urn:uuid:{member['id']}"} for member in members],
            "note": [{"text": text} for text in limits(level)],
        }
        return {name: value for name, value in group.items() if value != []}

    def _members(self, level: LevelReport) -> Iterator[dict[str, Any]]:
        for name, value, unit in measured_values(level):
            yield {
                **self._observation(level, name.value),
                "category": [IMAGING],
                "code": _concept(name),
                "valueQuantity": {
                    "value": value,
                    "unit": unit.meaning,
                    "system": SYSTEMS["UCUM"],
                    "code": unit.value,
                },
            }
        for question, answer in answers(level):
            yield {
                **self._observation(level, question.value),
                "category": [IMAGING],
                "code": _concept(question),
                "valueCodeableConcept": _concept(answer),
            }
