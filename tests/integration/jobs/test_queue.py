"""When the queue starts what it is given at once, and that it never takes more than it may."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dbos import DBOS
from sqlalchemy import Engine, insert

from service.jobs.database import WORKERS, connect, database_url, migrate
from service.jobs.workqueue import QUEUE, DbosQueue, Standing

PATIENCE_S: Final = 60.0


class Jobs:
    """What the queue calls: a job goes on when it is let, and tells that it began."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.most = 0
        self._running = 0
        self._changed = threading.Condition()
        self._let: set[str] = set()

    def perform(self, job_id: str) -> None:
        with self._changed:
            self.begun.append(job_id)
            self._running += 1
            self.most = max(self.most, self._running)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: job_id in self._let, PATIENCE_S)
            self._running -= 1
            self._changed.notify_all()

    def let(self, job_id: str) -> None:
        with self._changed:
            self._let.add(job_id)
            self._changed.notify_all()

    def await_begun(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.begun) >= count, PATIENCE_S), self.begun

    def await_idle(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: not self._running, PATIENCE_S)


@contextmanager
def opened(
    tmp_path: Path, jobs: Jobs, at_once: int = 1, others: float | None = None
) -> Iterator[DbosQueue]:
    engine: Engine = connect(database_url(None, tmp_path))
    migrate(engine)
    if others is not None:
        with engine.begin() as connection:
            connection.execute(insert(WORKERS).values(worker_id="other", seen_at=others))
    queue = DbosQueue(engine, f"sqlite:///{tmp_path / 'queue.sqlite'}", "this", at_once)
    queue.start(jobs.perform)
    try:
        yield queue
    finally:
        queue.close()
        engine.dispose()


def way_of(job_id: str) -> str | None:
    """The queue that a first attempt went through; None for one that was started at once."""
    (status,) = DBOS.list_workflows(workflow_ids=[f"{job_id}-1"])
    return status.queue_name


def test_a_job_that_finds_the_only_worker_idle_starts_at_once(tmp_path: Path) -> None:
    jobs = Jobs()
    with opened(tmp_path, jobs) as queue:
        queue.put("first", 1)
        assert way_of("first") is None
        assert queue.standing([("first", 1)]) == {("first", 1): Standing.OPEN}
        jobs.await_begun(1)
        queue.put("second", 1)
        assert way_of("second") == QUEUE
        queue.put("first", 1)  # it is in already
        jobs.let("second")
        jobs.let("first")
        jobs.await_begun(2)
        jobs.await_idle()
    assert jobs.begun == ["first", "second"]
    assert jobs.most == 1


def test_where_another_worker_is_a_job_goes_through_the_queue(tmp_path: Path) -> None:
    jobs = Jobs()
    with opened(tmp_path, jobs, others=4e9) as queue:
        queue.put("first", 1)
        assert way_of("first") == QUEUE
        jobs.let("first")
        jobs.await_begun(1)
        jobs.await_idle()


def test_what_was_started_at_once_is_taken_up_again(tmp_path: Path) -> None:
    cut_off, jobs = Jobs(), Jobs()
    with opened(tmp_path, cut_off) as queue:
        queue.put("first", 1)
        cut_off.await_begun(1)
    with opened(tmp_path, jobs) as queue:
        jobs.await_begun(1)
        jobs.let("first")
        jobs.await_idle()
    assert jobs.begun == ["first"]
    cut_off.let("first")


def test_as_many_run_at_once_as_may(tmp_path: Path) -> None:
    jobs = Jobs()
    names = [f"job{number}" for number in range(6)]
    with opened(tmp_path, jobs, at_once=2) as queue:
        for name in names:
            queue.put(name, 1)
        for done, name in enumerate(names, start=1):
            jobs.await_begun(min(done + 1, len(names)))
            jobs.let(name)
        jobs.await_begun(len(names))
        jobs.await_idle()
    assert sorted(jobs.begun) == names
    assert jobs.most == 2
