"""The service's side of the inference worker: start it, feed it, time it, replace it."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog

from service.jobs.job import JobReason, Outcome
from service.jobs.launch import COMMAND, end, launch
from service.jobs.worker import Message, Request
from service.settings import Settings

log = structlog.get_logger()

START_TIMEOUT_S: Final = 120.0
"""Longest time to open the bundles; it takes about a second, more on a loaded machine."""


WATCH_S: Final = 0.5
"""How often the worker's memory is looked at."""

REAP_S: Final = 2.0
"""How long a process may take from closing its output to its end."""

WORKER_DIED: Final = "worker_died"
"""It ended by itself or crashed, most likely of the study."""
WORKER_KILLED: Final = "worker_killed"
"""It was killed from outside."""

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Runner(Protocol):
    """Something that runs one study at a time. `run` is called from one thread only."""

    @property
    def ready(self) -> bool:
        """Whether the bundles are open."""

    def start(self) -> None:
        """Begin to get ready; returns at once."""

    def run(self, request: Request, on_stage: Callable[[str], None]) -> Outcome:
        """Run a study and leave its results in an empty folder. Never raises for the study.

        Args:
            request: What to read, and where the results go.
            on_stage: Told each stage as it begins.
        """

    def close(self) -> None:
        """Stop at once; a run under way returns a failed outcome."""


class WorkerProcess:
    """A `Runner` in a process of its own, replaced when it dies, hangs or cannot start.

    Args:
        settings: Of this installation.
        command: Starts a worker.
        launched: The first worker, where it was launched ahead; it gets its settings at once.
    """

    def __init__(
        self,
        settings: Settings,
        command: Sequence[str] = COMMAND,
        launched: subprocess.Popen[str] | None = None,
    ) -> None:
        self._command = command
        # Secrets stay here: the worker has no use for them.
        self._settings = settings.model_copy(
            update={
                "api_keys": (),
                "pseudonym_key": None,
                "database": None,
                "archives": {},
                "targets": {},
            }
        )
        self._timeout_s = settings.job_timeout_s
        self._memory_bytes = settings.job_memory_mb << 20
        self._worker = _Worker(launched, self._settings) if launched else None
        self._closed = False

    @property
    def ready(self) -> bool:
        """Whether a worker stands with its bundles open."""
        return self._worker is not None and self._worker.ready

    def start(self) -> None:
        """Start the worker if it was not launched; it gets ready while the caller goes on."""
        if self._worker is None:
            self._worker = self._new_worker()

    def run(self, request: Request, on_stage: Callable[[str], None]) -> Outcome:
        """Run one study, at most `job_timeout_s` long and within `job_memory_mb`."""
        worker = self._standing_worker()
        if worker is None:
            return Outcome.failed("interrupted", "the service is stopping")
        broken = worker.await_ready()
        if broken is not None:
            return Outcome.failed(broken.code, broken.message)
        worker.send(request.model_dump_json())
        deadline = time.monotonic() + self._timeout_s
        try:
            while (message := self._watched(worker, deadline)) is not None:
                if message.outcome is not None:
                    return message.outcome
                if message.stage is not None:
                    on_stage(message.stage)
        except TimeoutError:
            worker.end("timeout")
            return Outcome.failed("timeout", "the study took longer than one study may take")
        except MemoryError:
            worker.end("out_of_memory")
            return Outcome.failed("out_of_memory", "the study took more memory than one may take")
        return worker.died()

    def _watched(self, worker: _Worker, deadline: float) -> Message | None:
        """The next message, with an eye on the memory that the worker takes meanwhile.

        Raises:
            TimeoutError: Nothing came in time.
            MemoryError: The worker took too much.
        """
        while True:
            try:
                return worker.next_message(min(deadline, time.monotonic() + WATCH_S))
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise
                if worker.memory_bytes() > self._memory_bytes:
                    raise MemoryError from None

    def close(self) -> None:
        """End the worker, whatever it does."""
        self._closed = True
        if self._worker is not None:
            self._worker.kill()

    def _standing_worker(self) -> _Worker | None:
        # A worker that died or could not open its bundles is started anew for the next study, so
        # that a repaired bundle needs no restart of the service.
        if self._closed:
            return None
        if self._worker is None or not self._worker.alive:
            self._worker = self._new_worker()
        return self._worker

    def _new_worker(self) -> _Worker:
        return _Worker(launch(self._command), self._settings)


class _Worker:
    """One worker process and the lines that it sends."""

    def __init__(self, process: subprocess.Popen[str], settings: Settings) -> None:
        self._messages: queue.Queue[Message | None] = queue.Queue()
        self._ready = threading.Event()
        self._process = process
        self.send(settings.model_dump_json())
        threading.Thread(target=self._listen, name="worker-messages", daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def ready(self) -> bool:
        return self._ready.is_set() and self.alive

    def memory_bytes(self) -> int:
        """Resident memory of the process (proc(5)); 0 when it has ended."""
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * PAGE_BYTES

    def await_ready(self) -> JobReason | None:
        """Wait until the bundles are open, or say why they are not."""
        if self._ready.is_set():
            return None
        try:
            message = self.next_message(time.monotonic() + START_TIMEOUT_S)
        except TimeoutError:
            message = None
        if message is not None and message.ready:
            return None
        self.kill()
        if message is not None and message.broken is not None:
            return message.broken
        return self.died().reason

    def next_message(self, deadline: float) -> Message | None:
        """Wait for a line until `deadline` (monotonic seconds); None when the worker has ended.

        Raises:
            TimeoutError: Nothing came in time.
        """
        try:
            return self._messages.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty as error:
            raise TimeoutError from error

    def send(self, line: str) -> None:
        """Write one line; a worker that has just died says so through its messages."""
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            log.warning("worker_unreachable")

    def end(self, code: str) -> None:
        """Kill it and say why in the log."""
        log.error("worker_ended", code=code)
        self.kill()

    def died(self) -> Outcome:
        """What it means for a study that the process has ended by itself, or was killed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=REAP_S)
        self.kill()
        # The kernel kills what takes the memory of others, an operator what is in the way.
        killed = self._process.returncode in (-signal.SIGKILL, -signal.SIGTERM)
        code = WORKER_KILLED if killed else WORKER_DIED
        log.error("worker_ended", code=code, status=self._process.returncode)
        return Outcome.failed(code, "the inference worker ended unexpectedly")

    def kill(self) -> None:
        """End the process and what it started."""
        end(self._process)

    def _listen(self) -> None:
        with contextlib.suppress(ValueError):  # the pipe was closed by `kill`
            for line in self._process.stdout or ():
                message = Message.model_validate_json(line)
                if message.ready:
                    self._ready.set()
                self._messages.put(message)
        self._messages.put(None)
