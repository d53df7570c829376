"""What keeps jobs in order over months: none lost, nothing left behind, nothing kept too long."""

from __future__ import annotations

import shutil
import time
from typing import Final

import structlog

from service.jobs.folders import JobFolders
from service.jobs.records import JobRecords
from service.jobs.workqueue import Standing, WorkQueue

log = structlog.get_logger()

STALE_S: Final = 3600.0
"""Age of an upload or draft that no process can still be writing."""

DAY_S: Final = 86_400.0


class Upkeep:
    """The chores. Every process of an installation does them; doing them twice does no harm.

    Args:
        records: Of the jobs.
        queue: That jobs are put in.
        folders: Where files lie.
        retention_days: Jobs and results are removed so long after their end, and once nothing of
            them waits to be delivered; None keeps them.
        give_up_s: How long a delivery is tried; None where nothing is delivered.
    """

    def __init__(
        self,
        records: JobRecords,
        queue: WorkQueue,
        folders: JobFolders,
        retention_days: float | None,
        give_up_s: float | None,
    ) -> None:
        self._records = records
        self._queue = queue
        self._folders = folders
        self._retention_days = retention_days
        self._give_up_s = give_up_s

    def sweep(self) -> None:
        """Do everything once."""
        self.requeue()
        self._folders.tidy(self._records.uploads(), STALE_S, time.time())
        if self._retention_days is not None:
            self.retire(time.time() - self._retention_days * DAY_S)

    def requeue(self) -> None:
        """Queue open jobs that nothing works on.

        They were written down but not yet put in when their process died, or their attempt came to
        its end without theirs: the database was away, or the service was stopped.
        """
        rows = self._records.open()
        standing = self._queue.standing([(row.job_id, row.attempt) for row in rows])
        for row in rows:
            where = standing.get((row.job_id, row.attempt))
            if where is None:
                self._queue.put(row.job_id, row.attempt)
            elif where is Standing.SETTLED and self._records.put_back(row, died=True):
                log.warning("study_requeued", job=row.job_id)
                self._queue.put(row.job_id, row.attempt + 1)

    def retire(self, before: float) -> None:
        """Remove the jobs that ended before a time, in seconds since the epoch.

        A report whose deliveries nobody wrote down, because nobody who would was there, is kept
        as long as they would have been tried.
        """
        undelivered = None if self._give_up_s is None else before - self._give_up_s
        job_ids = self._records.settled_before(before, undelivered)
        for job_id in job_ids:
            self.remove(job_id)
        if job_ids:
            log.info("jobs_retired", count=len(job_ids))

    def remove(self, job_id: str) -> None:
        """Remove a job with all that is kept of it."""
        row = self._records.remove(job_id)
        if row is None:
            return
        self._folders.remove(job_id, row.study_instance_uid)
        if row.upload is not None:
            shutil.rmtree(self._folders.located(row.upload), ignore_errors=True)
        self._queue.forget([(job_id, number) for number in range(1, row.attempt + 1)])
