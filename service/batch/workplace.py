"""The folder a batch writes to, and what it keeps there for itself.

DIR/<study>/                  report.json and what else was asked for
DIR/results.csv …             made when the batch ends or is interrupted
DIR/.batch/journal.sqlite     what was found and what became of it
DIR/.batch/work               the jobs' own folder, unless a database is shared
DIR/.batch/gathered/          studies that had to be brought together, while they are read
"""

from __future__ import annotations

import fcntl
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from models.errors import AcuityError
from service.batch.discovery import JOURNAL, STATE
from service.batch.journal import Journal
from service.jobs.batches import BatchOptions
from service.report.outputs import Format


class BatchInUseError(AcuityError):
    """Another process works on this batch."""

    code = "batch_in_use"


class OtherBatchError(AcuityError):
    """The folder holds a batch over other studies or with other options."""

    code = "other_batch"
    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a batch lives.

    Attributes:
        out: Folder that the user named.
        state: What the batch keeps for itself.
        journal: What was found and what became of it.
        batch: Name of the batch among the jobs.
    """

    out: Path
    state: Path
    journal: Journal
    batch: str

    @property
    def work_dir(self) -> Path:
        """The jobs' own folder."""
        return self.state / "work"

    @property
    def gathered(self) -> Path:
        """Studies that had to be brought together."""
        return self.state / "gathered"

    @property
    def scratch(self) -> Path:
        """On the file system of the results."""
        return self.state / "scratch"


@contextmanager
def open_workplace(out: Path) -> Iterator[Workplace]:
    """Open the folder of a batch, made when missing, for this process alone.

    Raises:
        BatchInUseError: Another process has it.
        OSError: The folder cannot be written.
    """
    state = out / STATE
    # The journal tells which identity stands behind a de-identified study.
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BatchInUseError("another process works on this batch") from error
        journal = Journal(state / JOURNAL)
        try:
            batch = journal.fact("batch")
            if batch is None:
                batch = secrets.token_hex(16)
                journal.note("batch", batch)
            place = Workplace(out.resolve(), state.resolve(), journal, batch)
            # What a process that was killed was copying.
            shutil.rmtree(place.scratch, ignore_errors=True)
            for folder in (place.work_dir, place.gathered, place.scratch):
                folder.mkdir(exist_ok=True)
            yield place
        finally:
            journal.close()


def agreed_options(
    journal: Journal, root: Path, formats: frozenset[Format], *, deidentify: bool
) -> BatchOptions:
    """The options of a batch: noted the first time, and to be the same ever after.

    Raises:
        OtherBatchError: They differ from those that the batch was begun with.
    """
    asked = {
        "root": str(root),
        "formats": ",".join(sorted(formats)),
        "deidentify": "yes" if deidentify else "no",
    }
    for name, value in asked.items():
        noted = journal.fact(name)
        if noted is None:
            journal.note(name, value)
        elif noted != value:
            raise OtherBatchError(
                f"this folder holds a batch with another {_NAMES[name]}; give another --out"
            )
    if not deidentify:
        return BatchOptions(formats=tuple(sorted(formats)))
    key = journal.fact("deidentify_key")
    if key is None:
        key = secrets.token_hex(32)
        journal.note("deidentify_key", key)
    return BatchOptions(formats=tuple(sorted(formats)), deidentify_key=key)


_NAMES = {"root": "ROOT", "formats": "--formats", "deidentify": "choice of --deidentify"}
