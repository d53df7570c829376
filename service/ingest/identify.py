"""Which study a file belongs to, and nothing else: for sorting thousands of files by content.

Only the header is walked and two values of it are parsed, under the limits of every other reading.
Members of an archive are looked at inside it; nothing of them is unpacked.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from pydicom.datadict import tag_for_keyword
from pydicom.uid import DeflatedExplicitVRLittleEndian

from service.ingest.headers import PARSING_ERRORS, parse_dataset, quiet_pydicom
from service.ingest.refusals import RefusedError
from service.ingest.safety import (
    Budget,
    Limits,
    check_uid,
    inflate_deflated,
    is_zip,
    look_into_zip,
)
from service.ingest.structure import Structure, explicit_head, read_structure

_KEYWORDS: Final = ("StudyInstanceUID", "SOPInstanceUID")
_TAGS: Final = [tag for keyword in _KEYWORDS if (tag := tag_for_keyword(keyword)) is not None]
_DIRECTORY_GROUP: Final = b"\x04\x00"


class ArchiveFoundError(Exception):
    """The file is a zip archive: look at its members."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Where a DICOM file belongs; both UIDs are digits and dots."""

    study_instance_uid: str
    sop_instance_uid: str


def identify_file(path: Path, limits: Limits) -> Identity:
    """Tell the study of a file.

    Raises:
        RefusedError: It is not DICOM, damaged, a DICOMDIR, or cannot be opened.
        ArchiveFoundError: It is a zip archive.
    """
    try:
        # A pipe or device would block or never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise RefusedError("unreadable", "not a regular file")
        with path.open("rb") as file:
            if is_zip(file.read(4)):
                raise ArchiveFoundError
            return identify(file, os.fstat(file.fileno()).st_size, limits)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise RefusedError("unreadable", "the file cannot be opened") from error


def identify_members(
    archive: Path, limits: Limits
) -> Iterator[tuple[int, str, Identity | RefusedError]]:
    """Tell the study of every member of an archive: its place in it, its name, and what it is.

    Raises:
        RefusedError: The archive as a whole is damaged or holds too many members.
    """

    def look(file: IO[bytes], size: int) -> Identity:
        if is_zip(file.read(4)):
            raise RefusedError("nested_archive", "an archive inside the input is not opened")
        return identify(file, size, limits)

    return look_into_zip(archive, limits, look)


def identify(file: IO[bytes], size: int, limits: Limits) -> Identity:
    """Tell the study of an open file of `size` bytes.

    Raises:
        RefusedError: It is not DICOM, damaged, or a DICOMDIR.
    """
    structure = read_structure(file, size, limits)
    if structure.transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
        return _identity(structure)
    with tempfile.TemporaryFile() as inflated:
        inflated.write(explicit_head())
        file.seek(structure.dataset_offset)
        inflate_deflated(file, inflated, limits, Budget(limits.file_bytes))
        return _identity(read_structure(inflated, inflated.tell(), limits))


def _identity(structure: Structure) -> Identity:
    if structure.header[:2] == _DIRECTORY_GROUP:
        raise RefusedError("dicomdir", "a directory of files, not an image")
    dataset = parse_dataset(structure, _TAGS)
    try:
        with quiet_pydicom():
            study, instance = (str(dataset.get(keyword) or "") for keyword in _KEYWORDS)
    except PARSING_ERRORS as error:
        raise RefusedError("malformed", "the header cannot be parsed") from error
    return Identity(check_uid(study.strip(" \0")), check_uid(instance.strip(" \0")))
