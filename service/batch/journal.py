"""What a batch found and what became of it: a small SQLite file that outlives every interruption.

Nothing here is held in memory as a whole, so a batch may be of any size. Paths are kept as bytes,
as the file system has them.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

WHOLE_FILE: Final = -1
"""In place of an archive member's number."""

ARCHIVE: Final = "archive"
"""Code of a file whose members are rows of their own."""

RESULTS: Final = "batch_results"
"""Code of a folder that holds the results of a batch: never read."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    path BLOB NOT NULL, member INTEGER NOT NULL, name TEXT NOT NULL,
    size INTEGER NOT NULL, changed_ns INTEGER NOT NULL, linked INTEGER NOT NULL,
    study TEXT, code TEXT, reason TEXT, walk INTEGER NOT NULL,
    PRIMARY KEY (path, member)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_study ON files (study);
CREATE TABLE IF NOT EXISTS studies (
    study TEXT PRIMARY KEY, state TEXT NOT NULL, fingerprint TEXT NOT NULL,
    job_id TEXT, folder TEXT, outcome TEXT
) WITHOUT ROWID;
"""


class StudyState(StrEnum):
    """Where a study of a batch stands; the last three are final."""

    FOUND = "found"
    REPORTED = "reported"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file, or a member of an archive, that was looked at.

    Attributes:
        path: Relative to the folder that was walked.
        member: Place in the archive at `path`; `WHOLE_FILE` for a file.
        name: For people: the path, and the member's name behind it.
        size, changed_ns: Of the file at `path`, to see whether it has changed.
        linked: Whether it is a symbolic link.
        study: Study Instance UID; None where it is of no study.
        code, reason: Why it is of no study.
    """

    path: bytes
    member: int
    name: str
    size: int
    changed_ns: int
    linked: bool = False
    study: str | None = None
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study of the batch.

    Attributes:
        study: Study Instance UID as found.
        fingerprint: Of its files and of what reads them; a change makes the study new.
        job_id: Of the job that was submitted last.
        folder: Name of its result folder.
        outcome: Of the job, as JSON.
    """

    study: str
    state: StudyState
    fingerprint: str
    job_id: str | None
    folder: str | None
    outcome: Mapping[str, Any]


class Journal:
    """The journal of one batch; used from one thread.

    Args:
        path: Made when missing.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        # What is committed survives the death of the process; a power cut may take the last moments
        # back, and they are then done again.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def fact(self, name: str) -> str | None:
        """A value noted for the batch, or None."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def note(self, name: str, value: str) -> None:
        """Note a value for the batch."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def transaction(self) -> AbstractContextManager[object]:
        """Write everything inside at once; quicker for many rows."""
        self._db.execute("BEGIN")
        return self._db

    # ---- files

    def add_file(self, file: FoundFile, walk: int) -> None:
        """Write down what was seen of a file."""
        row = (
            file.path, file.member, file.name, file.size, file.changed_ns, file.linked,
            file.study, file.code, file.reason, walk,
        )  # fmt: skip
        self._db.execute("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?,?,?,?,?)", row)

    def still_there(self, file: FoundFile, walk: int) -> bool:
        """Whether a file is known and unchanged; if so its rows belong to this walk."""
        known = self._db.execute(
            "SELECT 1 FROM files WHERE path = ? AND member = ? AND size = ? AND changed_ns = ?"
            " AND linked = ?",
            (file.path, WHOLE_FILE, file.size, file.changed_ns, file.linked),
        ).fetchone()
        if known is not None:
            self._db.execute("UPDATE files SET walk = ? WHERE path = ?", (walk, file.path))
        return known is not None

    def forget_file(self, path: bytes) -> None:
        """Drop a file's rows and its members'."""
        self._db.execute("DELETE FROM files WHERE path = ?", (path,))

    def end_walk(self, walk: int) -> None:
        """Forget the files that were not met on this walk."""
        self._db.execute("DELETE FROM files WHERE walk <> ?", (walk,))

    def files_of(self, study: str) -> Iterator[FoundFile]:
        """The files of a study, in the order of their paths."""
        return self._files("study = ?", study)

    def files_of_none(self) -> Iterator[FoundFile]:
        """The files that are of no study, archives and results apart."""
        return self._files("study IS NULL AND code NOT IN (?, ?)", ARCHIVE, RESULTS)

    def _files(self, where: str, *values: object) -> Iterator[FoundFile]:
        asked = (
            "SELECT path, member, name, size, changed_ns, linked, study, code, reason"  # noqa: S608
            f" FROM files WHERE {where} ORDER BY path, member"
        )
        for row in self._db.execute(asked, values):
            yield FoundFile(*row)

    def holds_others(self, folder: bytes, study: str) -> bool:
        """Whether a folder has anything below it that keeps it from being read as one study.

        That is files of other studies, archives, links to files and results of batches.

        Args:
            folder: Path relative to what was walked; empty for all of it.
            study: The study that may be there.
        """
        inside, values = _below(folder)
        found = self._db.execute(
            f"SELECT 1 FROM files WHERE {inside}"  # noqa: S608
            " AND (study <> ? OR member <> -1 OR code IN (?, ?)"
            " OR (linked AND study IS NOT NULL)) LIMIT 1",
            (*values, study, ARCHIVE, RESULTS),
        )
        return found.fetchone() is not None

    def archive_holds_others(self, archive: bytes, study: str) -> bool:
        """Whether an archive has members of another study."""
        found = self._db.execute(
            "SELECT 1 FROM files WHERE path = ? AND study <> ? LIMIT 1", (archive, study)
        )
        return found.fetchone() is not None

    def refused_files(self) -> dict[str, int]:
        """How many files are of no study, by code."""
        rows = self._db.execute(
            "SELECT code, count(*) FROM files WHERE study IS NULL AND code NOT IN (?, ?)"
            " GROUP BY code ORDER BY code",
            (ARCHIVE, RESULTS),
        )
        return {str(code): int(count) for code, count in rows}

    # ---- studies

    def study_uids(self) -> Iterator[str]:
        """Every study that has files, in order."""
        yield from self._walk_uids("SELECT DISTINCT study FROM files WHERE study > ?")

    def open_studies(self) -> Iterator[str]:
        """Every study that is not final, in order."""
        yield from self._walk_uids("SELECT study FROM studies WHERE state = 'found' AND study > ?")

    def _walk_uids(self, asked: str) -> Iterator[str]:
        # By key and not by cursor: rows change while they are walked.
        last = ""
        while rows := self._db.execute(f"{asked} ORDER BY study LIMIT 256", (last,)).fetchall():
            for (study,) in rows:
                yield study
            last = rows[-1][0]

    def study(self, study: str) -> StudyRow | None:
        """What is known of a study, or None."""
        row = self._db.execute("SELECT * FROM studies WHERE study = ?", (study,)).fetchone()
        return None if row is None else _study(row)

    def studies(self) -> Iterator[StudyRow]:
        """Every study, in the order of its result folder's name."""
        rows = self._db.execute("SELECT * FROM studies ORDER BY folder, study")
        return map(_study, rows)

    def expect(self, study: str, fingerprint: str) -> None:
        """Note a study that is to be read; one read already from the same files stays as it is."""
        self._db.execute(
            "INSERT INTO studies (study, state, fingerprint) VALUES (?, 'found', ?)"
            " ON CONFLICT (study) DO UPDATE"
            " SET state = 'found', fingerprint = excluded.fingerprint, job_id = NULL"
            " WHERE fingerprint <> excluded.fingerprint OR state = 'failed'",
            (study, fingerprint),
        )

    def forget_unread_without_files(self) -> None:
        """Drop studies whose files went before they were read; what was read keeps its results."""
        self._db.execute(
            "DELETE FROM studies WHERE state IN ('found', 'failed')"
            " AND study NOT IN (SELECT study FROM files WHERE study IS NOT NULL)"
        )

    def open_fingerprints(self) -> set[str]:
        """Of the studies that are not final."""
        rows = self._db.execute("SELECT fingerprint FROM studies WHERE state = 'found'")
        return {str(fingerprint) for (fingerprint,) in rows}

    def submitted(self, study: str, job_id: str) -> None:
        """Note the job that reads a study."""
        self._db.execute("UPDATE studies SET job_id = ? WHERE study = ?", (job_id, study))

    def ended(
        self, study: str, state: StudyState, folder: str | None, outcome: Mapping[str, Any]
    ) -> None:
        """Note what became of a study, once its folder is there."""
        self._db.execute(
            "UPDATE studies SET state = ?, folder = ?, outcome = ? WHERE study = ?",
            (state, folder, json.dumps(outcome, sort_keys=True), study),
        )

    def counts(self) -> dict[StudyState, int]:
        """How many studies stand where."""
        rows = self._db.execute("SELECT state, count(*) FROM studies GROUP BY state")
        counted = {StudyState(state): int(count) for state, count in rows}
        return {state: counted.get(state, 0) for state in StudyState}


def _study(row: Iterable[Any]) -> StudyRow:
    study, state, fingerprint, job_id, folder, outcome = row
    return StudyRow(
        study,
        StudyState(state),
        fingerprint,
        job_id,
        folder,
        {} if outcome is None else json.loads(outcome),
    )


def _below(folder: bytes) -> tuple[str, tuple[bytes, ...]]:
    """Condition on paths below a folder: "0" is what comes after "/"."""
    if not folder:
        return "1", ()
    separator = os.fsencode(os.sep)
    after = bytes([separator[0] + 1])
    return "path > ? AND path < ?", (folder + separator, folder + after)
