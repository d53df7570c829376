"""One job from its study to its end, whatever dies on the way.

A run may be cut off at any moment and done over: results appear under the job's id before the
record speaks of them, the same study leaves the same files, and the record ends once.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Row

from service.jobs.folders import CurrentReport, JobFolders, Rank, current_report, rank_of
from service.jobs.job import JobState, Outcome
from service.jobs.process import WORKER_DIED, WORKER_KILLED, Runner
from service.jobs.records import JobRecords
from service.jobs.worker import DISK_FULL, FULL, Request
from service.logs import Pseudonyms

log = structlog.get_logger()

MOST_CRASHES: Final = 3
"""Runs of a study, the last of which crashed the inference worker, before it is given up."""

MOST_DEATHS: Final = 32
"""Runs of a study that were cut off from outside before it is given up. Kills are not the study's
doing, but a study that makes the kernel kill must come to an end."""

MOST_READINGS: Final = 5
"""Readings of a study because another report of it was put in place meanwhile."""


class Performer:
    """Runs jobs that the queue hands over. Thread-safe.

    Args:
        records: Of the jobs.
        folders: Where results lie.
        runner: What reads a study.
        pseudonyms: For logs.
        stopping: Whether this process is on its way out.
        return_job: Told the id and the attempt of a job that has to be queued again.
    """

    def __init__(
        self,
        records: JobRecords,
        folders: JobFolders,
        runner: Runner,
        pseudonyms: Pseudonyms,
        *,
        stopping: Callable[[], bool],
        return_job: Callable[[str, int], None],
    ) -> None:
        self._records = records
        self._folders = folders
        self._runner = runner
        self._pseudonyms = pseudonyms
        self._stopping = stopping
        self._return_job = return_job

    def perform(self, job_id: str) -> None:
        """Read the study of a job. Done twice, or by two workers at once, it does no harm."""
        row = self._records.begin(job_id)
        if row is None:
            return
        if row.deaths > MOST_DEATHS:
            self.conclude(row, Outcome.failed("given_up", "reading it was cut off too often"))
            return
        try:
            for _ in range(MOST_READINGS):
                if self._read(row):
                    return
            self.conclude(row, Outcome.failed("superseded_meanwhile", "the study kept changing"))
        except OSError as error:
            if error.errno in FULL:
                self._put_back(row, died=False)
                return
            log.warning("storage_failed", job=job_id, errno=errno.errorcode.get(error.errno or 0))
            self.conclude(row, Outcome.failed("storage", "the result could not be written"))

    def conclude(self, row: Row[Any], outcome: Outcome) -> None:
        """Bring a job to an end that has no report."""
        with self._records.closing(row.job_id, row.study_instance_uid) as closing:
            if closing is not None:
                closing.conclude(outcome)
        self._ended(row, outcome)

    def _read(self, row: Row[Any]) -> bool:
        """Run a study once; False when it must be run again at once."""
        draft = self._folders.draft(row.job_id)
        try:
            request = Request(
                source=self._folders.located(row.source),
                results=draft,
                created=row.received_at,
                current=None if row.batch else self._folders.current,
                options=self._folders.options(row.batch),
                job_id=row.job_id,
            )
            outcome = self._runner.run(
                request, lambda stage: self._records.note_stage(row.job_id, stage)
            )
            if outcome.state.reported:
                return self._finish(row, outcome, draft)
            self._end_without_report(row, outcome)
            return True
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _end_without_report(self, row: Row[Any], outcome: Outcome) -> None:
        code = outcome.reason.code if outcome.reason else ""
        if self._stopping():
            # The worker was ended by us, not by the study: another start reads it.
            self._put_back(row, died=False)
        elif code == DISK_FULL:
            self._put_back(row, died=False)
        elif code == WORKER_KILLED or (code == WORKER_DIED and row.deaths < MOST_CRASHES):
            self._put_back(row, died=True)
        else:
            self.conclude(row, outcome)

    def _put_back(self, row: Row[Any], *, died: bool) -> None:
        if self._records.put_back(row, died=died):
            log.info("study_put_back", job=row.job_id, deaths=row.deaths if died else 0)
            if not self._stopping():
                self._return_job(row.job_id, row.attempt + 1)

    def _finish(self, row: Row[Any], outcome: Outcome, draft: Path) -> bool:
        """Put results in their place, then say so; a crash in between does the same again.

        Returns:
            False when the report says that it takes the place of another one than it would now.
        """
        uid, job_id = outcome.study_instance_uid, str(row.job_id)
        rank = rank_of(outcome.files_used, row.received_at, verified=outcome.verified)
        stands_apart = row.batch is not None or outcome.state is not JobState.SUCCEEDED
        with self._records.closing(job_id, uid) as closing:
            if closing is None:
                return True
            if not stands_apart and outcome.supersedes != self._supersedes(uid, job_id, rank):
                return False
            rivals = closing.rivals(uid, row.batch) if uid else ()
            better = [one for one in rivals if _rank(one) > rank]
            self._folders.publish(job_id, draft)
            if better:
                self._folders.mark_superseded(self._folders.results(job_id))
                closing.conclude(outcome, superseded_by=max(better, key=_rank).job_id)
            else:
                if not stands_apart:
                    standing = CurrentReport(
                        job_id=job_id,
                        content_key=outcome.content_key,
                        supersedes=outcome.supersedes,
                        supersedes_verified=outcome.supersedes_verified,
                        rank=rank,
                    )
                    self._folders.set_current(uid, standing)
                previous = max(rivals, key=_rank).job_id if rivals else None
                closing.conclude(outcome, supersedes=previous)
                for rival in rivals:
                    self._folders.mark_superseded(self._folders.results(rival.job_id))
                    closing.supersede(rival.job_id)
        self._ended(row, outcome)
        return True

    def _supersedes(self, uid: str, job_id: str, rank: Rank) -> str:
        standing = current_report(self._folders.current, uid)
        return "" if standing is None else standing.superseded_by(job_id, rank)[0]

    def _ended(self, row: Row[Any], outcome: Outcome) -> None:
        if row.upload is not None:
            upload = self._folders.located(row.upload)
            if outcome.state is JobState.SUCCEEDED:
                self._folders.keep_study(row.job_id, upload)
            else:
                shutil.rmtree(upload, ignore_errors=True)
        log.info(
            "study_finished",
            job=row.job_id,
            study=self._pseudonyms.of(outcome.study_instance_uid),
            state=outcome.state.value,
            code=outcome.reason.code if outcome.reason else None,
            stages_ms={name: round(ms) for name, ms in outcome.stages_ms.items()},
        )


def _rank(row: Row[Any]) -> Rank:
    verified = bool(row.outcome) and Outcome.model_validate_json(row.outcome).verified
    return rank_of(int(row.files_used), float(row.received_at), verified=verified)
