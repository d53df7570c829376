"""What every object we write shares: whose study it is, who made it, and UIDs that repeat.

The same report made twice has the same UIDs, so that an archive that is sent it again holds it
once. Equipment is told as AIR asks (IHE AI Results 1.3, 6.5.3.1: Contributing Equipment with a
Device UID, equal to what the SR's content says).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final
from uuid import UUID, uuid5

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code

from models.errors import AcuityError
from service.ingest.records import OWN_MODEL_NAME
from service.report.document import StudyReport
from service.report.written import Written

MANUFACTURER: Final = "The vertebral-acuity authors"
MODEL_NAME: Final = OWN_MODEL_NAME
SERIES_DESCRIPTION: Final = "vertebral-acuity"
BODY_PART: Final = "SPINE"
"""Without a body part an image that is written needs Laterality, which a spine does not have."""

PROCESSING_EQUIPMENT: Final = Code("109102", "DCM", "Processing Equipment")

_NAMESPACE: Final = UUID("6f3c9a52-8f0e-5d55-9d6f-0f2f6f0a7c11")
"""Ours alone: everything derived from it is an identifier of this product."""

_STUDY_ATTRIBUTES: Final = (
    "SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate",
    "PatientSex", "PatientAge", "PatientSize", "PatientWeight", "OtherPatientIDsSequence",
    "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
    "IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "ReferencedStudySequence",
)  # fmt: skip
_EMPTY_WHERE_ABSENT: Final = frozenset(
    {
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
        "ReferringPhysicianName",
    }
)
"""Type 2 in the patient and study modules: present, and empty when not known."""

_SERIES_NUMBERS: Final = {"sr": 9301, "seg": 9302, "sc": 9303, "kos": 9304}
"""Far above what scanners give; one series for each kind of object."""


class NotWritableError(AcuityError):
    """A study whose result cannot be written as DICOM objects."""

    code = "dicom_not_writable"


def content_key(report: StudyReport) -> str:
    """Digest of all that a report says, its timings and the order of its files apart."""
    content: dict[str, Any] = report.model_dump(mode="json")
    content["provenance"].pop("timings_ms")
    content.pop("files")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def derived_uid(*parts: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) that is the same whenever it is derived from the same parts."""
    return f"2.25.{uuid5(_NAMESPACE, '/'.join(parts)).int}"


def tracking_uid(key: str, label_value: int) -> str:
    """Of a body, the same in every object of a report."""
    return derived_uid(key, "body", str(label_value))


def device_uid() -> str:
    """Of this software in this version."""
    return derived_uid("device", software_version())


def software_version() -> str:
    """Of the installed product."""
    return version("vertebral-acuity")


@dataclass(frozen=True, slots=True)
class ObjectIds:
    """Where an object stands: series and instance, derived from a report's content."""

    series_uid: str
    series_number: int
    instance_uid: str
    instance_number: int

    @classmethod
    def of(cls, key: str, kind: str, number: int = 1) -> ObjectIds:
        """Of the `number`th object of a kind ("sr", "seg", "sc", "kos") of a report."""
        return cls(
            derived_uid(key, kind, "series"),
            _SERIES_NUMBERS[kind],
            derived_uid(key, kind, "instance", str(number)),
            number,
        )


def equipment() -> dict[str, Any]:
    """Arguments of highdicom's constructors that name the maker."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MODEL_NAME,
        "software_versions": software_version(),
        "device_serial_number": software_version(),
    }


def complete(written: Dataset, source: Dataset, written_as: Written, description: str = "") -> None:
    """Give a written object the study's attributes, our equipment and a fixed time, in place.

    Args:
        written: Made by highdicom from `source` and its neighbours.
        source: Header of an image of the study.
        written_as: When it was made.
        description: Added to the series description.
    """
    for keyword in _STUDY_ATTRIBUTES:
        if keyword in source:
            setattr(written, keyword, source.get(keyword))
        elif keyword in _EMPTY_WHERE_ABSENT:
            setattr(written, keyword, "")
        elif keyword in written:
            delattr(written, keyword)
    written.Manufacturer = MANUFACTURER
    written.ManufacturerModelName = MODEL_NAME
    written.SoftwareVersions = software_version()
    written.DeviceSerialNumber = software_version()
    written.SeriesDescription = f"{SERIES_DESCRIPTION} {description}".strip()
    written.BodyPartExamined = source.get("BodyPartExamined") or BODY_PART
    written.ContributingEquipmentSequence = Sequence([_contribution(written_as)])
    _date(written, written_as.created)


def _contribution(written_as: Written) -> Dataset:
    purpose = Dataset()
    purpose.CodeValue = PROCESSING_EQUIPMENT.value
    purpose.CodingSchemeDesignator = PROCESSING_EQUIPMENT.scheme_designator
    purpose.CodeMeaning = PROCESSING_EQUIPMENT.meaning
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Sequence([purpose])
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = MODEL_NAME
    item.SoftwareVersions = software_version()
    item.DeviceUID = device_uid()
    item.ContributionDateTime = f"{written_as.created.astimezone(UTC):%Y%m%d%H%M%S}+0000"
    item.ContributionDescription = "Preliminary machine reading of vertebral bodies"
    return item


def _date(written: Dataset, created: datetime) -> None:
    """Replace the clock's times, which would make every run's bytes differ."""
    when = created.astimezone(UTC)
    dates: Mapping[str, str] = {
        "InstanceCreationDate": f"{when:%Y%m%d}",
        "InstanceCreationTime": f"{when:%H%M%S}",
        "ContentDate": f"{when:%Y%m%d}",
        "ContentTime": f"{when:%H%M%S}",
        "DateOfSecondaryCapture": f"{when:%Y%m%d}",
        "TimeOfSecondaryCapture": f"{when:%H%M%S}",
        "SeriesDate": f"{when:%Y%m%d}",
        "SeriesTime": f"{when:%H%M%S}",
    }
    for keyword, value in dates.items():
        if keyword in written or keyword.startswith(("Content", "Instance")):
            setattr(written, keyword, value)
    written.TimezoneOffsetFromUTC = "+0000"
