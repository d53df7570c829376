"""FHIR R5: a DiagnosticReport with Observations per body, following the HL7 DICOM SR mapping.

A measurement group of the SR is an Observation (category DCM 125007) with its measurements and
calls as members; identifiers are the DICOM UIDs, so that both say the same of the same thing.
Status is preliminary until a reader has verified the report.
Source: HL7 FHIR R5 (5.0.0); HL7 "DICOM SR to FHIR Resource Mapping" 1.0.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from service.report import codes
from service.report.coded import answers, limits, measured_values, remarks
from service.report.dicom.identity import (
    MANUFACTURER,
    MODEL_NAME,
    ObjectIds,
    derived_uid,
    device_uid,
    software_version,
)
from service.report.dicom.tracking import Tracked
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
SEGMENTATION: Final = Code("113076", "DCM", "Segmentation")
MEASUREMENT_GROUP: Final = Code("125007", "DCM", "Measurement Group")
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


def to_fhir(
    report: StudyReport,
    bodies: Sequence[Tracked],
    study: Dataset,
    key: str,
    written_as: Written,
    *,
    segmented: bool = False,
) -> bytes:
    """Write a Bundle of type collection: DiagnosticReport, Device, Observations, ImagingSelections.

    Args:
        report: Of any study, readable or not.
        bodies: One for each level of the report.
        study: Of `study_attributes`: names the patient and the order; empty where no image was.
        key: Of `content_key`.
        written_as: When, after what, and by whose word.
        segmented: The report has a SEG, to refer to.

    Returns:
        JSON; equal reports of equal time give equal bytes.
    """
    bundle = _Bundle(report, bodies, study, key, written_as, segmented)
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


def _dicom_identifier(uid: str) -> dict[str, str]:
    return {"system": DICOM_UID, "value": f"urn:oid:{uid}"}


def _references(resources: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"reference": f"urn:uuid:{resource['id']}"} for resource in resources]


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
    bodies: Sequence[Tracked]
    study: Dataset
    key: str
    written_as: Written
    segmented: bool

    @property
    def time(self) -> str:
        return self.written_as.created.astimezone(UTC).isoformat(timespec="seconds")

    @property
    def status(self) -> str:
        if self.report.review is not None and self.report.review.decision == "reject":
            return "entered-in-error"
        if self.report.status is Status.VERIFIED and self.written_as.supersedes_verified:
            return "amended"
        return REPORT_STATUS[self.report.status]

    def resources(self) -> Iterator[dict[str, Any]]:
        groups: list[str] = []
        observations: list[dict[str, Any]] = []
        for level, body in zip(self.report.levels, self.bodies, strict=True):
            members = list(self._members(level))
            selection = list(self._selection(level, body))
            group = self._group(level, body, members, selection)
            groups.append(group["id"])
            observations += [group, *members, *selection]
        yield self._diagnostic_report(groups)
        yield self._device()
        yield from observations

    def _id(self, *parts: str) -> str:
        return str(uuid5(NAMESPACE_OID, "/".join((self.key, *parts))))

    def _about(self) -> dict[str, Any]:
        """Whose it is and what it was made from, by identifiers: no resource is assumed."""
        about: dict[str, Any] = {}
        if patient := str(self.study.get("PatientID") or ""):
            about["subject"] = {"type": "Patient", "identifier": {"value": patient}}
        return about

    def _diagnostic_report(self, groups: list[str]) -> dict[str, Any]:
        resource: dict[str, Any] = {
            "resourceType": "DiagnosticReport",
            "id": self._id("report"),
            "identifier": [_dicom_identifier(ObjectIds.of(self.key, "sr").instance_uid)],
            "status": self.status,
            "category": [_concept(codes.MRI)],
            "code": _concept(codes.REPORT_TITLE),
            **self._about(),
            "issued": self.time,
            "result": [{"reference": f"urn:uuid:{identity}"} for identity in groups],
            "conclusion": " ".join(remarks(self.report)),
        }
        if study := self.report.study.study_instance_uid:
            resource["study"] = [
                {
                    "type": "ImagingStudy",
                    "identifier": _dicom_identifier(study),
                }
            ]
        if accession := str(self.study.get("AccessionNumber") or ""):
            kind = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}
            resource["basedOn"] = [
                {
                    "type": "ServiceRequest",
                    "identifier": {"type": {"coding": [kind]}, "value": accession},
                }
            ]
        if self.written_as.verified_by:
            resource["resultsInterpreter"] = [{"display": self.written_as.verified_by}]
        if not groups:
            del resource["result"]
        return resource

    def _device(self) -> dict[str, Any]:
        return {
            "resourceType": "Device",
            "id": self._id("device"),
            "identifier": [_dicom_identifier(device_uid())],
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

    def _group(
        self,
        level: LevelReport,
        body: Tracked,
        members: list[dict[str, Any]],
        selection: list[dict[str, Any]],
    ) -> dict[str, Any]:
        group = {
            **self._observation(level),
            "identifier": [_dicom_identifier(body.tracking_uid)],
            "category": [_concept(MEASUREMENT_GROUP), IMAGING],
            "code": _concept(MEASUREMENT_GROUP),
            "valueCodeableConcept": _concept(codes.VERTEBRA, level_title(level)),
            "hasMember": _references(members),
            "derivedFrom": _references(selection),
            "note": [{"text": text} for text in limits(level)],
        }
        return {name: value for name, value in group.items() if value != []}

    def _selection(self, level: LevelReport, body: Tracked) -> Iterator[dict[str, Any]]:
        """The body's segment in the SEG."""
        if not self.segmented or body.segment is None:
            return
        ids = ObjectIds.of(self.key, "seg")
        about = self._about()
        yield {
            "resourceType": "ImagingSelection",
            "id": self._id(str(level.label_value), "segment"),
            "status": "available",
            **about,
            "code": _concept(SEGMENTATION),
            "studyUid": self.report.study.study_instance_uid,
            "seriesUid": ids.series_uid,
            "bodySite": {"concept": _concept(codes.vertebra_code(level.level), level_title(level))},
            "instance": [
                {
                    "uid": ids.instance_uid,
                    "sopClass": {
                        "system": "urn:ietf:rfc:3986",
                        "code": f"urn:oid:{SegmentationStorage}",
                    },
                    "subset": [str(body.segment)],
                }
            ],
        }

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
