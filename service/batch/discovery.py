"""Find studies by what files say, whatever their names and folders.

Every file below a folder is looked at once: its header, never its pixels. What was seen is kept in
the journal, so that going on after an interruption costs a look at names and dates only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

from service.batch.journal import ARCHIVE, RESULTS, WHOLE_FILE, FoundFile, Journal
from service.ingest.identify import (
    ArchiveFoundError,
    Identity,
    identify_file,
    identify_members,
)
from service.ingest.refusals import RefusedError
from service.ingest.safety import Limits

ARCHIVE_MEMBERS: Final = 200_000
"""Most members of an archive; one may hold a whole collection of studies."""

STATE: Final = ".batch"
JOURNAL: Final = "journal.sqlite"
"""What a batch keeps for itself in the folder of its results."""

_AT_ONCE: Final = 500
"""Files per transaction of the journal."""


@dataclass(frozen=True, slots=True)
class Root:
    """What a batch is made over.

    Attributes:
        folder: The folder that is walked, resolved.
        only: The one file in it that is looked at, for an archive; None for everything.
        apart: Folder that is left out: where the results go.
    """

    folder: Path
    only: str | None
    apart: Path

    @classmethod
    def of(cls, given: Path, apart: Path) -> Root:
        """A folder, an archive, or a DICOMDIR, which stands for the folder it lies in."""
        given = given.resolve()
        if given.is_dir():
            return cls(given, None, apart.resolve())
        if given.name.upper() == "DICOMDIR":
            return cls(given.parent, None, apart.resolve())
        return cls(given.parent, given.name, apart.resolve())

    def path(self, relative: bytes) -> Path:
        """Where a file of the journal lies."""
        return self.folder / os.fsdecode(relative)


def discover(root: Root, journal: Journal, limits: Limits, on_files: Callable[[int], None]) -> None:
    """Look at every file that is new or changed and note what it is.

    Args:
        root: What to look through.
        journal: Receives the files.
        limits: Of a single study's reading; also of looking at one file.
        on_files: Told now and then how many files were met so far.
    """
    walk = int(journal.fact("walk") or 0) + 1
    journal.note("walk", str(walk))
    met = 0
    paths = _walk(root)
    while chunk := list(islice(paths, _AT_ONCE)):
        with journal.transaction():
            for path in chunk:
                if isinstance(path, _Closed):
                    journal.add_file(_row(path.path, root, path.code, path.reason), walk)
                else:
                    _meet(path, root, journal, limits, walk)
        met += len(chunk)
        on_files(met)
    with journal.transaction():
        journal.end_walk(walk)


@dataclass(frozen=True, slots=True)
class _Closed:
    """A folder that is not looked into, and why."""

    path: Path
    code: str
    reason: str


def _walk(root: Root) -> Iterator[Path | _Closed]:
    """Files, and folders left out, in the order of their names."""
    if root.only is not None:
        yield root.folder / root.only
        return
    unread: list[OSError] = []
    for parent, folders, names in os.walk(root.folder, onerror=unread.append):
        here = Path(parent)
        closed = [_Closed(here / name, *_closed(here / name, root)) for name in sorted(folders)]
        yield from (each for each in closed if each.code)
        folders[:] = [each.path.name for each in closed if not each.code]
        yield from (here / name for name in sorted(names))
    for error in unread:
        yield _Closed(Path(error.filename), "unreadable", "the folder cannot be opened")


def _closed(folder: Path, root: Root) -> tuple[str, str]:
    """Code and reason for not looking into a folder; empty to look into it."""
    if folder == root.apart or (folder / STATE / JOURNAL).exists():
        return RESULTS, "results of a batch"
    if folder.is_symlink():
        return "symlink", "a link to a folder is not followed"
    return "", ""


def _meet(path: Path, root: Root, journal: Journal, limits: Limits, walk: int) -> None:
    found = _row(path, root)
    if journal.still_there(found, walk):
        return
    journal.forget_file(found.path)
    for file in _look(path, found, root, limits):
        journal.add_file(file, walk)


def _row(path: Path, root: Root, code: str | None = None, reason: str | None = None) -> FoundFile:
    relative = os.fsencode(path.relative_to(root.folder))
    try:
        state = path.stat()
        size, changed_ns = state.st_size, state.st_mtime_ns
    except OSError:  # a link that leads nowhere, or a file that has just gone
        size, changed_ns = 0, 0
    return FoundFile(
        path=relative,
        member=WHOLE_FILE,
        name=_printable(os.fsdecode(relative)),
        size=size,
        changed_ns=changed_ns,
        linked=path.is_symlink(),
        code=code,
        reason=reason,
    )


def _look(path: Path, found: FoundFile, root: Root, limits: Limits) -> Iterator[FoundFile]:
    """What a file is: one row, or one for an archive and one for each of its members."""
    try:
        _check_link(found, path, root)
        yield replace(found, study=identify_file(path, limits).study_instance_uid)
    except RefusedError as error:
        yield _refused(found, error)
    except ArchiveFoundError:
        yield from _members(path, found, limits)


def _check_link(found: FoundFile, path: Path, root: Root) -> None:
    if found.linked and not path.resolve().is_relative_to(root.folder):
        raise RefusedError("symlink", "a link that leads out of the folder given")


def _members(path: Path, found: FoundFile, limits: Limits) -> Iterator[FoundFile]:
    try:
        for index, name, what in identify_members(path, replace(limits, files=ARCHIVE_MEMBERS)):
            member = replace(found, member=index, name=f"{found.name}/{_printable(name)}")
            if isinstance(what, Identity):
                yield replace(member, study=what.study_instance_uid)
            else:
                yield _refused(member, what)
    except RefusedError as error:
        yield _refused(found, error)
    else:
        yield replace(found, code=ARCHIVE)


def _refused(found: FoundFile, error: RefusedError) -> FoundFile:
    return replace(found, code=error.refusal.code, reason=error.refusal.reason)


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)
