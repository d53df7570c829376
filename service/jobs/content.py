"""The identity of a study that was handed in: its content, not its names or its packing.

The same files give the same job whether they come as a zip or one by one, under any names and in
any order, and however often one file is repeated. File digests cover the SOP Instance UIDs, which
are never parsed here: bytes from outside are first read in the worker, under its limits.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from models.errors import AcuityError
from service.ingest.refusals import RefusedError
from service.ingest.safety import directory_bytes, is_zip

CHUNK: Final = 1 << 20
"""Bytes read at a time."""

MAX_FILES: Final = 20_000
"""Most files of one study; a whole-spine study has a few hundred, one frame per file."""

MAX_DIRECTORY_BYTES: Final = 8 << 20
"""Largest table of contents of an archive that is opened; 20,000 members of 400 bytes fit."""


class InvalidArchiveError(AcuityError):
    """An archive whose table of contents cannot be read."""

    code = "invalid_archive"


class ContentTooLargeError(AcuityError):
    """More files or more unpacked bytes than one study may have."""

    code = "content_too_large"


@dataclass(frozen=True, slots=True)
class Content:
    """What was handed in.

    Attributes:
        source: The folder or the zip archive that the pipeline reads.
        digest: SHA-256 over the sorted SHA-256 of the files, in hex.
        files: How many files there are.
    """

    source: Path
    digest: str
    files: int


def read_content(upload: Path, max_bytes: int) -> Content:
    """Digest an upload folder: its files, or the members of the one archive in it.

    Args:
        upload: Folder made by `Jobs.new_upload`, filled by the API.
        max_bytes: Most bytes that may come out of an archive.

    Raises:
        InvalidArchiveError: The archive's table of contents cannot be read.
        ContentTooLargeError: Too many files, or too many bytes come out of it.
    """
    files = sorted(path for path in upload.rglob("*") if path.is_file())
    if len(files) == 1 and _is_archive(files[0]):
        digests = list(_archive_digests(files[0], max_bytes))
        source = files[0]
    else:
        digests = [_digest_of(path) for path in files]
        source = upload
    combined = hashlib.sha256("".join(sorted(set(digests))).encode()).hexdigest()
    return Content(source, combined, len(digests))


def job_id_for(content: Content, engine: str) -> str:
    """Job id: 32 hex digits over the content and the engine that reads it.

    Args:
        content: What was handed in.
        engine: Software version and bundle digests, so that a new model makes a new job.
    """
    return hashlib.sha256(f"{content.digest}\n{engine}".encode()).hexdigest()[:32]


def _is_archive(path: Path) -> bool:
    # DICOM files have a free 128-byte preamble, so the signature at the start alone decides:
    # `zipfile.is_zipfile` looks at the end and may take a polyglot for an archive.
    with path.open("rb") as file:
        return is_zip(file.read(4))


def _archive_digests(archive: Path, max_bytes: int) -> Iterator[str]:
    try:
        with archive.open("rb") as file:
            if directory_bytes(file) > MAX_DIRECTORY_BYTES:
                raise ContentTooLargeError("the archive's table of contents is too large")
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            if len(members) > MAX_FILES:
                raise ContentTooLargeError(f"the archive has more than {MAX_FILES} files")
            for member in members:
                digest, size = _member_digest(opened, member, max_bytes)
                max_bytes -= size
                yield digest
    except (RefusedError, zipfile.BadZipFile, ValueError) as error:
        raise InvalidArchiveError("the archive cannot be read") from error


def _member_digest(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_bytes: int
) -> tuple[str, int]:
    try:
        with archive.open(member) as file:
            return _digest(file, max_bytes)
    # zipfile's ways to say no: RuntimeError for an encrypted member, NotImplementedError for an
    # unknown compression, EOFError for one cut short. The report will refuse that file alone; here
    # what is stated of it has to do as its identity.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
        stated = f"unreadable {member.CRC} {member.file_size} {member.compress_size}"
        return hashlib.sha256(stated.encode()).hexdigest(), 0


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(file: IO[bytes], max_bytes: int) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    while chunk := file.read(CHUNK):
        size += len(chunk)
        if size > max_bytes:
            raise ContentTooLargeError("the archive unpacks to more bytes than one study may have")
        digest.update(chunk)
    return digest.hexdigest(), size
