"""Tells whoever waits for a job in this process that it was read here, most often to its end.

A look at the database costs a millisecond that the study being read could have used, and finds the
end some time after it. Jobs that another process reads still have to be looked for.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Endings:
    """Who waits for which job. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)

    @contextmanager
    def awaited(self, job_id: str, told: Callable[[], None]) -> Iterator[None]:
        """While the block runs, call `told`, from any thread, whenever the job was read."""
        with self._lock:
            self._waiting[job_id].append(told)
        try:
            yield
        finally:
            with self._lock:
                self._waiting[job_id].remove(told)
                if not self._waiting[job_id]:
                    del self._waiting[job_id]

    def tell(self, job_id: str) -> None:
        """A job was read, and its record says how it ended."""
        with self._lock:
            waiting = tuple(self._waiting.get(job_id, ()))
        for told in waiting:
            told()
