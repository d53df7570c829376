"""What every object we write shares: whose study it is, who made it, and UIDs that repeat.

The same report made twice has the same UIDs, so that an archive that is sent it again holds it
once. Equipment is told as AIR asks (IHE AI Results 1.3, 6.5.3.1: Contributing Equipment with a
Device UID, equal to what the SR's content says).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import Any, Final
from uuid import UUID, uuid5

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code

from service.ingest.records import OWN_MODEL_NAME
from service.report.dicom.sources import copy_study, set_character_set
from service.report.document import StudyReport
from service.report.written import Written

MANUFACTURER: Final = "The vertebral-acuity authors"
MODEL_NAME: Final = OWN_MODEL_NAME
BODY_PART: Final = "SPINE"
"""Of the images we write: without one they need Laterality, which a spine does not have."""

PROCESSING_EQUIPMENT: Final = Code("109102", "DCM", "Processing Equipment")

_NAMESPACE: Final = UUID("6f3c9a52-8f0e-5d55-9d6f-0f2f6f0a7c11")
"""Ours alone: everything derived from it is an identifier of this product."""

_DATES: Final = (
    "InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime", "SeriesDate",
    "SeriesTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture",
)  # fmt: skip

_SERIES_NUMBERS: Final = {"sr": 9301, "seg": 9302, "sc": 9303, "kos": 9304, "rejection": 9305}
"""Far above what scanners give; one series for each kind of object."""


def content_key(report: StudyReport, images: Iterable[str]) -> str:
    """Digest of all that a report says and rests on, its timings and names of files apart.

    Args:
        report: Of any study.
        images: SOP Instance UIDs of what it was made from.
    """
    content: dict[str, Any] = report.model_dump(mode="json")
    content["provenance"].pop("timings_ms")
    content.pop("files")
    text = json.dumps([content, sorted(images)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def derived_uid(*parts: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) that is the same whenever it is derived from the same parts."""
    return f"2.25.{uuid5(_NAMESPACE, '/'.join(parts)).int}"


def tracking_uid(key: str, label_value: int) -> str:
    """Of a body, the same in every object of a report."""
    return derived_uid(key, "body", str(label_value))


def edema_tracking_uid(key: str) -> str:
    """Of a report's marrow edema, in SR and SEG."""
    return derived_uid(key, "edema")


def device_uid() -> str:
    """Of this software in this version."""
    return derived_uid("device", software_version())


@cache
def software_version() -> str:
    """Of the installed product; it is looked up on disk, and a study's objects ask 30 times."""
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
        """Of the `number`th object of a kind ("sr", "seg", "sc", "kos", …) of a report."""
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


def complete(written: Dataset, study: Dataset, written_as: Written, description: str) -> None:
    """Give a written object the study's attributes, our equipment and a fixed time, in place.

    Args:
        written: Made by highdicom.
        study: Of `study_attributes`.
        written_as: When it was made.
        description: Added to the series description.
    """
    copy_study(study, written)
    written.Manufacturer = MANUFACTURER
    written.ManufacturerModelName = MODEL_NAME
    written.SoftwareVersions = software_version()
    written.DeviceSerialNumber = software_version()
    written.SeriesDescription = f"{MODEL_NAME} {description}"
    written.ContributingEquipmentSequence = Sequence([_contribution(written_as)])
    _date(written, local_time(study, written_as.created))
    set_character_set(written)


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
    item.ContributionDateTime = stamp(written_as.created)
    item.ContributionDescription = "Preliminary machine reading of vertebral bodies"
    return item


def local_time(study: Dataset, created: datetime) -> datetime:
    """Time on the clock that a study's dates are of: they tell no zone, or one for all of them."""
    stated = str(study.get("TimezoneOffsetFromUTC", ""))
    return created.astimezone(datetime.strptime(stated, "%z").tzinfo if stated else None)


def stamp(when: datetime) -> str:
    """A DICOM DT that names its zone."""
    return f"{when:%Y%m%d%H%M%S%z}"


def _date(written: Dataset, when: datetime) -> None:
    """Replace the clock's times, which would make every run's bytes differ."""
    for keyword in _DATES:
        if keyword in written or keyword.startswith(("Content", "Instance")):
            form = "%Y%m%d" if "Date" in keyword else "%H%M%S"
            setattr(written, keyword, when.strftime(form))
