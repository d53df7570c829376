"""Results on their way out: written down with the job, tried until they arrive.

Every job that has a report gets one row per target that is set when it ends, once; a row's id is
derived from both. Rows are tried with growing waits, and left to a person (state `failed`) after
the time that is set for it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Row, func, insert, select
from sqlalchemy.exc import IntegrityError

from service.jobs.database import DISPATCHED, OUTBOX, WaitState
from service.jobs.job import Job, Jobs
from service.pacs.senders import NotDeliveredError, Sender
from service.pacs.tables import DurableQueue
from service.settings import Target, WebhookTarget

log = structlog.get_logger()

OBJECTS: Final = "*.dcm"
"""What of a job's results goes to archives."""

OVERLAP_S: Final = 600.0
"""How far back a look goes behind the last one: more than clocks of machines differ, and than a
job takes from its end to its record."""

EVENT: Final = "report.ready"


class Outbox:
    """The deliveries of an installation.

    Args:
        queue: Over the table of deliveries.
        jobs: Whose results are delivered.
        targets: Where to, by name.
        senders: Of the same names.
        give_up_s: How long a delivery is tried.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        queue: DurableQueue,
        jobs: Jobs,
        targets: Mapping[str, Target],
        senders: Mapping[str, Sender],
        give_up_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._jobs = jobs
        self._targets = targets
        self._senders = senders
        self._give_up_s = give_up_s
        self._clock = clock
        self._dispatched: set[str] = set()
        self._looked_at: float | None = None

    def dispatch(self) -> int:
        """Write down the deliveries of jobs that were reported since the last look.

        Returns:
            How many jobs there were.
        """
        now = self._clock()
        since = self._last_look() - OVERLAP_S
        ended = self._jobs.reported_since(since)
        known = self._written_down(since)
        new = [job for job in ended if job.job_id not in known]
        for job in new:
            self._write_down(job)
        self._dispatched = {job.job_id for job in ended}
        self._looked_at = now
        return len(new)

    def work(self) -> bool:
        """Try one delivery that is due; False when there is none."""
        row = self._queue.claim(self._clock())
        if row is None:
            return False
        code: str | None = None
        try:
            self._deliver(row)
        except NotDeliveredError as error:
            code = error.reason
        except OSError:
            code = "result_unreadable"
        now = self._clock()
        if code is None:
            self._queue.note(row.id, state=WaitState.DONE, code=None)
        elif now - row.created_at > self._give_up_s:
            self._queue.note(row.id, state=WaitState.FAILED, code=code)
        else:
            self._queue.try_again(row, now, code)
        log.info(
            "delivery_tried", job=row.job_id, target=row.target, attempt=row.attempts, code=code
        )
        return True

    def _last_look(self) -> float:
        """When a look for new jobs was last taken, also by another process before this one."""
        if self._looked_at is not None:
            return self._looked_at
        with self._queue.engine.connect() as connection:
            return float(connection.scalar(select(func.max(DISPATCHED.c.dispatched_at))) or 0.0)

    def _written_down(self, since: float) -> set[str]:
        """Ids of jobs that ended after a time and are written down already."""
        if self._looked_at is not None:
            return self._dispatched
        asked = select(DISPATCHED.c.job_id).where(DISPATCHED.c.dispatched_at >= since)
        with self._queue.engine.connect() as connection:
            return set(connection.scalars(asked))

    def _write_down(self, job: Job) -> None:
        now = self._clock()
        rows = [
            {
                "id": hashlib.sha256(f"{name}\n{job.job_id}".encode()).hexdigest()[:32],
                "state": WaitState.WAITING,
                "attempts": 0,
                "created_at": now,
                "next_at": now,
                "target": name,
                "job_id": job.job_id,
                "payload": _message(job) if isinstance(target, WebhookTarget) else "",
            }
            for name, target in self._targets.items()
            if isinstance(target, WebhookTarget) or self._objects(job.job_id)
        ]
        try:
            with self._queue.engine.begin() as connection:
                connection.execute(insert(DISPATCHED), {"job_id": job.job_id, "dispatched_at": now})
                if rows:
                    connection.execute(insert(OUTBOX), rows)
        except IntegrityError:
            return  # another process wrote the same rows down
        log.info("deliveries_queued", job=job.job_id, count=len(rows))

    def _deliver(self, row: Row[Any]) -> None:
        sender = self._senders.get(row.target)
        if sender is None:
            raise NotDeliveredError("target_unknown")
        files = []
        if not isinstance(self._targets[row.target], WebhookTarget):
            files = self._objects(row.job_id)
            if not files:
                raise NotDeliveredError("no_objects")
        sender.send(row.id, files, row.payload.encode())

    def _objects(self, job_id: str) -> list[Path]:
        return sorted(self._jobs.results(job_id).glob(OBJECTS))


def _message(job: Job) -> str:
    return json.dumps(
        {
            "event": EVENT,
            "job_id": job.job_id,
            "state": job.state.value,
            "study_instance_uid": job.study_instance_uid,
            "links": {"job": f"/v1/jobs/{job.job_id}", "report": f"/v1/jobs/{job.job_id}/report"},
        },
        sort_keys=True,
    )
