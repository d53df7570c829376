"""Which instance a received file is, read under limits before anything else touches its bytes."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from pydicom.datadict import tag_for_keyword
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from service.ingest.headers import parse_dataset, text_as_written
from service.ingest.records import OWN_MODEL_NAME
from service.ingest.safety import Budget, Limits, check_uid, inflate_deflated
from service.ingest.structure import Structure, read_structure

_KEYWORDS: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "ManufacturerModelName",
)
_TAGS: Final = {
    keyword: tag for keyword in _KEYWORDS if (tag := tag_for_keyword(keyword)) is not None
}


@dataclass(frozen=True, slots=True)
class InstanceIdentity:
    """What a file says it is.

    Attributes:
        own: Whether this product wrote it; such objects come back with their study and must
            never start work again.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    own: bool


def read_identity(path: Path, limits: Limits) -> InstanceIdentity:
    """Read the identity of one DICOM file, and nothing more.

    Args:
        path: A file in the DICOM File Format, or a dataset without its preamble.
        limits: Beyond them the file is refused.

    Raises:
        RefusedError: It is no DICOM, too deep, too long or damaged, or a UID of it is not one.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        structure = read_structure(file, size, limits)
        if structure.transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
            return _identity_of(structure)
        file.seek(structure.dataset_offset)
        return _identity_of(_inflated_structure(file, limits))


def _inflated_structure(deflated: IO[bytes], limits: Limits) -> Structure:
    """Walk a deflated dataset as if it had been sent inflated; its bytes are kept on disk."""
    syntax = ExplicitVRLittleEndian.encode("ascii") + b"\0"
    with tempfile.TemporaryFile() as inflated:
        inflated.write(b"\0" * 128 + b"DICM")
        inflated.write(b"\x02\x00\x10\x00UI" + len(syntax).to_bytes(2, "little") + syntax)
        inflate_deflated(deflated, inflated, limits, Budget(limits.total_bytes))
        return read_structure(inflated, inflated.tell(), limits)


def _identity_of(structure: Structure) -> InstanceIdentity:
    dataset = parse_dataset(structure, list(_TAGS.values()))
    values = {name: text_as_written(dataset, tag) for name, tag in _TAGS.items()}
    return InstanceIdentity(
        sop_class_uid=check_uid(values["SOPClassUID"]),
        sop_instance_uid=check_uid(values["SOPInstanceUID"]),
        study_instance_uid=check_uid(values["StudyInstanceUID"]),
        series_instance_uid=check_uid(values["SeriesInstanceUID"]),
        modality=values["Modality"].upper(),
        own=values["ManufacturerModelName"] == OWN_MODEL_NAME,
    )
