"""Attributes that every kind of instance carries: patient, study, series, equipment, file meta."""

from __future__ import annotations

from typing import Final, Protocol

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from training.phantom.dicom.content import SeriesSheet
from training.phantom.dicom.identity import STUDY_DATE, Identity, series_time

_IMPLEMENTATION_UID: Final = UID("2.25.180113355436012331216353871935418541893")
_SEX: Final = {"female": "F", "male": "M", "F": "F", "M": "M"}
GYROMAGNETIC_MHZ_PER_T: Final = 42.577
CONTRAST_AGENT: Final = "Gadolinium"


class Person(Protocol):
    """Whom a study is of; `SpineCase` is one."""

    @property
    def seed(self) -> int:
        """That the person was drawn with."""

    @property
    def sex(self) -> str:
        """One of "female", "male"."""

    @property
    def age_years(self) -> float:
        """At the time of the scan."""


def decimal(value: float) -> str:
    """A DICOM decimal string: at most 16 characters (PS3.5 6.2).

    Raises:
        ValueError: The number is too large for it.
    """
    for digits in range(10, 3, -1):
        text = f"{value:.{digits}f}".rstrip("0").rstrip(".")
        if len(text) <= 16:
            return "0" if text == "-0" else text
    raise ValueError("number does not fit a decimal string")


def new_instance(
    identity: Identity, person: Person, sheet: SeriesSheet, sop_class: UID
) -> FileDataset:
    """A dataset with all that the instances of a series have in common, without their UID."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION_UID
    meta.ImplementationVersionName = "ACUITY_PHANTOM"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    sets = sheet.habits.character_sets
    dataset.SpecificCharacterSet = list(sets) if len(sets) > 1 else sets[0]
    dataset.SOPClassUID = sop_class
    _describe_patient(dataset, person)
    _describe_study(dataset, identity, sheet)
    _describe_series(dataset, identity, sheet)
    return dataset


def name_instance(dataset: FileDataset, uid: str, number: int) -> None:
    """Give an instance its UID and number."""
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    dataset.SOPInstanceUID = uid
    dataset.InstanceNumber = number


def _describe_patient(dataset: Dataset, person: Person) -> None:
    dataset.PatientName = f"SYNTHETIC^PHANTOM {person.seed}"
    dataset.PatientID = f"SYNTHETIC-{person.seed}"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = _SEX.get(person.sex, "O")
    dataset.PatientAge = f"{round(person.age_years):03d}Y"


def _describe_study(dataset: Dataset, identity: Identity, sheet: SeriesSheet) -> None:
    dataset.StudyInstanceUID = identity.study_uid
    dataset.StudyDate = STUDY_DATE
    dataset.StudyTime = series_time(0)
    dataset.StudyID = "1"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    if sheet.habits.study_description:
        dataset.StudyDescription = sheet.habits.study_description


def _describe_series(dataset: Dataset, identity: Identity, sheet: SeriesSheet) -> None:
    dataset.Modality = "MR"
    dataset.SeriesInstanceUID = sheet.series_uid
    dataset.SeriesNumber = sheet.number
    dataset.SeriesDate = dataset.ContentDate = STUDY_DATE
    dataset.SeriesTime = dataset.ContentTime = series_time(sheet.order)
    if sheet.names.description:
        dataset.SeriesDescription = sheet.names.description
    if sheet.names.protocol_name:
        dataset.ProtocolName = sheet.names.protocol_name.strip()
    if sheet.habits.body_part:
        dataset.BodyPartExamined = sheet.habits.body_part
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = identity.frame_uid
    dataset.PositionReferenceIndicator = ""
    dataset.Manufacturer = sheet.scanner.manufacturer
    dataset.ManufacturerModelName = sheet.scanner.model
    dataset.SoftwareVersions = list(sheet.scanner.software)
    dataset.InstitutionName = "SYNTHETIC"
    dataset.DeviceSerialNumber = "0"
    dataset.ImageComments = "Synthetic image, no patient"
