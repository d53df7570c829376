"""The workers that read a batch's studies on this machine.

On a database of its own a batch needs one process for the queue and one per worker. On a shared
one each worker is a full member of the queue, like `acuity worker` on another machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from service import logs
from service.jobs.launch import COMMAND
from service.jobs.opening import jobs_around
from service.jobs.pool import RunnerPool
from service.jobs.process import WorkerProcess
from service.settings import Settings

if TYPE_CHECKING:
    from service.jobs.durable import DurableJobs

_LEAVE_TIMEOUT_S: Final = 15.0
_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers() -> int:
    """Two cores for each: reading and writing leave one of them half idle."""
    return max(1, cores() // 2)


def divided(settings: Settings, workers: int) -> Settings:
    """Settings in which the workers of a machine share its cores, unless threads are set."""
    if settings.threads is not None:
        return settings
    threads = max(1, cores() // workers)
    for name in _THREAD_VARIABLES:  # what numpy's libraries read when a worker starts
        os.environ.setdefault(name, str(threads))
    return settings.model_copy(update={"threads": threads})


@contextmanager
def local_jobs(
    settings: Settings, work_dir: Path, workers: int, command: Sequence[str] = COMMAND
) -> Iterator[DurableJobs]:
    """Jobs in a database of their own, read by so many inference workers.

    Args:
        settings: Of this installation.
        work_dir: Of this batch alone.
        workers: How many.
        command: Starts one.
    """
    settings = divided(settings, workers).model_copy(update={"work_dir": work_dir})
    pool = RunnerPool([WorkerProcess(settings, command) for _ in range(workers)])
    # One more than there are workers: the next study waits here and not in the database, where it
    # would be looked for only now and then.
    with _started(jobs_around(pool, settings, work_dir, at_once=workers + 1)) as jobs:
        yield jobs


@contextmanager
def shared_jobs(
    settings: Settings, work_dir: Path, workers: int, command: Sequence[str] = COMMAND
) -> Iterator[DurableJobs]:
    """Jobs in the database that `settings` names, read by this machine's workers and any others.

    Args:
        settings: Of this installation.
        work_dir: Shared by every worker on the database.
        workers: How many on this machine, this process among them.
        command: Starts what reads for one.
    """
    settings = divided(settings, workers).model_copy(update={"work_dir": work_dir})
    with ExitStack() as stack:
        for _ in range(workers - 1):
            stack.enter_context(_member(settings, command))
        jobs = jobs_around(WorkerProcess(settings, command), settings, work_dir)
        yield stack.enter_context(_started(jobs))


@contextmanager
def _started(jobs: DurableJobs) -> Iterator[DurableJobs]:
    jobs.start()
    try:
        yield jobs
    finally:
        jobs.close()


@contextmanager
def _member(settings: Settings, command: Sequence[str]) -> Iterator[None]:
    """A further process on the queue, which ends with its standard input."""
    process = subprocess.Popen(  # noqa: S603  our own module
        (sys.executable, "-P", "-m", __name__, *command),
        stdin=subprocess.PIPE,
        text=True,
        # Ctrl-C is for this process, which ends the others in order.
        start_new_session=True,
    )
    if process.stdin is None:
        raise AssertionError("a pipe was asked for")
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(_with_secrets(settings) + "\n")
            process.stdin.flush()
        yield
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(timeout=_LEAVE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _with_secrets(settings: Settings) -> str:
    # A member needs the database only; other secrets are masked in JSON, and left out.
    bare = settings.model_copy(
        update={"api_keys": (), "pseudonym_key": None, "archives": {}, "targets": {}}
    )
    return bare.model_dump_json()


def main(command: Sequence[str]) -> None:
    """Work on the queue until standard input ends; the command starts what reads."""
    settings = Settings.model_validate_json(sys.stdin.readline())
    logs.configure(settings)
    if settings.work_dir is None:
        raise SystemExit(2)
    jobs = jobs_around(WorkerProcess(settings, command), settings, settings.work_dir)
    with _started(jobs):
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
