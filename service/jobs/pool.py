"""Several inference workers side by side, behind the seam of one."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence

from service.jobs.job import Outcome
from service.jobs.process import Runner
from service.jobs.worker import Request


class RunnerPool:
    """A `Runner` that hands each study to a free one of its own; `run` may come from any thread.

    Args:
        runners: At least one.
    """

    def __init__(self, runners: Sequence[Runner]) -> None:
        self._runners = tuple(runners)
        self._free: queue.SimpleQueue[Runner] = queue.SimpleQueue()
        for runner in self._runners:
            self._free.put(runner)

    @property
    def ready(self) -> bool:
        """Whether any has its bundles open."""
        return any(runner.ready for runner in self._runners)

    def start(self) -> None:
        """Start all."""
        for runner in self._runners:
            runner.start()

    def run(self, request: Request, on_stage: Callable[[str], None]) -> Outcome:
        """Wait for a free one and let it run the study."""
        runner = self._free.get()
        try:
            return runner.run(request, on_stage)
        finally:
            self._free.put(runner)

    def close(self) -> None:
        """End all; studies that wait for a free one end with it."""
        for runner in self._runners:
            runner.close()
