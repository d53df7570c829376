"""Limits on everything that comes from outside, and the ways bytes are let in under them.

Archives and deflated datasets are unpacked as streams: bytes are counted while they come out, not
believed beforehand, and they land in files that we name. Names from an archive are only repeated
in the report.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, TypeVar

from service.ingest.refusals import RefusedError

Seen = TypeVar("Seen")

MIB: Final = 1 << 20

CHUNK_BYTES: Final = MIB
"""Unit in which streams are copied; also the most that one step of inflating may give."""

UID_PATTERN: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
"""Digits in groups, so that no UID reads as a path ("..", "/"), PS3.5 9.1."""

ZIP_MAGIC: Final = b"PK\x03\x04"
EMPTY_ZIP_MAGIC: Final = b"PK\x05\x06"

_DIRECTORY_ENTRY_BYTES: Final = 512
"""Room for one entry of a zip's central directory: 46 bytes, its name and its extra fields."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one study may ask for. Beyond it things are refused, never cut down.

    Attributes:
        files: Files in a folder, members of an archive, references of a DICOMDIR.
        file_bytes: One file, inflated. 512 MiB holds 1000 frames of 512 x 512 x 16 bit.
        total_bytes: All files of one input together, inflated.
        header_bytes: From the start of a dataset to its pixels.
        elements: Data elements in the header, nested ones counted.
        depth: Sequences inside sequences. Real enhanced objects reach 6.
        edge: Rows or Columns.
        frames: Frames of one instance.
        pixel_bytes: Rows x Columns x Frames x bytes of a pixel of one instance, decoded.
        fragments: Fragments of encapsulated pixels in one instance.
        decode_timeout_s: For one frame in the worker; 512 x 512 JPEG 2000 takes 0.03 s.
        decode_start_timeout_s: For the worker to come up.
        decode_memory_bytes: Address space of the worker (RLIMIT_AS). It needs about 0.5 GiB
            for its libraries.
        decode_deaths: Workers that may die or be killed before a decoder stops making new ones.
    """

    files: int = 20_000
    file_bytes: int = 512 * MIB
    total_bytes: int = 4096 * MIB
    header_bytes: int = 64 * MIB
    elements: int = 500_000
    depth: int = 32
    edge: int = 8192
    frames: int = 20_000
    pixel_bytes: int = 1024 * MIB
    fragments: int = 100_000
    decode_timeout_s: float = 15.0
    decode_start_timeout_s: float = 60.0
    decode_memory_bytes: int = 2048 * MIB
    decode_deaths: int = 8


class Budget:
    """Bytes of one input that may still be let in."""

    def __init__(self, total_bytes: int) -> None:
        self._left = total_bytes

    def take(self, count: int) -> None:
        """Count bytes that came in.

        Raises:
            RefusedError: `total_too_large`.
        """
        self._left -= count
        if self._left < 0:
            raise RefusedError("total_too_large", "the input is larger than the total limit")


def check_uid(uid: str) -> str:
    """Return the UID.

    Raises:
        RefusedError: `invalid_uid`: empty, longer than 64, or anything but digits and dots.
    """
    if len(uid) > 64 or not UID_PATTERN.fullmatch(uid):
        raise RefusedError("invalid_uid", "a UID is missing or not made of digits and dots")
    return uid


def inflate_deflated(source: IO[bytes], target: IO[bytes], limits: Limits, budget: Budget) -> None:
    """Inflate a raw deflate stream (PS3.5 A.5) from `source` to its end into `target`.

    Raises:
        RefusedError: `inflated_too_large`, `total_too_large`, or `truncated` for a damaged or
            unfinished stream.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    pending = b""
    while not inflater.eof:
        pending = inflater.unconsumed_tail or source.read(CHUNK_BYTES)
        try:
            out = inflater.decompress(pending, CHUNK_BYTES)
        except zlib.error as error:
            raise RefusedError("truncated", "the deflated dataset is damaged") from error
        if not pending and not out:
            raise RefusedError("truncated", "the deflated dataset ends too early")
        size += len(out)
        budget.take(len(out))
        if size > limits.file_bytes:
            raise RefusedError("inflated_too_large", "the dataset inflates beyond the file limit")
        target.write(out)


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive: its name there and either our copy of it or why there is none."""

    name: str
    outcome: Path | RefusedError


def is_zip(head: bytes) -> bool:
    """Whether a file that begins like this is a zip archive."""
    return head.startswith((ZIP_MAGIC, EMPTY_ZIP_MAGIC))


def unpack_zip(
    archive: Path,
    folder: Path,
    limits: Limits,
    budget: Budget,
    only: Container[int] | None = None,
) -> Iterator[Member]:
    """Copy the members of a zip into `folder` under names of our own.

    Args:
        archive: A zip archive.
        folder: Where the copies go.
        limits: On members, and on each.
        budget: Of all bytes that come out.
        only: Places of the members to copy, counted from 0 without folders; None for all.

    Yields:
        Every member that is not a folder, in the archive's order.

    Raises:
        RefusedError: For the archive as a whole: `zip_damaged`, `too_many_files`.
    """
    with _opened(archive, limits) as (opened, entries):
        for index, entry in enumerate(entries):
            if only is not None and index not in only:
                continue
            target = folder / f"{index:06d}"
            try:
                _copy_member(opened, entry, target, limits, budget)
            except RefusedError as error:
                target.unlink(missing_ok=True)
                yield Member(entry.filename, error)
            else:
                yield Member(entry.filename, target)


def look_into_zip(
    archive: Path, limits: Limits, look: Callable[[IO[bytes], int], Seen]
) -> Iterator[tuple[int, str, Seen | RefusedError]]:
    """Let `look` read as much as it wants of each member, which is inflated no further.

    Args:
        archive: A zip archive.
        limits: On members, and on each.
        look: Given a member and its stated size; may raise `RefusedError`.

    Yields:
        Place (as of `unpack_zip`), name, and what `look` made of the member.

    Raises:
        RefusedError: For the archive as a whole: `zip_damaged`, `too_many_files`.
    """
    with _opened(archive, limits) as (opened, entries):
        for index, entry in enumerate(entries):
            try:
                yield index, entry.filename, _look(opened, entry, limits, look)
            except RefusedError as error:
                yield index, entry.filename, error


def _look(
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    limits: Limits,
    look: Callable[[IO[bytes], int], Seen],
) -> Seen:
    _check_member(entry, limits)
    try:
        with archive.open(entry) as file:
            return look(file, entry.file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise RefusedError("zip_damaged", "an archive member cannot be read") from error


@contextmanager
def _opened(
    archive: Path, limits: Limits
) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """Open an archive whose table of contents is within limits; folders are left out of it."""
    with archive.open("rb") as file:
        if directory_bytes(file) > limits.files * _DIRECTORY_ENTRY_BYTES:
            raise RefusedError("too_many_files", "the archive lists too many members")
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            if len(entries) > limits.files:
                raise RefusedError("too_many_files", "the archive lists too many members")
            yield opened, entries
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError) as error:
        raise RefusedError("zip_damaged", "the archive cannot be read") from error


def directory_bytes(file: IO[bytes]) -> int:
    """Size of the central directory as the end record states it (APPNOTE 4.3.14, 4.3.16).

    zipfile reads the whole directory at once, so its size is looked at first.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - 22 - 0xFFFF - 20 - 56))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < 22:
        raise RefusedError("zip_damaged", "the archive has no end record")
    stated: int = struct.unpack_from("<L", tail, end + 12)[0]
    large = tail.rfind(b"PK\x06\x06", 0, end)
    if large >= 0 and end - large >= 56:
        stated = max(stated % 0xFFFFFFFF, struct.unpack_from("<Q", tail, large + 40)[0])
    return stated


def _copy_member(
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    target: Path,
    limits: Limits,
    budget: Budget,
) -> None:
    _check_member(entry, limits)
    size = 0
    try:
        with archive.open(entry) as source, target.open("xb") as file:
            while chunk := source.read(CHUNK_BYTES):
                size += len(chunk)
                budget.take(len(chunk))
                if size > limits.file_bytes:
                    raise RefusedError("too_large", "an archive member exceeds the file limit")
                file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise RefusedError("zip_damaged", "an archive member cannot be read") from error


def _check_member(entry: zipfile.ZipInfo, limits: Limits) -> None:
    # zipfile turns the separator of this system into "/", not the others'.
    parts = re.split(r"[/\\]", entry.filename)
    if ".." in parts or parts[0] == "" or re.match(r"[A-Za-z]:", entry.filename):
        raise RefusedError("unsafe_member_name", "an archive member's name leaves the archive")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise RefusedError("symlink", "an archive member is a link")
    if entry.flag_bits & 0x1:
        raise RefusedError("encrypted", "an archive member is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RefusedError("unsupported_compression", "an archive member is not deflated")
    if entry.file_size > limits.file_bytes:
        raise RefusedError("too_large", "an archive member exceeds the file limit")
