"""The identity of a study that was handed in: its images, not their files' names or packing.

The same MR images give the same job whether they come as a zip or one by one, under any names, in
any order, with corrected headers, and however often one is repeated. A study without a single MR
image is known by the bytes of its files.

Headers are walked under the limits of every other reading; pixels are digested, never decoded.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import AcuityError
from service.ingest.refusals import RefusedError
from service.ingest.safety import Limits, directory_bytes, is_zip
from service.jobs.instances import ImageIdentity, image_identity

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
        digest: SHA-256 over the sorted identities of the images, in hex; of the files where there
            is no image.
        files: How many files there are.
        study_instance_uid: Of the images, "" where there are none or they are of several studies.
    """

    source: Path
    digest: str
    files: int
    study_instance_uid: str = ""


def read_content(upload: Path, max_bytes: int, limits: Limits | None = None) -> Content:
    """Digest an upload folder: its files, or the members of the one archive in it.

    Args:
        upload: Folder made by `Jobs.new_upload`, filled by the API.
        max_bytes: Most bytes that may come out of an archive.
        limits: On what is read of each file.

    Raises:
        InvalidArchiveError: The archive's table of contents cannot be read.
        ContentTooLargeError: Too many files, or too many bytes come out of it.
    """
    limits = limits or Limits()
    if upload.is_file():
        files = [upload]
    else:
        files = sorted(path for path in upload.rglob("*") if path.is_file())
    if len(files) == 1 and _is_archive(files[0]):
        with _opened_archive(files[0], max_bytes) as (archive, members):
            images = [_image_in(archive, member, limits) for member in members]
            parts = _parts(images) or {_member_digest(archive, member) for member in members}
        return Content(files[0], _combined(parts), len(members), _study_of(images))
    images = [_image_at(path, limits) for path in files]
    parts = _parts(images) or {_digest_of(path) for path in files}
    return Content(upload, _combined(parts), len(files), _study_of(images))


def _parts(images: Iterable[ImageIdentity | None]) -> set[str]:
    return {f"{image.sop_instance_uid} {image.pixels}" for image in images if image is not None}


def _combined(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()


def _study_of(images: Iterable[ImageIdentity | None]) -> str:
    studies = {image.study_instance_uid for image in images if image is not None}
    return studies.pop() if len(studies) == 1 else ""


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


@contextmanager
def _opened_archive(
    archive: Path, max_bytes: int
) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    try:
        with archive.open("rb") as file:
            if directory_bytes(file) > MAX_DIRECTORY_BYTES:
                raise ContentTooLargeError("the archive's table of contents is too large")
        opened = zipfile.ZipFile(archive)
    except (RefusedError, zipfile.BadZipFile, ValueError) as error:
        raise InvalidArchiveError("the archive cannot be read") from error
    with opened:
        members = [member for member in opened.infolist() if not member.is_dir()]
        if len(members) > MAX_FILES:
            raise ContentTooLargeError(f"the archive has more than {MAX_FILES} files")
        # No more than the stated size ever comes out of a member.
        if sum(member.file_size for member in members) > max_bytes:
            raise ContentTooLargeError("the archive unpacks to more bytes than one study may have")
        yield opened, members


_UNREADABLE: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""zipfile's ways to say no: RuntimeError for an encrypted member, NotImplementedError for an
unknown compression, EOFError for one cut short. The report will refuse that file alone."""


def _image_in(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, limits: Limits
) -> ImageIdentity | None:
    try:
        with archive.open(member) as file:
            return image_identity(file, member.file_size, limits)
    except (RefusedError, *_UNREADABLE):
        return None


def _image_at(path: Path, limits: Limits) -> ImageIdentity | None:
    try:
        with path.open("rb") as file:
            return image_identity(file, path.stat().st_size, limits)
    except RefusedError:
        return None


def _member_digest(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    try:
        with archive.open(member) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except _UNREADABLE:
        # What is stated of it has to do as its identity.
        stated = f"unreadable {member.CRC} {member.file_size} {member.compress_size}"
        return hashlib.sha256(stated.encode()).hexdigest()


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
