"""What results take from the images they were made from: whose they are, and where they lie.

The two are kept apart. Whose they are is copied as it stands, but for values that break the rules
of DICOM and would break them again in ours; an identifier is copied whatever it looks like, since
an archive files by it. What lies where goes to highdicom without any of that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from models.errors import AcuityError
from service.report.result import StudyResult

UTF_8: Final = "ISO_IR 192"

_COPIED: Final = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "PatientAge", "PatientSize", "PatientWeight", "OtherPatientIDsSequence",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription",
    "AccessionNumber", "IssuerOfAccessionNumberSequence", "ReferringPhysicianName",
    "ReferencedStudySequence", "TimezoneOffsetFromUTC", "PatientIdentityRemoved",
    "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)  # fmt: skip
_TYPE_2: Final = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Of the patient and study modules: present, and empty when not known."""

_RULES: Final[Mapping[str, Callable[[str], object]]] = {
    "PatientBirthDate": re.compile(r"\d{8}").fullmatch,
    "PatientSex": re.compile(r"[MFO]").fullmatch,
    "PatientAge": re.compile(r"\d{3}[DWMY]").fullmatch,
    "PatientSize": re.compile(r"\d{1,3}(\.\d{1,6})?").fullmatch,
    "PatientWeight": re.compile(r"\d{1,3}(\.\d{1,6})?").fullmatch,
    "StudyDate": re.compile(r"\d{8}").fullmatch,
    "StudyTime": re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?").fullmatch,
    "StudyID": re.compile(r".{0,16}").fullmatch,
    "StudyDescription": re.compile(r".{0,64}").fullmatch,
    "TimezoneOffsetFromUTC": re.compile(r"[+-](0\d|1[0-4])[0-5]\d").fullmatch,
}
"""Values that do not match are left out (PS3.5 6.2); they identify nothing."""

_TECHNICAL: Final = (
    "SOPClassUID", "SOPInstanceUID", "Modality", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "PositionReferenceIndicator", "InstanceNumber", "ImageType",
    "Rows", "Columns", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip


class NotWritableError(AcuityError):
    """A study whose result cannot be written as DICOM objects."""

    code = "dicom_not_writable"


@dataclass(frozen=True, slots=True)
class Sources:
    """What is known of the images behind a result.

    Attributes:
        study: Attributes of patient and study for every object.
        reference: Where the reference volume's images lie, in the order of its slices.
        evidence: The same of every image that was used.
    """

    study: Dataset
    reference: tuple[Dataset, ...]
    evidence: tuple[Dataset, ...]


def sources_of(result: StudyResult) -> Sources:
    """Take from the headers of a result's images what its objects need.

    Raises:
        NotWritableError: No series was usable, or headers are missing: nothing could refer to the
            images.
    """
    volumes, headers = result.ingested.volumes, result.ingested.headers
    if volumes is None:
        raise NotWritableError("no series was usable: there is nothing to write objects about")
    uids = list(dict.fromkeys(uid for uid in volumes.reference.sop_instance_uids if uid))
    if not uids or any(uid not in headers for uid in uids):
        raise NotWritableError("the headers of the reference series are not at hand")
    technical = {uid: _technical(header) for uid, header in headers.items()}
    return Sources(
        study_of(result),
        tuple(technical[uid] for uid in uids),
        tuple(technical.values()),
    )


def study_of(result: StudyResult) -> Dataset:
    """Whose study a result is of, as its reference series says; empty where no image was used."""
    volumes, headers = result.ingested.volumes, result.ingested.headers
    uids = volumes.reference.sop_instance_uids if volumes is not None else ()
    known = [headers[uid] for uid in uids if uid in headers]
    return study_attributes(known[0] if known else Dataset())


def study_attributes(header: Dataset) -> Dataset:
    """Copy whose study it is; a type 2 attribute that is not known is empty."""
    study = Dataset()
    for keyword in _COPIED:
        if keyword in header and _keeps(keyword, str(header.get(keyword, ""))):
            _copy(header, study, keyword)
    for keyword in _TYPE_2:
        if study.get(keyword) is None:
            setattr(study, keyword, "")
    return study


def copy_study(study: Dataset, written: Dataset) -> None:
    """Give a written object the attributes of `study_attributes`, and none beside them."""
    for keyword in _COPIED:
        if keyword in study:
            _copy(study, written, keyword)
        elif keyword in written:
            delattr(written, keyword)


def set_character_set(written: Dataset) -> None:
    """Declare UTF-8 where any text needs it; ASCII needs no declaration and reads anywhere."""
    if all(_texts_are_ascii(written)):
        if "SpecificCharacterSet" in written:
            del written.SpecificCharacterSet
    else:
        written.SpecificCharacterSet = UTF_8


def _texts_are_ascii(written: Dataset) -> Iterable[bool]:
    texts = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
    return (str(element.value).isascii() for element in written.iterall() if element.VR in texts)


def _technical(header: Dataset) -> Dataset:
    technical = Dataset()
    # highdicom copies the patient from what it refers to and rejects what breaks a rule.
    for keyword in _TYPE_2:
        setattr(technical, keyword, "")
    for keyword in _TECHNICAL:
        if keyword in header:
            _copy(header, technical, keyword)
    return technical


def _copy(header: Dataset, to: Dataset, keyword: str) -> None:
    """Copy an element as it was read, without judging its value again."""
    tag = tag_for_keyword(keyword)
    if tag is not None:
        to[tag] = header[tag]


def _keeps(keyword: str, value: str) -> bool:
    rule = _RULES.get(keyword)
    return rule is None or not value or bool(rule(value))
