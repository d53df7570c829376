"""Jobs in one process: a bounded queue, one thread that feeds one inference worker.

What is queued or running when the service stops becomes failed with `interrupted`; sending the
study again tries it again. A durable queue behind the same seam takes that limit away.
"""

from __future__ import annotations

import queue
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import structlog

from service.jobs.content import Content, job_id_for, read_content
from service.jobs.job import Job, JobReason, JobState, Outcome, QueueFullError, Readiness
from service.jobs.process import Runner
from service.jobs.store import JobFolders
from service.logs import Pseudonyms

log = structlog.get_logger()

_INTERRUPTED = Outcome(
    state=JobState.FAILED,
    reason=JobReason(
        code="interrupted", message="the service stopped before the study was read; send it again"
    ),
)


class LocalJobs:
    """The `Jobs` seam, kept in this process.

    Args:
        folders: Where records and results lie.
        runner: What reads a study.
        engine: Software version and bundle digests, part of every job id.
        max_queued: Studies that may wait.
        max_bytes: Most bytes that may come out of an archive.
        pseudonyms: For logs.
    """

    def __init__(
        self,
        *,
        folders: JobFolders,
        runner: Runner,
        engine: str,
        max_queued: int,
        max_bytes: int,
        pseudonyms: Pseudonyms,
    ) -> None:
        self._folders = folders
        self._runner = runner
        self._engine = engine
        self._max_bytes = max_bytes
        self._pseudonyms = pseudonyms
        self._queue: queue.Queue[tuple[str, Path, Path] | None] = queue.Queue(max_queued)
        self._submitting = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._closing = threading.Event()

    def start(self) -> None:
        """Read what a former run left, start the worker and the thread that feeds it."""
        unreadable = self._folders.open()
        if unreadable:
            log.error("job_records_unreadable", count=len(unreadable))
        for job in self._folders.all():
            if not job.state.final:
                self._finish(job, _INTERRUPTED)
        self._runner.start()
        self._thread.start()

    def close(self) -> None:
        """Stop; what waits or runs becomes failed with `interrupted`."""
        self._closing.set()
        self._runner.close()
        with self._submitting:
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(None)
        if self._thread.is_alive():
            self._thread.join()
        for job in self._folders.all():
            if not job.state.final:
                self._finish(job, _INTERRUPTED)

    def new_upload(self) -> Path:
        """Make an empty folder for a request body."""
        return self._folders.new_upload()

    def discard_upload(self, upload: Path) -> None:
        """Remove an upload folder; one that is gone is fine."""
        shutil.rmtree(upload, ignore_errors=True)

    def submit(self, upload: Path) -> Job:
        """Queue the study in an upload folder, or find the job that has read it already.

        Raises:
            QueueFullError: Too many studies wait; the upload is still the caller's.
            InvalidArchiveError: The archive cannot be read.
            ContentTooLargeError: More files or bytes than one study may have.
        """
        content = read_content(upload, self._max_bytes)
        job_id = job_id_for(content, self._engine)
        with self._submitting:
            known = self._folders.get(job_id)
            if known is not None and known.state is not JobState.FAILED:
                self.discard_upload(upload)
                log.info("study_known", job=job_id, state=known.state.value)
                return known
            return self._enqueue(job_id, content, upload)

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""
        return self._folders.get(job_id)

    def newest_of(self, study_instance_uid: str) -> Job | None:
        """The job with the newest report of a study, or None."""
        reported = (
            job
            for job in self._folders.all()
            if job.state.reported and job.study_instance_uid == study_instance_uid
        )
        return next(reported, None)

    def listing(self) -> tuple[Job, ...]:
        """Every job, newest first."""
        return self._folders.all()

    def results(self, job_id: str) -> Path:
        """Folder with the files of a report."""
        return self._folders.results(job_id)

    def readiness(self) -> Readiness:
        """Bundles open, work folder writable, room in the queue, and the worker's thread alive."""
        return Readiness(
            checks={
                "bundles": self._runner.ready,
                "work_dir": self._folders.writable(),
                "queue": not self._queue.full(),
                "worker": self._thread.is_alive(),
            }
        )

    def _enqueue(self, job_id: str, content: Content, upload: Path) -> Job:
        # Only this thread, under the lock, puts work in: what is not full now takes one more.
        if self._queue.full() or self._closing.is_set():
            raise QueueFullError("too many studies wait; send this one again later")
        job = Job(
            job_id=job_id,
            state=JobState.QUEUED,
            received_at=datetime.now(UTC),
            files=content.files,
        )
        self._folders.put(job)
        self._queue.put_nowait((job_id, content.source, upload))
        log.info("study_queued", job=job_id, files=content.files, waiting=self._queue.qsize())
        return job

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            job_id, source, upload = task
            try:
                self._run(job_id, source)
            except OSError as error:
                # A full or vanished disk fails this study; the next may find room again.
                self._fail_on_storage(job_id, error)
            finally:
                self.discard_upload(upload)

    def _run(self, job_id: str, source: Path) -> None:
        job = self._folders.get(job_id)
        if job is None:
            return
        job = job.model_copy(
            update={"state": JobState.RUNNING, "started_at": datetime.now(UTC), "outcome": None}
        )
        self._folders.put(job)
        draft = self._folders.draft(job_id)
        try:
            outcome = self._runner.run(
                source, draft, lambda stage: self._folders.note_stage(job_id, stage)
            )
            if self._closing.is_set() and not outcome.state.reported:
                outcome = _INTERRUPTED
            self._finish(job, outcome, draft)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _finish(self, job: Job, outcome: Outcome, draft: Path | None = None) -> None:
        done = job.model_copy(
            update={
                "state": outcome.state,
                "outcome": outcome,
                "finished_at": datetime.now(UTC),
                "stage": None,
            }
        )
        if draft is not None and outcome.state.reported:
            self._folders.put_with_results(done, draft)
        else:
            self._folders.put(done)
        log.info(
            "study_finished",
            job=done.job_id,
            study=self._pseudonyms.of(outcome.study_instance_uid),
            state=outcome.state.value,
            code=outcome.reason.code if outcome.reason else None,
            stages_ms={name: round(ms) for name, ms in outcome.stages_ms.items()},
        )

    def _fail_on_storage(self, job_id: str, error: OSError) -> None:
        log.error("study_failed", job=job_id, code="storage", errno=error.errno)
        job = self._folders.get(job_id)
        if job is None:
            return
        self._folders.note_final(
            job.model_copy(
                update={
                    "state": JobState.FAILED,
                    "finished_at": datetime.now(UTC),
                    "stage": None,
                    "outcome": Outcome.failed("storage", "the result could not be written"),
                }
            )
        )
