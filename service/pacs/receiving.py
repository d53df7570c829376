"""Instances from the network, on disk before they are acknowledged, and until their job is done.

    <work dir>/received/parts/             what is being received
    <work dir>/received/studies/<study>/   one file per instance, complete and durable
    <work dir>/received/expected/<study>   how many instances the study will have, where known
    <work dir>/received/submitted/<study>  which instances the jobs were given, and as which job

Names are digests of UIDs: no UID reaches a path. A file is written under `parts`, brought to the
disk and renamed, so that what stands under `studies` after a power cut is whole, and what a sender
was told is stored is there. The time of a study's folder is the time of its last new instance.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from models.durable import flush_folder, settle, write_back, write_durably
from models.errors import AcuityError
from service.ingest.safety import CHUNK_BYTES, Limits
from service.pacs.identity import InstanceIdentity, read_identity


class StorageFullError(AcuityError):
    """No room for another instance, on disk or in its study."""

    code = "disk_full"


class Admission(Enum):
    """What became of an instance that was received whole."""

    STORED = "stored"
    KNOWN = "known"
    """The same bytes were here already; the study has not changed."""
    OWN = "own"
    """One of our own results; it is not kept."""


class Submission(BaseModel):
    """What the jobs were last given of a study.

    Attributes:
        changed_ns: Time of the study's folder when its files were listed.
        instances: File names: digests of SOP Instance UIDs.
        job_id: None when the jobs refused the content for good, for the reason in `code`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    changed_ns: int
    instances: tuple[str, ...]
    job_id: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an instance was put, for `ReceiveFolder.settle` to make it durable.

    Attributes:
        path: None for what is not kept.
    """

    admission: Admission
    path: Path | None


@dataclass(frozen=True, slots=True)
class ReceivedStudy:
    """A study in the receive folder.

    Attributes:
        key: Digest of its Study Instance UID; the name of its folder.
        changed_ns: When its last new instance came, by the file system's clock.
    """

    key: str
    folder: Path
    changed_ns: int

    def quiet_s(self, now_s: float) -> float:
        """Seconds since the last new instance; a clock set back counts as none."""
        return max(0.0, now_s - self.changed_ns / 1e9)


def digest_of(uid: str) -> str:
    """Name of a UID on disk: 32 hex digits."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


class ReceiveFolder:
    """The receive folder of an installation. Thread-safe; several processes may share it.

    Args:
        root: `received` under the work folder.
        limits: On what is read of an instance, and on the files of a study.
        min_free_bytes: Below so much free space nothing more is taken.
    """

    def __init__(self, root: Path, limits: Limits, min_free_bytes: int = 0) -> None:
        self.limits = limits
        self.parts = root / "parts"
        self._studies = root / "studies"
        self._expected = root / "expected"
        self._submitted = root / "submitted"
        self._min_free_bytes = min_free_bytes
        self._moving = threading.Lock()
        self._pulled: set[str] = set()

    def open(self) -> None:
        """Make the folders."""
        for folder in (self.parts, self._studies, self._expected, self._submitted):
            folder.mkdir(parents=True, exist_ok=True)

    def check_room(self) -> None:
        """Look at the disk before anything is taken.

        Raises:
            StorageFullError: Less than the watermark is free.
        """
        if shutil.disk_usage(self.parts).free < self._min_free_bytes:
            raise StorageFullError("the disk is too full to take more studies")

    def new_part(self) -> Path:
        """A path for one instance that is to be received."""
        return self.parts / f"{uuid4().hex}.part"

    def new_staging(self) -> Path:
        """Make an empty folder for several instances that are to be received together."""
        staging = self.parts / uuid4().hex
        staging.mkdir()
        return staging

    def admit(
        self, part: Path, check: Callable[[InstanceIdentity], None] | None = None
    ) -> Admission:
        """Take over a file that was received whole; it is durable when this returns.

        Args and errors are those of `place`.
        """
        placement = self.place(part, check)
        self.settle([placement])
        return placement.admission

    def place(
        self, part: Path, check: Callable[[InstanceIdentity], None] | None = None
    ) -> Placement:
        """Take over a file that was received whole; `settle` makes several durable at once.

        Args:
            part: Under `parts`; gone afterwards, unless an error is raised.
            check: Raises what the caller will not have stored.

        Raises:
            RefusedError: What it is cannot be read.
            StorageFullError: Its study has as many files as a study may have.
            OSError: The disk does not take it.
        """
        identity = read_identity(part, self.limits)
        if check is not None:
            check(identity)
        if identity.own:
            part.unlink()
            return Placement(Admission.OWN, None)
        study = self._studies / digest_of(identity.study_instance_uid)
        target = study / f"{digest_of(identity.sop_instance_uid)}.dcm"
        if _same_content(part, target):
            part.unlink()
            # Perhaps another sender's, which is not yet durable.
            return Placement(Admission.KNOWN, target)
        write_back(part)
        self._move_in(part, target)
        return Placement(Admission.STORED, target)

    def settle(self, placements: Iterable[Placement]) -> None:
        """Have the disk hold what was placed, and where.

        Raises:
            OSError: The disk does not take it, or a study was removed meanwhile.
        """
        settle(placement.path for placement in placements if placement.path is not None)

    def _move_in(self, part: Path, target: Path) -> None:
        study = target.parent
        with self._moving:
            try:
                full = len(os.listdir(study)) >= self.limits.files  # noqa: PTH208  the quickest
            except FileNotFoundError:
                study.mkdir(exist_ok=True)
                flush_folder(self._studies)
                full = False
            if full:
                raise StorageFullError("the study has as many files as a study may have")
            part.replace(target)

    @contextmanager
    def pulling(self, study_uid: str) -> Iterator[None]:
        """While a study is pulled its pauses are the archive's: it has not come to rest."""
        key = digest_of(study_uid)
        self._pulled.add(key)
        try:
            yield
        finally:
            self._pulled.discard(key)

    def is_pulled(self, key: str) -> bool:
        """Whether a study is just being pulled by this process."""
        return key in self._pulled

    def studies(self) -> Iterator[ReceivedStudy]:
        """Every study that is here."""
        with os.scandir(self._studies) as entries:
            for entry in entries:
                if entry.is_dir():
                    changed = entry.stat().st_mtime_ns
                    yield ReceivedStudy(entry.name, Path(entry.path), changed)

    def files(self, study: ReceivedStudy) -> tuple[Path, ...]:
        """The instances of a study that are here, by name."""
        return tuple(sorted(study.folder.glob("*.dcm")))

    def instances(self, study_uid: str) -> frozenset[str]:
        """Digests of the SOP Instance UIDs of a study: here now, or given to the jobs before."""
        submission = self.submission(digest_of(study_uid))
        return self.held(study_uid).union(submission.instances if submission else ())

    def held(self, study_uid: str) -> frozenset[str]:
        """Digests of the SOP Instance UIDs of a study's files that are here now."""
        return frozenset(path.stem for path in (self._studies / digest_of(study_uid)).glob("*.dcm"))

    def expect(self, study_uid: str, count: int) -> None:
        """Note that a study is complete once `count` of its instances are here."""
        write_durably(self._expected / digest_of(study_uid), str(count).encode())

    def expected(self, key: str) -> int | None:
        """How many instances make the study complete; None when not known."""
        try:
            return int((self._expected / key).read_text("ascii"))
        except (OSError, ValueError):
            return None

    def submission(self, key: str) -> Submission | None:
        """What the jobs were last given of a study, or None."""
        try:
            return Submission.model_validate_json((self._submitted / key).read_bytes())
        except (OSError, ValidationError):
            return None

    def note_submission(self, key: str, submission: Submission) -> None:
        """Remember what the jobs were given; nothing is expected of the study any more."""
        write_durably(self._submitted / key, submission.model_dump_json().encode())
        (self._expected / key).unlink(missing_ok=True)

    def remove(self, study: ReceivedStudy) -> bool:
        """Remove a study's files, unless something came in since it was listed."""
        with self._moving:
            if study.folder.stat().st_mtime_ns != study.changed_ns:
                return False
            # Out of the way in one step: what arrives now begins a new folder.
            gone = self.new_staging() / study.key
            study.folder.rename(gone)
        if gone.stat().st_mtime_ns != study.changed_ns:
            # Another process moved an instance in between the look and the step.
            for path in gone.glob("*.dcm"):
                self._move_in(path, study.folder / path.name)
            return False
        shutil.rmtree(gone.parent, ignore_errors=True)
        return True

    def forget(self, study_uid: str) -> bool:
        """Remove all that is here of a study, and what was noted of it.

        Returns:
            Whether there was anything.
        """
        key = digest_of(study_uid)
        notes = (self._expected / key, self._submitted / key)
        found = (self._studies / key).is_dir() or any(note.exists() for note in notes)
        with self._moving:
            shutil.rmtree(self._studies / key, ignore_errors=True)
            for note in notes:
                note.unlink(missing_ok=True)
        return found

    def clear_parts(self, older_than_s: float) -> int:
        """Remove what was being received when a process ended; none of it was acknowledged.

        Returns:
            How many there were.
        """
        before = time.time() - older_than_s
        stale = [path for path in self.parts.iterdir() if path.stat().st_mtime < before]
        for path in stale:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return len(stale)


def _same_content(first: Path, second: Path) -> bool:
    try:
        if second.stat().st_size != first.stat().st_size:
            return False
    except FileNotFoundError:
        return False
    with first.open("rb") as one, second.open("rb") as other:
        while chunk := one.read(CHUNK_BYTES):
            if chunk != other.read(CHUNK_BYTES):
                return False
    return True
