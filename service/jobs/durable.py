"""Jobs that survive: records in a database, work in a durable queue, results on disk.

A study is taken once it is written down. Whatever dies after that, and whenever, the study is read;
read twice, it leaves the same files and one record.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.ingest.safety import Limits
from service.jobs.content import Content, job_id_for, read_content
from service.jobs.endings import Endings
from service.jobs.folders import JobFolders
from service.jobs.job import Depth, Job, JobState, QueueFullError, Readiness, Tally
from service.jobs.performing import Performer
from service.jobs.process import Runner
from service.jobs.records import Entry, JobRecords
from service.jobs.reviews import (
    ImagesGoneError,
    ReportSupersededError,
    check_review,
    forget_reviews,
    keep_review,
    review_id_of,
    review_records,
    reviewed_study,
)
from service.jobs.upkeep import Upkeep
from service.jobs.workqueue import Attempt, WorkQueue
from service.logs import Pseudonyms
from service.report.review import Review, ReviewRecord

log = structlog.get_logger()

SWEEP_S: Final = 30.0
"""How often what was left behind is looked for."""

RETURN_S: Final = 0.2
"""How soon a job that was cut off waits in the queue again."""


@dataclass(frozen=True, slots=True)
class JobPolicy:
    """What is taken, and how long it is kept.

    Attributes:
        engine: Software version, bundle digests and settings: part of every job id.
        max_queued: Studies that may wait.
        max_bytes: Most bytes that may come out of an archive.
        retention_days: Jobs and results are removed so long after their end; None keeps them.
        limits: On what is read of a file to tell what it is.
        give_up_s: How long a report's delivery is tried; None where nothing is delivered.
    """

    engine: str
    max_queued: int
    max_bytes: int
    retention_days: float | None = None
    limits: Limits = field(default_factory=Limits)
    give_up_s: float | None = None


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
        self._closing = threading.Event()
        self._returned: SimpleQueue[Attempt] = SimpleQueue()
        self._endings = Endings()
        self._upkeep = Upkeep(records, queue, folders, policy.retention_days, policy.give_up_s)
        self._performer = Performer(
            records,
            folders,
            runner,
            pseudonyms,
            stopping=self._closing.is_set,
            return_job=lambda job_id, attempt: self._returned.put((job_id, attempt)),
        )
        self._keeper = threading.Thread(target=self._keep_order, name="jobs", daemon=True)

    def start(self) -> None:
        """Start the worker and the queue; what a former process left is taken up again."""
        self._folders.open()
        self._runner.start()
        self._queue.start(self._perform)
        self._upkeep.requeue()
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

    def check_room(self, coming_bytes: int = 0) -> None:
        """Look at the disk before more is taken.

        Args:
            coming_bytes: What is said to come.

        Raises:
            DiskFullError: The disk would be at its watermark.
        """
        self._folders.check_room(coming_bytes)

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
        self._folders.begin_flush(upload)
        content = read_content(upload, self._policy.max_bytes, self._policy.limits)
        job, taken = self._take(content, upload, None)
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
        content = read_content(folder, self._policy.max_bytes, self._policy.limits)
        return self._take(content, None, batch)[0]

    def submit_review(self, reviewed: Job, review: Review) -> Job:
        """Queue what a reader says of a job's report; the same word again is the same job.

        Raises:
            ReportSupersededError: Another report of the study stands.
            ReviewError: The review contradicts itself or the report.
            FindingsError: The report was written by another version.
            ImagesGoneError: The images are not kept any more.
            QueueFullError: Too many studies wait.
        """
        review_id = review_id_of(reviewed.job_id, review)
        known = self._records.get(review_id)
        if known is not None and known.state is not JobState.FAILED:
            return known
        if reviewed.state is not JobState.SUCCEEDED or reviewed.superseded_by is not None:
            raise ReportSupersededError("another report of the study stands")
        results = self._folders.results(reviewed.job_id)
        check_review(results, review)
        self._check_queue()
        record = ReviewRecord.of(
            review,
            review_id=review_id,
            job_id=reviewed.job_id,
            study_instance_uid=reviewed.study_instance_uid,
        )
        study = self._images_of(reviewed.job_id)
        folder = keep_review(self._folders.work_dir, record, study, results)
        job = Job(
            job_id=review_id,
            state=JobState.QUEUED,
            received_at=datetime.now(UTC),
            files=reviewed.files,
        )
        source = self._folders.noted(folder)
        return self._enqueue(job, Entry(source, None, reviewed.study_instance_uid))[0]

    def reviews(self) -> tuple[ReviewRecord, ...]:
        """What readers said, oldest first."""
        return review_records(self._folders.work_dir)

    def _images_of(self, job_id: str) -> Path:
        study = self._folders.kept_study(job_id) or reviewed_study(self._folders.work_dir, job_id)
        if study is None:
            raise ImagesGoneError("the images of the study are not kept any more")
        return study

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""
        return self._records.get(job_id)

    def awaited(self, job_id: str, told: Callable[[], None]) -> AbstractContextManager[None]:
        """While the block runs, call `told`, from any thread, when the job was read here."""
        return self._endings.awaited(job_id, told)

    def newest_of(self, study_instance_uid: str) -> Job | None:
        """The job whose report stands for a study, or None."""
        return self._records.newest_of(study_instance_uid)

    def listing(self, batch: str | None = None) -> tuple[Job, ...]:
        """The jobs handed in one by one, or those of a batch, newest first."""
        return self._records.all(batch)

    def reported_since(self, moment: float) -> tuple[Job, ...]:
        """Jobs with a report that ended at or after a time (seconds since the epoch), in order."""
        return self._records.reported_since(moment)

    def ended(self, job_ids: Collection[str]) -> tuple[Job, ...]:
        """Those of some jobs that are final."""
        return self._records.ended(job_ids)

    def results(self, job_id: str) -> Path:
        """Folder with the files of a report."""
        return self._folders.results(job_id)

    def remove_study(self, study_instance_uid: str) -> int:
        """Remove all that is kept of a study; what is being read of it now leaves nothing."""
        job_ids = self._records.of_study(study_instance_uid)
        for job_id in job_ids:
            self._upkeep.remove(job_id)
        forget_reviews(self._folders.work_dir, study_instance_uid)
        return len(job_ids)

    def tallies(self) -> tuple[Tally, ...]:
        """What finished jobs came to."""
        return self._records.tallies()

    def deliveries(self) -> Mapping[str, int]:
        """How many deliveries wait, are done, and were given up."""
        return self._records.deliveries()

    def depth(self) -> tuple[Depth, ...]:
        """Jobs by state, and how old they are."""
        return self._records.depth()

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

    def _perform(self, job_id: str) -> None:
        self._performer.perform(job_id)
        self._endings.tell(job_id)

    def _take(self, content: Content, upload: Path | None, batch: str | None) -> tuple[Job, bool]:
        """Write a study down and queue it; whether its files are ours from now on."""
        engine = self._policy.engine
        job_id = job_id_for(content, engine if batch is None else f"{engine} {batch}")
        known = self._records.get(job_id)
        if known is not None and known.state is not JobState.FAILED:
            log.info("study_known", job=job_id, state=known.state.value)
            return known, False
        # A batch waits in full: who made it knows how large it is.
        self._check_queue(bounded=batch is None)
        if upload is not None:
            self._folders.flush(upload)
        job = Job(
            job_id=job_id,
            state=JobState.QUEUED,
            received_at=datetime.now(UTC),
            files=content.files,
            batch=batch,
        )
        entry = Entry(
            source=self._folders.noted(content.source),
            upload=None if upload is None else self._folders.noted(upload),
            study_instance_uid=content.study_instance_uid,
        )
        return self._enqueue(job, entry)

    def _check_queue(self, *, bounded: bool = True) -> None:
        full = bounded and self._records.waiting() >= self._policy.max_queued
        if full or self._closing.is_set():
            raise QueueFullError("too many studies wait; send this one again later")

    def _enqueue(self, job: Job, entry: Entry) -> tuple[Job, bool]:
        """Write a job down and queue it; whether it is new."""
        attempt: int | None = 1
        if not self._records.add(job, entry):
            attempt = self._records.renew(job, entry)
        if attempt is None:  # another request was first with the same content
            return self._records.get(job.job_id) or job, False
        self._queue.put(job.job_id, attempt)
        log.info("study_queued", job=job.job_id, files=job.files)
        return job, True

    def _keep_order(self) -> None:
        swept_at = time.monotonic()
        while not self._closing.wait(RETURN_S):
            try:
                with suppress(Empty):
                    while True:
                        self._queue.put(*self._returned.get_nowait())
                if time.monotonic() - swept_at > SWEEP_S:
                    swept_at = time.monotonic()
                    self._upkeep.sweep()
            except (OSError, SQLAlchemyError) as error:
                log.warning("upkeep_failed", error=type(error).__name__)
