"""Pulls of studies from archives: promised with a 202, done in the background, never forgotten."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final

import structlog
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Row, insert, update
from sqlalchemy.exc import IntegrityError

from models.errors import AcuityError
from service.ingest.refusals import RefusedError
from service.jobs.database import WaitState
from service.logs import Pseudonyms
from service.pacs.archives import Archive, ArchiveError, SeriesEntry
from service.pacs.multipart import Part
from service.pacs.receiving import (
    Admission,
    Placement,
    ReceiveFolder,
    StorageFullError,
    digest_of,
)
from service.pacs.tables import RETRIEVALS, DurableQueue

log = structlog.get_logger()

GIVE_UP_S: Final = 3 * 24 * 3600.0
"""How long an archive that does not answer is asked again."""


class UnknownSourceError(AcuityError):
    """No archive of this name is configured."""

    code: ClassVar[str] = "unknown_source"


class RetrievalState(StrEnum):
    """Where a pull stands. What became of the study is said by its job."""

    QUEUED = "queued"
    RECEIVED = "received"
    FAILED = "failed"


class Retrieval(BaseModel):
    """A pull of one study.

    Attributes:
        retrieval_id: The same for the same study and source.
        code: Why it failed, or why it waits for another try; None otherwise.
        instances: How many were taken over, once received.
        job_id: Of the job that got the study, once there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    retrieval_id: str
    source: str
    study_instance_uid: str
    state: RetrievalState
    code: str | None = None
    instances: int | None = None
    job_id: str | None = None


_STATES: Final = {
    WaitState.WAITING: RetrievalState.QUEUED,
    WaitState.DONE: RetrievalState.RECEIVED,
    WaitState.FAILED: RetrievalState.FAILED,
}


class Retrievals:
    """The pulls of an installation.

    Args:
        queue: Over the table of retrievals.
        archives: By name.
        folder: Where instances go.
        pseudonyms: For logs.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        queue: DurableQueue,
        archives: Mapping[str, Archive],
        folder: ReceiveFolder,
        pseudonyms: Pseudonyms,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._archives = archives
        self._folder = folder
        self._pseudonyms = pseudonyms
        self._clock = clock

    def request(
        self, study_uid: str, source: str | None = None, *, complete: bool = True
    ) -> Retrieval:
        """Promise to pull a study; the promise is on disk when this returns.

        Args:
            study_uid: Of the study.
            source: Name of an archive; None where only one is configured.
            complete: The archive holds all of it: it is read as soon as it is here. Else it is read
                once nothing new of it came for the quiet period, and series that are here already
                are not pulled again.

        Raises:
            UnknownSourceError: There is no such archive, or which one is meant is not clear.
        """
        if source is None and len(self._archives) == 1:
            source = next(iter(self._archives))
        if source is None or source not in self._archives:
            raise UnknownSourceError("no archive of this name is configured")
        retrieval_id = hashlib.sha256(f"{source}\n{study_uid}".encode()).hexdigest()[:32]
        now = self._clock()
        fresh: dict[str, Any] = {
            "state": WaitState.WAITING,
            "attempts": 0,
            "created_at": now,
            "next_at": now,
            "code": None,
            "instances": None,
            "complete": complete,
        }
        table = RETRIEVALS
        with self._queue.engine.begin() as connection:
            # One that is over begins again: the study may have grown. One that waits goes on.
            again = connection.execute(
                update(table)
                .where(table.c.id == retrieval_id, table.c.state != WaitState.WAITING)
                .values(**fresh)
            )
        if again.rowcount == 0 and self._queue.get(retrieval_id) is None:
            self._insert(
                {"id": retrieval_id, "source": source, "study_instance_uid": study_uid, **fresh}
            )
        elif again.rowcount == 0:
            # It may be half done: what it has not seen yet is looked for once more after it.
            self._queue.note(
                retrieval_id, created_at=now, **({"complete": True} if complete else {})
            )
        log.info("retrieval_queued", study=self._pseudonyms.of(study_uid), source=source)
        found = self.get(retrieval_id)
        if found is None:
            raise LookupError(retrieval_id)
        return found

    def _insert(self, values: dict[str, Any]) -> None:
        try:
            with self._queue.engine.begin() as connection:
                connection.execute(insert(RETRIEVALS).values(**values))
        except IntegrityError:
            log.info("retrieval_known")  # another request of the same moment was first

    def get(self, retrieval_id: str) -> Retrieval | None:
        """A pull, or None."""
        row = self._queue.get(retrieval_id)
        if row is None:
            return None
        state = _STATES[WaitState(row.state)]
        submission = None
        if state is RetrievalState.RECEIVED:
            submission = self._folder.submission(digest_of(row.study_instance_uid))
        return Retrieval(
            retrieval_id=row.id,
            source=row.source,
            study_instance_uid=row.study_instance_uid,
            state=state,
            code=row.code,
            instances=row.instances,
            job_id=submission.job_id if submission else None,
        )

    def work(self) -> bool:
        """Do one pull that is due; False when there is none."""
        row = self._queue.claim(self._clock())
        if row is None:
            return False
        code = None
        count = 0
        try:
            with self._folder.pulling(row.study_instance_uid):
                count = self._pull(row)
            code = None if count else "study_not_found"
        except (ArchiveError, StorageFullError) as error:
            code = error.code
        except OSError:
            code = "storage"
        self._note(row, count, code)
        return True

    def _note(self, row: Row[Any], count: int, code: str | None) -> None:
        now = self._clock()
        if code is None:
            self._conclude(row, now, count)
        elif code == "study_not_found" or now - row.created_at > GIVE_UP_S:
            self._queue.note(row.id, state=WaitState.FAILED, code=code)
        else:
            self._queue.try_again(row, now, code)
        log.info(
            "retrieval_tried",
            study=self._pseudonyms.of(row.study_instance_uid),
            source=row.source,
            attempt=row.attempts,
            instances=count,
            code=code,
        )

    def _conclude(self, row: Row[Any], now: float, count: int) -> None:
        """Note a pull as done, unless it was asked for again since it began."""
        same = (RETRIEVALS.c.id == row.id, RETRIEVALS.c.created_at == row.created_at)
        done = {"state": WaitState.DONE, "code": None, "instances": count}
        with self._queue.engine.begin() as connection:
            noted = connection.execute(update(RETRIEVALS).where(*same).values(**done))
        if noted.rowcount == 0:
            self._queue.note(row.id, next_at=now, attempts=0, code=None)

    def _pull(self, row: Row[Any]) -> int:
        """Pull every MR series of a study; how many instances of it there are."""
        archive = self._archives.get(row.source)
        if archive is None:  # taken out of the settings since it was asked for
            raise ArchiveError("no archive of this name is configured any more")
        study_uid: str = row.study_instance_uid
        admissions: list[Admission] = []
        known = 0
        for series in archive.series_of(study_uid):
            here = 0 if row.complete else self._held(archive, study_uid, series)
            if here:
                known += here
                continue
            self._folder.check_room()
            staging = self._folder.new_staging()
            try:
                parts = archive.pull_series(study_uid, series.series_uid, staging)
                if series.instances is not None and len(parts) < series.instances:
                    raise ArchiveError("the archive sent fewer instances than it counts")
                placed = [place for part in parts if (place := self._placed(part)) is not None]
                self._folder.settle(placed)
                admissions += [placement.admission for placement in placed]
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        kept = known + sum(admission is not Admission.OWN for admission in admissions)
        submitted = self._folder.submission(digest_of(study_uid)) is not None
        if row.complete and kept and (Admission.STORED in admissions or not submitted):
            # All of it is here: there is nothing to wait for.
            self._folder.expect(study_uid, kept)
        return kept

    def _held(self, archive: Archive, study_uid: str, series: SeriesEntry) -> int:
        """How many instances a series has, when all of them are here; else 0."""
        held = self._folder.held(study_uid)
        wanted = [digest_of(uid) for uid in archive.instances_of(study_uid, series.series_uid)]
        return len(wanted) if held.issuperset(wanted) else 0

    def _placed(self, part: Part) -> Placement | None:
        try:
            return self._folder.place(part.path)
        except RefusedError as error:
            log.info("instance_refused", code=error.refusal.code)
            return None
