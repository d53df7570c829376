"""Jobs over SQLite in a test's folder, with a queue of one thread in place of DBOS."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from service.jobs.database import METADATA, connect
from service.jobs.durable import DurableJobs, JobPolicy
from service.jobs.folders import JobFolders
from service.jobs.process import Runner
from service.jobs.records import JobRecords
from service.jobs.workqueue import Attempt, Standing
from service.logs import Pseudonyms


class ThreadQueue:
    """`WorkQueue` that forgets: what it was given before it was closed has to be put in again."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[str | None] = queue.Queue()
        self._known: set[tuple[str, int]] = set()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._perform: Callable[[str], None] = lambda _job_id: None

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self, perform: Callable[[str], None]) -> None:
        self._perform = perform
        self._thread.start()

    def put(self, job_id: str, attempt: int) -> None:
        if (job_id, attempt) not in self._known:
            self._known.add((job_id, attempt))
            self._waiting.put(job_id)

    def standing(self, attempts: Collection[Attempt]) -> Mapping[Attempt, Standing]:
        return {attempt: Standing.OPEN for attempt in attempts if attempt in self._known}

    def forget(self, attempts: Collection[Attempt]) -> None:
        self._known -= set(attempts)

    def close(self) -> None:
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _work(self) -> None:
        while (job_id := self._waiting.get()) is not None:
            self._perform(job_id)


def jobs_in(work_dir: Path, runner: Runner, max_queued: int = 8, **changes: float) -> DurableJobs:
    """Jobs of a folder, not started."""
    work_dir.mkdir(parents=True, exist_ok=True)
    engine = connect(f"sqlite:///{work_dir / 'acuity.sqlite'}")
    METADATA.create_all(engine)
    return DurableJobs(
        records=JobRecords(engine),
        queue=ThreadQueue(),
        folders=JobFolders(work_dir, int(changes.pop("min_free_bytes", 0))),
        runner=runner,
        policy=JobPolicy("test", max_queued, 1 << 20, **changes),
        pseudonyms=Pseudonyms(b"test"),
    )
