"""The durable queue: DBOS, with takeover of the work of a machine that died for good.

A workflow is one attempt at one job; its id says both, so that enqueueing it again does nothing.
What a process was at when it was killed starts again when a process of the same worker id starts;
work of a worker that is not heard of any more is taken over by any other (DBOS itself leaves it
pending until that worker comes back).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Final, Protocol

import structlog
from dbos import DBOS, DBOSConfig, SetWorkflowID
from sqlalchemy import ColumnElement, Engine, Float, delete, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from service.jobs.database import WORKERS, connect

log = structlog.get_logger()

QUEUE: Final = "studies"
PROTOCOL: Final = "studies-1"
"""Version of the workflow: work of another one is not taken up."""

POLL_S: Final = 0.1
HEARTBEAT_S: Final = 4.0
DEAD_AFTER_S: Final = 20.0
"""Silence after which a worker's work is taken over. One that was only slow does no harm: both
read the study and leave the same, and the first to end it has ended it."""

_UNDER_WAY: Final = frozenset({"ENQUEUED", "PENDING", "DELAYED"})


Attempt = tuple[str, int]
"""Id of a job, and the number of its attempt."""


class Standing(Enum):
    """Where an attempt stands that was put in."""

    OPEN = "open"
    """It waits or runs, or will again when its worker comes back."""
    SETTLED = "settled"
    """It has come to its end, whatever it left."""


class WorkQueue(Protocol):
    """Something that calls `perform(job_id)` once for every job that was put in."""

    def start(self, perform: Callable[[str], None]) -> None:
        """Begin to work."""

    def put(self, job_id: str, attempt: int) -> None:
        """Take a job in durably; one that is in already is left as it is."""

    def standing(self, attempts: Collection[Attempt]) -> Mapping[Attempt, Standing]:
        """Where attempts stand; those that were never put in are left out."""

    def forget(self, attempts: Collection[Attempt]) -> None:
        """Keep nothing of attempts any more, so that they may be put in anew."""

    def close(self) -> None:
        """Stop; work under way is taken up again after the next start."""

    @property
    def alive(self) -> bool:
        """Whether work that is put in now will be worked on."""


class DbosQueue:
    """`WorkQueue` on DBOS. One per process, for DBOS is.

    DBOS looks for queued work every `POLL_S` and cannot be woken. A job that comes while a slot is
    free here, and no other worker is there to take it, is therefore started at once: written down
    as under way, it outlives this process as one from the queue does.

    Args:
        engine: Of the jobs' database, for heartbeats.
        url: SQLAlchemy URL of the database that holds the queue.
        worker_id: Name of this worker, the same after a restart.
        at_once: Jobs that a process takes at once. It is kept in the database and holds for every
            process on it: more than 1 only where there is but one process.
    """

    def __init__(self, engine: Engine, url: str, worker_id: str, at_once: int = 1) -> None:
        self._engine = engine
        self._url = url
        self._worker_id = worker_id
        self._at_once = at_once
        self._slots = threading.Semaphore(at_once)
        self._alone = False
        self._stopping = threading.Event()
        self._heart: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the heartbeat goes."""
        return self._heart is not None and self._heart.is_alive()

    def start(self, perform: Callable[[str], None]) -> None:
        """Launch DBOS; what this worker left pending starts again."""
        config = DBOSConfig(
            name="vertebral-acuity",
            system_database_url=self._url,
            application_version=PROTOCOL,
            executor_id=self._worker_id,
            enable_otlp=False,
            log_level="CRITICAL",
            max_executor_threads=self._at_once + 3,
        )
        if self._url.startswith("sqlite"):
            _make_durable(self._url)
        # Its messages quote arguments and database addresses.
        logging.getLogger("dbos").setLevel(logging.CRITICAL)
        DBOS(config=config)
        self._workflow = _workflow(partial(self._in_a_slot, perform))
        self._beat()
        DBOS.launch()
        DBOS.register_queue(
            QUEUE,
            worker_concurrency=self._at_once,
            polling_interval_sec=POLL_S,
            on_conflict="always_update",
        )
        self._heart = threading.Thread(target=self._keep_alive, name="heartbeat", daemon=True)
        self._heart.start()

    def put(self, job_id: str, attempt: int) -> None:
        """Start or enqueue an attempt; written before this returns."""
        with SetWorkflowID(_workflow_id((job_id, attempt))):
            if self._alone and self._free():
                DBOS.start_workflow(self._workflow, job_id)
            else:
                DBOS.enqueue_workflow(QUEUE, self._workflow, job_id)

    def standing(self, attempts: Collection[Attempt]) -> Mapping[Attempt, Standing]:
        """Ask DBOS where attempts stand."""
        ids = {_workflow_id(attempt): attempt for attempt in attempts}
        if not ids:
            return {}
        known = DBOS.list_workflows(workflow_ids=list(ids), load_input=False, load_output=False)
        return {
            ids[status.workflow_id]: (
                Standing.OPEN if status.status in _UNDER_WAY else Standing.SETTLED
            )
            for status in known
        }

    def forget(self, attempts: Collection[Attempt]) -> None:
        """Delete DBOS' record of attempts."""
        if attempts:
            DBOS.delete_workflows([_workflow_id(attempt) for attempt in attempts])

    def close(self) -> None:
        """Stop at once; DBOS keeps what was under way as pending."""
        self._stopping.set()
        if self._heart is not None:
            self._heart.join(timeout=HEARTBEAT_S)
        DBOS.destroy(destroy_registry=True)

    def _in_a_slot(self, perform: Callable[[str], None], job_id: str) -> None:
        # DBOS counts what it took from the queue; what was started or taken up again it does not.
        with self._slots:
            perform(job_id)

    def _free(self) -> bool:
        """Whether a slot is free; it may be taken before it is used, and then it is waited for."""
        free = self._slots.acquire(blocking=False)
        if free:
            self._slots.release()
        return free

    def _keep_alive(self) -> None:
        while not self._stopping.wait(HEARTBEAT_S):
            # A database that is away for a while is met again at the next beat.
            with suppress(SQLAlchemyError):
                self._beat()
                self._take_over()

    def _clock(self) -> ColumnElement[float]:
        """Seconds since the epoch by the one clock that all workers of a database share."""
        if self._engine.dialect.name == "postgresql":
            return func.extract("epoch", func.clock_timestamp()).cast(Float)
        return literal(time.time())

    def _beat(self) -> None:
        now = self._clock()
        with self._engine.begin() as connection:
            seen = connection.execute(
                update(WORKERS).where(WORKERS.c.worker_id == self._worker_id).values(seen_at=now)
            )
        if seen.rowcount == 0:
            with suppress(IntegrityError), self._engine.begin() as connection:
                connection.execute(insert(WORKERS).values(worker_id=self._worker_id, seen_at=now))
        with self._engine.connect() as connection:
            others = WORKERS.c.worker_id != self._worker_id
            found = connection.scalar(select(func.count()).select_from(WORKERS).where(others))
        self._alone = not found

    def _take_over(self) -> None:
        """Put the work of workers that fell silent back into the queue."""
        silent = WORKERS.c.seen_at < self._clock() - DEAD_AFTER_S
        with self._engine.connect() as connection:
            dead = list(connection.scalars(select(WORKERS.c.worker_id).where(silent)))
        if not dead:
            return
        taken = DBOS._recover_pending_workflows(dead)  # there is no public one
        log.warning("work_taken_over", workers=len(dead), jobs=len(taken))
        with self._engine.begin() as connection:
            connection.execute(delete(WORKERS).where(WORKERS.c.worker_id.in_(dead), silent))


def _make_durable(url: str) -> None:
    """Have SQLite keep a write-ahead log for DBOS' file, which it remembers in the file.

    With the rollback journal that it keeps otherwise, threads of one process ended now and then in
    a disk I/O error over the journal that another had removed.
    """
    engine = connect(url)
    engine.connect().close()
    engine.dispose()


def _workflow_id(attempt: Attempt) -> str:
    job_id, number = attempt
    return f"{job_id}-{number}"


def _workflow(perform: Callable[[str], None]) -> Callable[[str], None]:
    # How often a job may be taken up again is for the jobs to say: they know how it ended.
    @DBOS.workflow(name="read_study", max_recovery_attempts=1_000_000)
    def read_study(job_id: str) -> None:
        perform(job_id)

    return read_study
