"""Headers of the images a report was made from, for the DICOM objects that point back at them.

A result must carry the patient and study attributes of what it was made from, and refer to its
images. Only these elements are read again, by the same bounded parser that took the inventory.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from service.ingest.headers import PARSING_ERRORS, parse_dataset, quiet_pydicom
from service.ingest.records import InstanceRecord
from service.ingest.refusals import RefusedError
from service.ingest.safety import Limits
from service.ingest.structure import read_structure

_KEYWORDS: Final = (
    # patient and study (PS3.3 C.7.1, C.7.2)
    "SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate",
    "PatientSex", "PatientAge", "PatientSize", "PatientWeight", "OtherPatientIDsSequence",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
    "IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "TimezoneOffsetFromUTC",
    "RequestAttributesSequence", "ReferencedStudySequence", "PatientIdentityRemoved",
    "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
    # series, frame of reference, instance
    "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID", "SeriesNumber",
    "SeriesDescription", "BodyPartExamined", "Laterality", "PatientPosition",
    "FrameOfReferenceUID", "PositionReferenceIndicator", "InstanceNumber", "ImageType",
    "Manufacturer", "ManufacturerModelName",
    # image plane, classic and enhanced
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
_TAGS: Final = [tag for keyword in _KEYWORDS if (tag := tag_for_keyword(keyword)) is not None]


def source_headers(records: Iterable[InstanceRecord], limits: Limits) -> dict[str, Dataset]:
    """Read the headers of instances whose pixels were used.

    Args:
        records: Of instances that passed the inventory; repeated ones are read once.
        limits: Those of the inventory.

    Returns:
        SOP Instance UID to a dataset without pixels, in the order given. An instance whose header
        cannot be read a second time (its file is gone) is left out.
    """
    headers: dict[str, Dataset] = {}
    for record in records:
        if record.sop_instance_uid in headers:
            continue
        try:
            with record.path.open("rb") as file:
                size = record.path.stat().st_size
                dataset = _settled(parse_dataset(read_structure(file, size, limits), _TAGS))
        except (OSError, RefusedError):
            continue
        headers[record.sop_instance_uid] = dataset
    return headers


def _settled(dataset: Dataset) -> Dataset:
    """Convert every value here, where remarks on them are kept out of logs; drop what cannot be."""
    with quiet_pydicom():
        for tag in list(dataset.keys()):
            try:
                element = dataset[tag]
                for item in element.value if element.VR == "SQ" else ():
                    for _ in item.iterall():
                        pass
            except PARSING_ERRORS:
                del dataset[tag]
    return dataset
