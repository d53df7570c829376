"""Jobs that survive: records in a database, work in a durable queue, results on disk.

A study is taken once it is written down and queued. Whatever dies after that, and whenever, the
study is read; read twice, it leaves the same files and one record.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError

from service.jobs.content import Content, job_id_for, read_content
from service.jobs.folders import CurrentReport, JobFolders
from service.jobs.job import Job, JobState, Outcome, QueueFullError, Readiness
from service.jobs.process import Runner
from service.jobs.records import JobRecords
from service.jobs.workqueue import WorkQueue
from service.logs import Pseudonyms

log = structlog.get_logger()

TIDY_S: Final = 30.0
"""How often what was left behind is looked for."""

STALE_S: Final = 3600.0
"""Age of an upload or draft that no process can still be writing."""

MOST_ATTEMPTS: Final = 5
"""Of a job whose work ends without an outcome, which only a defect or a vanished disk does."""

DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class JobPolicy:
    """What is taken, and how long it is kept.

    Attributes:
        engine: Software version and bundle digests, part of every job id.
        max_queued: Studies that may wait.
        max_bytes: Most bytes that may come out of an archive.
        retention_days: Jobs and results are removed so long after their end; None keeps them.
    """

    engine: str
    max_queued: int
    max_bytes: int
    retention_days: float | None = None


class DurableJobs:
    """The `Jobs` seam over a database, a queue and a folder.

    Args:
        records: Of a migrated database.
        queue: Calls back for every job put in.
        folders: Where results lie.
        runner: What reads a study.
        policy: What is taken, and how long it is kept.
        pseudonyms: For logs.
    """

    def __init__(
        self,
        *,
        records: JobRecords,
        queue: WorkQueue,
        folders: JobFolders,
        runner: Runner,
        policy: JobPolicy,
        pseudonyms: Pseudonyms,
    ) -> None:
        self._records = records
        self._queue = queue
        self._folders = folders
        self._runner = runner
        self._policy = policy
        self._pseudonyms = pseudonyms
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep_order, name="jobs", daemon=True)

    def start(self) -> None:
        """Start the worker and the queue; what a former process left is taken up again."""
        self._folders.open()
        self._runner.start()
        self._queue.start(self.perform)
        self._requeue()
        self._keeper.start()

    def close(self) -> None:
        """Stop; what waits or runs goes on after the next start."""
        self._closing.set()
        self._runner.close()
        self._queue.close()
        if self._keeper.is_alive():
            self._keeper.join(timeout=5.0)

    def new_upload(self) -> Path:
        """Make an empty folder for a request body.

        Raises:
            DiskFullError: The disk is at its watermark.
        """
        return self._folders.new_upload()

    def discard_upload(self, upload: Path) -> None:
        """Remove an upload folder; one that is gone is fine."""
        shutil.rmtree(upload, ignore_errors=True)

    def submit(self, upload: Path) -> Job:
        """Take over an upload folder and queue its study, or find the job that has read it.

        Raises:
            QueueFullError: Too many studies wait; the upload is still the caller's.
            InvalidArchiveError: The archive cannot be read.
            ContentTooLargeError: More files or bytes than one study may have.
        """
        content = read_content(upload, self._policy.max_bytes)
        job, taken = self._take(content, str(upload), None)
        if not taken:
            self.discard_upload(upload)
        return job

    def submit_folder(self, folder: Path, batch: str) -> Job:
        """Queue a study that stays where it is, as part of a batch.

        Args:
            folder: Of files, or one archive; it must be readable by every worker and not change.
            batch: Name under which `listing` finds the jobs again; what is written of them is noted
                under it (`service.jobs.batches`). Part of the job's id: the same study read in
                another batch, or by the service, is another job.

        Raises:
            InvalidArchiveError: The archive cannot be read.
            ContentTooLargeError: More files or bytes than one study may have.
        """
        content = read_content(folder, self._policy.max_bytes)
        return self._take(content, None, batch)[0]

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""
        return self._records.get(job_id)

    def newest_of(self, study_instance_uid: str) -> Job | None:
        """The job whose report stands for a study, or None."""
        return self._records.newest_of(study_instance_uid)

    def listing(self, batch: str | None = None) -> tuple[Job, ...]:
        """The jobs handed in one by one, or those of a batch, newest first."""
        return self._records.all(batch)

    def ended(self, job_ids: Collection[str]) -> tuple[Job, ...]:
        """Those of some jobs that are final."""
        return self._records.ended(job_ids)

    def results(self, job_id: str) -> Path:
        """Folder with the files of a report."""
        return self._folders.results(job_id)

    def readiness(self) -> Readiness:
        """Bundles open, disk and database there, room in the queue, and somebody at work."""
        try:
            waiting = self._records.waiting()
        except SQLAlchemyError:
            waiting = None
        return Readiness(
            checks={
                "bundles": self._runner.ready,
                "work_dir": self._folders.writable(),
                "disk": self._folders.has_room(),
                "database": waiting is not None,
                "queue": waiting is not None and waiting < self._policy.max_queued,
                "worker": self._queue.alive,
            }
        )

    def _take(self, content: Content, upload: str | None, batch: str | None) -> tuple[Job, bool]:
        """Write a study down and queue it; whether its files are ours from now on."""
        engine = self._policy.engine
        job_id = job_id_for(content, engine if batch is None else f"{engine} {batch}")
        known = self._records.get(job_id)
        if known is not None and known.state is not JobState.FAILED:
            log.info("study_known", job=job_id, state=known.state.value)
            return known, False
        # A batch waits in full: who made it knows how large it is.
        if self._closing.is_set() or (
            batch is None and self._records.waiting() >= self._policy.max_queued
        ):
            raise QueueFullError("too many studies wait; send this one again later")
        job = Job(
            job_id=job_id,
            state=JobState.QUEUED,
            received_at=datetime.now(UTC),
            files=content.files,
            batch=batch,
        )
        source = str(content.source)
        attempt: int | None = 1
        if not self._records.add(job, source, upload, batch):
            attempt = self._records.renew(job, source, upload)
        if attempt is None:  # another request was first with the same content
            return self._records.get(job_id) or job, False
        self._queue.put(job_id, attempt)
        log.info("study_queued", job=job_id, files=content.files)
        return job, True

    def perform(self, job_id: str) -> None:
        """Read the study of a job; called by the queue, one at a time. Twice does no harm."""
        row = self._records.row(job_id)
        if row is None or JobState(row.state).final:
            return
        self._records.change(job_id, state=JobState.RUNNING, started_at=time.time(), outcome=None)
        draft = self._folders.draft(job_id)
        try:
            outcome = self._runner.run(
                Path(row.source),
                draft,
                self._stage_noter(job_id),
                created=row.received_at,
                current=None if row.batch else self._folders.current,
                options=self._folders.options(row.batch),
            )
            if self._closing.is_set() and not outcome.state.reported:
                # The worker was ended by us, not by the study: another start reads it.
                self._records.change(job_id, state=JobState.QUEUED, started_at=None, stage=None)
                return
            self._finish(row, outcome, draft)
        except OSError as error:
            # A full or vanished disk fails this study; the next may find room again.
            log.warning("storage_failed", job=job_id, errno=error.errno)
            self._conclude(row, Outcome.failed("storage", "the result could not be written"))
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _stage_noter(self, job_id: str) -> Callable[[str], None]:
        return lambda stage: self._records.change(job_id, stage=stage)

    def _finish(self, row: Row[Any], outcome: Outcome, draft: Path) -> None:
        """Publish first, then say so: a crash in between publishes the same again."""
        if not outcome.state.reported:
            self._conclude(row, outcome)
            return
        uid, job_id = outcome.study_instance_uid, str(row.job_id)
        rivals = self._records.rivals(job_id, uid, row.batch) if uid else ()
        better = [one for one in rivals if _rank(one) > (outcome.files_used, row.received_at)]
        self._folders.publish(job_id, draft)
        if better:
            best = max(better, key=_rank)
            self._folders.mark_superseded(self._folders.results(job_id))
            self._conclude(row, outcome, superseded_by=best.job_id)
            return
        if outcome.state is JobState.SUCCEEDED and row.batch is None:
            self._folders.set_current(
                uid, CurrentReport(job_id=job_id, content_key=outcome.content_key)
            )
        for rival in rivals:
            self._folders.mark_superseded(self._folders.results(rival.job_id))
        previous = max(rivals, key=_rank).job_id if rivals else None
        self._conclude(row, outcome, supersedes=previous)
        for rival in rivals:
            self._records.change(rival.job_id, superseded_by=job_id)

    def _conclude(self, row: Row[Any], outcome: Outcome, **values: object) -> None:
        self._records.change(
            row.job_id,
            state=outcome.state,
            outcome=outcome.model_dump_json(),
            finished_at=time.time(),
            stage=None,
            study_instance_uid=outcome.study_instance_uid,
            files_used=outcome.files_used,
            **values,
        )
        if row.upload is not None:
            self.discard_upload(Path(row.upload))
        log.info(
            "study_finished",
            job=row.job_id,
            study=self._pseudonyms.of(outcome.study_instance_uid),
            state=outcome.state.value,
            code=outcome.reason.code if outcome.reason else None,
            stages_ms={name: round(ms) for name, ms in outcome.stages_ms.items()},
        )

    def _keep_order(self) -> None:
        while not self._closing.wait(TIDY_S):
            try:
                self._requeue()
                self._folders.tidy(self._records.uploads(), STALE_S, time.time())
                self._retire()
            except (OSError, SQLAlchemyError) as error:
                log.warning("tidying_failed", error=type(error).__name__)

    def _requeue(self) -> None:
        """Queue open jobs that nothing works on: written down but never put in, or given up."""
        for row in self._records.open():
            attempt = int(row.attempt)
            if self._queue.settled(row.job_id, attempt):
                if attempt >= MOST_ATTEMPTS:
                    self._conclude(row, Outcome.failed("internal", "the study could not be read"))
                    continue
                attempt += 1
                if not self._records.next_attempt(row.job_id, attempt):
                    continue
            self._queue.put(row.job_id, attempt)

    def _retire(self) -> None:
        if self._policy.retention_days is None:
            return
        ended: Sequence[str] = self._records.finished_before(
            time.time() - self._policy.retention_days * DAY_S
        )
        for job_id in ended:
            self._folders.remove(job_id)
            self._records.remove(job_id)


def _rank(row: Row[Any]) -> tuple[int, float]:
    """Of two reports of a study the one that used more files stands, else the later one."""
    return int(row.files_used), float(row.received_at)
