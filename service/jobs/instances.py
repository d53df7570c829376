"""What makes a file part of a study's identity: an MR image, by its UID and its pixels.

Headers may be corrected and files packed anew on their way; the image stays the same. What is no MR
image, and what this product wrote itself, is not part of a study's identity: an archive that sends
our results back with the study sends the same study.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from typing import IO, Final

from pydicom.datadict import tag_for_keyword
from pydicom.uid import DeflatedExplicitVRLittleEndian

from service.ingest.headers import parse_dataset, text_as_written
from service.ingest.records import OWN_MODEL_NAME
from service.ingest.safety import CHUNK_BYTES, Budget, Limits, check_uid, inflate_deflated
from service.ingest.structure import Structure, explicit_head, read_structure

_KEYWORDS: Final = ("SOPInstanceUID", "StudyInstanceUID", "Modality", "ManufacturerModelName")
_TAGS: Final = {
    keyword: tag for keyword in _KEYWORDS if (tag := tag_for_keyword(keyword)) is not None
}


@dataclass(frozen=True, slots=True)
class ImageIdentity:
    """An MR image: what it is called, where it belongs, and SHA-256 of its pixels as encoded."""

    sop_instance_uid: str
    study_instance_uid: str
    pixels: str


def image_identity(file: IO[bytes], size: int, limits: Limits) -> ImageIdentity | None:
    """Read the identity of one file of `size` bytes, at most twice through.

    Returns:
        None for what is no MR image, or is our own.

    Raises:
        RefusedError: It is no DICOM, damaged, or beyond a limit.
    """
    structure = read_structure(file, size, limits)
    if structure.transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
        return _identity_of(file, structure)
    with tempfile.TemporaryFile() as inflated:
        inflated.write(explicit_head())
        file.seek(structure.dataset_offset)
        inflate_deflated(file, inflated, limits, Budget(limits.file_bytes))
        return _identity_of(inflated, read_structure(inflated, inflated.tell(), limits))


def _identity_of(file: IO[bytes], structure: Structure) -> ImageIdentity | None:
    dataset = parse_dataset(structure, list(_TAGS.values()))
    values = {name: text_as_written(dataset, tag) for name, tag in _TAGS.items()}
    own = values["ManufacturerModelName"] == OWN_MODEL_NAME
    if own or structure.pixels is None or values["Modality"].upper() != "MR":
        return None
    return ImageIdentity(
        sop_instance_uid=check_uid(values["SOPInstanceUID"]),
        study_instance_uid=check_uid(values["StudyInstanceUID"]),
        pixels=_digest(file, structure.pixels.offset, structure.pixels.length),
    )


def _digest(file: IO[bytes], offset: int, length: int | None) -> str:
    """SHA-256 of `length` bytes; of all that follow where the length is not stated."""
    digest = hashlib.sha256()
    file.seek(offset)
    left = length
    while left is None or left > 0:
        chunk = file.read(CHUNK_BYTES if left is None else min(left, CHUNK_BYTES))
        if not chunk:
            break
        digest.update(chunk)
        left = None if left is None else left - len(chunk)
    return digest.hexdigest()
