"""Every file that was given ends here as a record or as a refusal.

A folder in any layout, a zip, a DICOMDIR or a single file goes in. Nothing is decoded. Files are
taken in the order of their names, so the same input gives the same inventory.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Final

from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from service.ingest.codestreams import HEAD_BYTES, check_frame_size
from service.ingest.headers import (
    PARSING_ERRORS,
    Header,
    Origin,
    PixelExtent,
    parse_dataset,
    quiet_pydicom,
)
from service.ingest.records import InstanceRecord, Inventory, Refusal, RefusedFile
from service.ingest.refusals import RefusedError
from service.ingest.safety import (
    CHUNK_BYTES,
    Budget,
    Limits,
    inflate_deflated,
    is_zip,
    unpack_zip,
)
from service.ingest.structure import (
    PixelValue,
    Structure,
    explicit_head,
    measure_fragments,
    read_structure,
)

_DIRECTORY_RECORDS: Final = 0x00041220
_NAME_LENGTH: Final = 255


@dataclass(frozen=True, slots=True)
class _Given:
    """A file to look at, or why it was refused before it was opened.

    `counted` says that its bytes were counted when it was unpacked.
    """

    name: str
    outcome: Path | RefusedError
    counted: bool = False


@dataclass(slots=True)
class _Taking:
    """The state of one inventory being taken."""

    limits: Limits
    spool: Path
    budget: Budget
    records: dict[str, InstanceRecord] = field(default_factory=dict)
    refused: list[RefusedFile] = field(default_factory=list)
    directories: list[tuple[str, list[tuple[str, ...]]]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def refuse(self, name: str, refusal: Refusal) -> None:
        self.refused.append(RefusedFile(_report_name(name), refusal))


class _DirectoryFoundError(Exception):
    """The file is a DICOMDIR; `references` are the files it lists, by path components."""

    def __init__(self, references: list[tuple[str, ...]]) -> None:
        super().__init__("DICOMDIR")
        self.references = references


def take_inventory(source: Path, limits: Limits, workspace: Path) -> Inventory:
    """Account for every file of a folder, zip, DICOMDIR or single file.

    Args:
        source: What was given.
        limits: Beyond them files are refused.
        workspace: Existing folder for what has to be unpacked. Records may point into it, so it
            must stay until their pixels are decoded.

    Returns:
        Every file in exactly one of the two fields. Studies are not told apart here.
    """
    spool = Path(tempfile.mkdtemp(prefix="spool-", dir=workspace))
    taking = _Taking(limits, spool, Budget(limits.total_bytes))
    try:
        for given in _everything_in(source, taking):
            _take(given, taking)
    except RefusedError as error:
        taking.refuse(source.name, error.refusal)
    _refuse_missing_references(taking)
    return Inventory(tuple(taking.records.values()), tuple(taking.refused))


def _everything_in(source: Path, taking: _Taking) -> Iterator[_Given]:
    if source.is_dir():
        yield from _walk_folder(source, taking.limits)
        return
    try:
        with _open_regular(source) as file:
            zipped = is_zip(file.read(4))
    except RefusedError as error:
        yield _Given(source.name, error)
        return
    if zipped:
        members = unpack_zip(source, taking.spool, taking.limits, taking.budget)
        yield from (_Given(member.name, member.outcome, counted=True) for member in members)
        return
    yield _Given(source.name, source)
    # A DICOMDIR given by itself stands for the files it lists.
    for _, references in list(taking.directories):
        if len(references) > taking.limits.files:
            raise RefusedError("too_many_files", "the DICOMDIR lists too many files")
        for parts in references:
            path = _resolve(source.parent, parts)
            if path is not None:
                yield _Given("/".join(parts), path)


def _walk_folder(folder: Path, limits: Limits) -> list[_Given]:
    """All files below a folder, by name; a folder with too many is refused as a whole."""
    given: list[_Given] = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        linked = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in sorted([*names, *linked]):
            if len(given) == limits.files:
                raise RefusedError("too_many_files", "the folder holds too many files")
            path = Path(parent) / name
            given.append(_Given(path.relative_to(folder).as_posix(), _inside(path, folder)))
    return given


def _inside(path: Path, folder: Path) -> Path | RefusedError:
    """A link is followed to a file inside the folder given, never out of it or to a folder."""
    if not path.is_symlink():
        return path
    target = path.resolve()
    if target.is_file() and target.is_relative_to(folder.resolve()):
        return target
    return RefusedError("symlink", "a link that does not lead to a file of the folder given")


def _open_regular(path: Path) -> IO[bytes]:
    """Open a regular file; a pipe or device would block or never end.

    Raises:
        RefusedError: `unreadable`.
    """
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise RefusedError("unreadable", "the file cannot be opened") from error
    raise RefusedError("unreadable", "not a regular file")


def _take(given: _Given, taking: _Taking) -> None:
    if given.name in taking.seen:
        return
    taking.seen.add(given.name)
    try:
        if isinstance(given.outcome, RefusedError):
            raise given.outcome
        record = _read_file(given, given.outcome, taking)
        _add_record(record, taking)
    except RefusedError as error:
        taking.refuse(given.name, error.refusal)
    except _DirectoryFoundError as error:
        taking.directories.append((given.name, error.references))
        taking.refuse(given.name, Refusal("dicomdir", "a directory of files, not an image"))


def _read_file(given: _Given, path: Path, taking: _Taking) -> InstanceRecord:
    limits = taking.limits
    with _open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limits.file_bytes:
            raise RefusedError("too_large", "the file exceeds the file limit")
        if not given.counted:
            taking.budget.take(size)
        if is_zip(file.read(4)):
            raise RefusedError("nested_archive", "an archive inside the input is not opened")
        structure = read_structure(file, size, limits)
        origin = Origin(path, _report_name(given.name))
        if structure.transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
            return _record_of(file, size, structure, origin, limits)
        file.seek(structure.dataset_offset)
        origin = Origin(_inflated(file, taking), origin.file)
    with _open_regular(origin.path) as file:
        size = os.fstat(file.fileno()).st_size
        structure = read_structure(file, size, limits)
        return _record_of(file, size, structure, origin, limits)


def _inflated(file: IO[bytes], taking: _Taking) -> Path:
    """Write a deflated dataset as Explicit VR Little Endian into the workspace."""
    handle, name = tempfile.mkstemp(prefix="inflated-", dir=taking.spool)
    try:
        with os.fdopen(handle, "wb") as target:
            target.write(explicit_head())
            inflate_deflated(file, target, taking.limits, taking.budget)
    except RefusedError:
        Path(name).unlink()
        raise
    return Path(name)


def _record_of(
    file: IO[bytes], size: int, structure: Structure, origin: Origin, limits: Limits
) -> InstanceRecord:
    if structure.header[:2] == b"\x04\x00":  # group 0004 is the DICOMDIR's (PS3.3 F.3)
        raise _DirectoryFoundError(_references(structure))
    header = Header(structure, limits)
    header.check_kind()
    header.check_pixels()
    if structure.pixels is None:
        raise RefusedError("no_pixel_data", "an MR instance without pixels")
    extent = _pixel_extent(file, size, structure.pixels, header, structure.transfer_syntax_uid)
    return header.record(origin, extent)


def _pixel_extent(
    file: IO[bytes], size: int, pixels: PixelValue, header: Header, syntax: str
) -> PixelExtent:
    if pixels.length is not None:
        if pixels.offset + pixels.length > size:
            raise RefusedError("truncated_pixel_data", "the file ends within its pixels")
        header.check_length(pixels.length)
        return PixelExtent(pixels.offset, pixels.length)
    length, first = measure_fragments(file, pixels.offset, size, header.limits)
    file.seek(first)
    check_frame_size(file.read(HEAD_BYTES), syntax, header.rows, header.columns)
    return PixelExtent(pixels.offset, length)


def _add_record(record: InstanceRecord, taking: _Taking) -> None:
    """Keep the first instance of a UID; a second one is refused, and whether it differs is said."""
    first = taking.records.setdefault(record.sop_instance_uid, record)
    if first is record:
        return
    if _digest(first.path) == _digest(record.path):
        raise RefusedError("duplicate_instance", "the same instance was given before")
    raise RefusedError(
        "conflicting_duplicate", "another file with the same SOP Instance UID was given before"
    )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with _open_regular(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _references(structure: Structure) -> list[tuple[str, ...]]:
    """Referenced File IDs (0004,1500) of a DICOMDIR, as path components, in its order."""
    dataset = parse_dataset(structure, [_DIRECTORY_RECORDS])
    try:
        with quiet_pydicom():
            records: Sequence[Dataset] = dataset.get("DirectoryRecordSequence") or ()
            given = [record.get("ReferencedFileID") for record in records]
    except PARSING_ERRORS as error:
        raise RefusedError("malformed", "the DICOMDIR cannot be parsed") from error
    return [
        (value,) if isinstance(value, str) else tuple(str(part) for part in value)
        for value in given
        if value
    ]


def _refuse_missing_references(taking: _Taking) -> None:
    """Say which files a DICOMDIR lists that were not given, or that it must not list."""
    given = {name.casefold() for name in taking.seen}
    for name, references in taking.directories:
        parent = PurePosixPath(name).parent
        for parts in references:
            listed = "/".join(parts)
            if not _is_safe(parts):
                refusal = Refusal("dicomdir_unsafe_reference", "a reference that leaves the medium")
                taking.refuse(listed, refusal)
            elif (parent / listed).as_posix().casefold() not in given:
                refusal = Refusal("dicomdir_missing_file", "listed in the DICOMDIR, not given")
                taking.refuse(listed, refusal)


def _is_safe(parts: tuple[str, ...]) -> bool:
    return all(part not in ("", ".", "..") and not set(part) & set("/\\\0") for part in parts)


def _resolve(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """Find a referenced file; media are often copied with names in lower case."""
    if not _is_safe(parts):
        return None
    path = folder
    for part in parts:
        exact = path / part
        if not exact.exists() and path.is_dir():
            named = {entry.name.casefold(): entry for entry in path.iterdir()}
            exact = named.get(part.casefold(), exact)
        path = exact
    inside = _inside_all(path, folder)
    return path if inside and path.is_file() else None


def _inside_all(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _report_name(name: str) -> str:
    """A file's name as the report may hold it: printable and of bounded length."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return printable if len(printable) <= _NAME_LENGTH else printable[:_NAME_LENGTH] + "..."
