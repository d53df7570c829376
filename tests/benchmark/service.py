"""What the service adds to the pipeline, and how soon it answers 202, beside floors of this run.

python -m tests.benchmark.service        a part of `make bench`
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2

from service.jobs.launch import COMMAND
from service.jobs.process import WorkerProcess
from service.jobs.worker import Request
from service.settings import Settings
from tests.benchmark.table import cpu_s, machine
from tests.integration.jobs.installation import Installation, Study, children_of, installed
from tests.integration.jobs.variants import variants

SERVE = [sys.executable, "-m", "service.cli", "serve"]
SENDERS = 8
STUDIES_EACH = 15
PAIRS = 9
WAIT_S = 600


def main() -> int:
    """Print the table; the exit code tells nothing, for a busy machine proves nothing."""
    sys.stdout.write(f"{machine()}\n")
    studies = variants(1 + PAIRS + (1 + SENDERS) * STUDIES_EACH)
    with TemporaryDirectory(prefix="acuity-bench-") as folder:
        scratch = Path(folder)
        work_dir = scratch / "work"
        work_dir.mkdir()
        with installed(SERVE, work_dir, ACUITY_MAX_QUEUED="100000") as installation:
            installation.wait_until_there()
            sys.stdout.write(overhead_text(installation, list(islice(studies, 1 + PAIRS)), scratch))
            for senders in (1, SENDERS):
                share = list(islice(studies, senders * STUDIES_EACH))
                sys.stdout.write(latency_text(installation, share, scratch, senders))
            installation.kill_both()  # what it was sent last is not waited for
    return 0


def overhead_text(installation: Installation, studies: Sequence[Study], scratch: Path) -> str:
    """Read each study by the bare pipeline and through the service, one after the other.

    They are sent over one connection, as a router keeps it.
    """
    runner = WorkerProcess(Settings(work_dir=scratch), COMMAND)
    runner.start()
    bare: list[float] = []
    served: list[float] = []
    bare_cpu: list[float] = []
    served_cpu: list[float] = []
    sender = httpx2.Client(base_url=installation.url, timeout=WAIT_S)
    try:
        for number, study in enumerate(studies):
            before = _cpu_of_bare(installation)
            bare.append(_read_bare(runner, study, scratch / f"bare-{number}"))
            bare_cpu.append(_cpu_of_bare(installation) - before)
            before = _cpu_of(installation)
            served.append(_read_served(sender, study))
            served_cpu.append(_cpu_of(installation) - before)
    finally:
        sender.close()
        runner.close()
    # The first of each pays for what is loaded once.
    ours, floor = statistics.median(served[1:]), statistics.median(bare[1:])
    ratios = sorted(one / other for one, other in zip(served[1:], bare[1:], strict=True))
    return (
        f"study to report, {len(ratios)} studies: service {ours * 1000:.0f} ms, bare pipeline "
        f"{floor * 1000:.0f} ms; ratio of each pair {ratios[0]:.2f} to {ratios[-1]:.2f}, median "
        f"{statistics.median(ratios):.2f}\n"
        f"processor time of the same: service {statistics.median(served_cpu[1:]) * 1000:.0f} ms, "
        f"bare pipeline {statistics.median(bare_cpu[1:]) * 1000:.0f} ms; ratio of the sums "
        f"{sum(served_cpu[1:]) / sum(bare_cpu[1:]):.2f}\n"
    )


def _cpu_of_bare(installation: Installation) -> float:
    """Processor time of the worker that this process started beside the service."""
    assert installation.process is not None
    started = children_of(os.getpid())
    return sum(cpu_s(pid) for pid in started if pid != installation.process.pid)


def _cpu_of(installation: Installation) -> float:
    """Processor time of a service and its worker."""
    assert installation.process is not None
    pid = installation.process.pid
    return sum(map(cpu_s, [pid, *children_of(pid)]))


def _read_bare(runner: WorkerProcess, study: Study, folder: Path) -> float:
    source, results = folder / "source", folder / "results"
    source.mkdir(parents=True)
    results.mkdir()
    for name, content in study.items():
        (source / name).write_bytes(content)
    start = time.perf_counter()
    outcome = runner.run(
        Request(source=source, results=results, created=time.time()), lambda _stage: None
    )
    assert outcome.state.reported, outcome
    return time.perf_counter() - start


def _read_served(sender: httpx2.Client, study: Study) -> float:
    files = [("files", (name, content)) for name, content in study.items()]
    start = time.perf_counter()
    answer = sender.post("/v1/studies?wait=300", files=files)
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - start


def latency_text(
    installation: Installation, studies: Sequence[Study], scratch: Path, senders: int
) -> str:
    """Hand in studies from senders at once, while the service reads what they hand in.

    One sender tells how long a study takes to be taken; eight who never pause, how many a second
    are taken, since each waits for the seven others.
    """
    shares = [studies[number::senders] for number in range(senders)]
    with ThreadPoolExecutor(senders) as pool:
        folders = _folders(scratch, senders)
        floor = [s for one in pool.map(_write_share, shares, folders) for s in one]
    together = threading.Barrier(senders)

    def send_share(share: Sequence[Study]) -> list[float]:
        taken = []
        with httpx2.Client(base_url=installation.url, timeout=WAIT_S) as client:
            together.wait()
            for study in share:
                files = [("files", (name, content)) for name, content in study.items()]
                start = time.perf_counter()
                answer = client.post("/v1/studies", files=files)
                taken.append(time.perf_counter() - start)
                assert answer.status_code == 202, answer.text
        return taken

    start = time.perf_counter()
    with ThreadPoolExecutor(senders) as pool:
        taken = [seconds for share in pool.map(send_share, shares) for seconds in share]
    rate = len(taken) / (time.perf_counter() - start)
    megabytes = sum(len(content) for content in studies[0].values()) / 1e6
    return (
        f"202 to {senders} sender{'s at once' if senders > 1 else ''}, {len(taken)} studies of "
        f"{len(studies[0])} files, {megabytes:.1f} MB: {rate:.0f} a second, "
        f"p50 {_percentile(taken, 50) * 1000:.0f} ms, "
        f"p99 {_percentile(taken, 99) * 1000:.0f} ms; the same files written and flushed by "
        f"as many threads: p50 {_percentile(floor, 50) * 1000:.0f} ms, "
        f"p99 {_percentile(floor, 99) * 1000:.0f} ms; ratio of p99 "
        f"{_percentile(taken, 99) / _percentile(floor, 99):.1f}\n"
    )


def _folders(scratch: Path, senders: int) -> list[Path]:
    folders = [scratch / f"floor-{senders}-{number}" for number in range(senders)]
    for folder in folders:
        folder.mkdir()
    return folders


def _write_share(share: Sequence[Study], folder: Path) -> list[float]:
    taken = []
    for number, study in enumerate(share):
        start = time.perf_counter()
        for name, content in study.items():
            with (folder / f"{number}-{name}").open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        taken.append(time.perf_counter() - start)
    return taken


def _percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


if __name__ == "__main__":
    sys.exit(main())
