"""The operating system's side of an inference worker: starting the process and ending it.

Only the standard library is imported here, so that `acuity serve` can start the worker before
anything else: the worker's imports then run beside those of the REST interface.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

COMMAND: Final = (sys.executable, "-P", "-m", "service.jobs.worker")
"""How the worker is started; -P keeps the folder we stand in out of its imports."""

_LEAVE_TIMEOUT_S: Final = 5.0


def launch(command: Sequence[str] = COMMAND) -> subprocess.Popen[str]:
    """Start a worker. It makes ready what it can and waits for its settings on standard input."""
    return subprocess.Popen(  # noqa: S603  COMMAND, or a test's
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A session of its own, so that the decoders it started can be ended with it.
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Kill a worker and what it started; one that has ended is fine."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=_LEAVE_TIMEOUT_S)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@contextmanager
def launched(command: Sequence[str] = COMMAND) -> Iterator[subprocess.Popen[str]]:
    """A worker that does not outlive the block, whoever takes it over inside."""
    process = launch(command)
    try:
        yield process
    finally:
        end(process)
