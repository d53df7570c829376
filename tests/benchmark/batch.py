"""What a batch costs beside reading: queue, journal, tables; its memory; and what workers gain.

    python -m tests.benchmark.batch overhead --studies 300    a reader that takes no time
    python -m tests.benchmark.batch workers --studies 24      JPEG 2000 that has to be decoded

Wall clock says what a user waits for, on a machine that does nothing else. CPU time says the same
on a busy one: with W of it per study in the workers and D in the process that drives them, two
workers on two cores are at most 2 W / (W + D) times as fast as one.
"""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from pydicom.uid import JPEG2000Lossless

from service import logs
from service.batch.journal import StudyState
from service.batch.run import OpenJobs, run_batch
from service.batch.workers import local_jobs
from service.jobs.durable import DurableJobs
from service.jobs.job import JobState, Outcome
from service.jobs.opening import jobs_around
from service.jobs.worker import Request
from service.settings import Settings
from tests.batch_made import READER, Silent, asked_for
from tests.builders import Grid, classic_stack, compressed, write_all

REPORT = Path(__file__).parents[1] / "unit" / "batch" / "report.json"


@dataclass
class InstantRunner:
    """A reader that takes no time: every study has the same levels."""

    ready: bool = True
    report: bytes = field(default_factory=REPORT.read_bytes)

    def start(self) -> None: ...

    def close(self) -> None: ...

    def run(self, request: Request, _on_stage: Callable[[str], None]) -> Outcome:
        (request.results / "report.json").write_bytes(self.report)
        uid = request.source.name
        return Outcome(state=JobState.SUCCEEDED, study_instance_uid=uid, stages_ms={"ingest": 1.0})


@contextmanager
def instant_jobs(settings: Settings, work_dir: Path, _workers: int) -> Iterator[DurableJobs]:
    """Jobs with everything but a reader."""
    jobs = jobs_around(InstantRunner(), settings, work_dir, at_once=2)
    jobs.start()
    try:
        yield jobs
    finally:
        jobs.close()


class Watch(Silent):
    """Notes time, CPU and memory as studies come to their end."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.cpu: list[float] = []
        self.megabytes: list[float] = []

    def begin(self, total: int, done: int) -> None:
        super().begin(total, done)
        self._note()

    def study(self, state: object) -> None:
        super().study(state)
        self._note()

    def _note(self) -> None:
        self.seconds.append(time.perf_counter())
        self.cpu.append(time.process_time())
        self.megabytes.append(resident_mb())


def resident_mb() -> float:
    """Memory of this process that is in RAM (proc(5))."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def one_file_studies(root: Path, count: int) -> None:
    """Studies of one small image each."""
    pixels = np.zeros((1, 16, 16), np.uint16)
    for number in range(count):
        write_all(classic_stack(pixels, study=f"one {number}"), root / f"{number:05d}")


def heavy_studies(root: Path, count: int) -> None:
    """Studies of 20 slices of 512 x 512 in JPEG 2000: 0.03 s of decoding a slice."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[0:1:512j, 0:1:512j]
    smooth = 800 + 600 * np.sin(9 * rows) * np.cos(7 * columns)
    pixels = (smooth + rng.normal(0, 25, (20, 512, 512))).clip(0, 4095).astype(np.uint16)
    images = [
        compressed(image, JPEG2000Lossless)
        for image in classic_stack(pixels, Grid(spacing=(4.0, 0.5, 0.5)))
    ]
    for number in range(count):
        for image, named in zip(
            images,
            classic_stack(np.zeros((20, 1, 1), np.uint16), study=f"heavy {number}"),
            strict=True,
        ):
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                setattr(image, keyword, named[keyword].value)
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        write_all(images, root / f"{number:04d}")


def overhead(count: int, folder: Path) -> Watch:
    """A batch over so many studies with a reader that takes no time."""
    one_file_studies(folder / "root", count)
    watch = Watch()
    began, cpu = time.perf_counter(), time.process_time()
    run_batch(asked_for(folder / "root", folder / "out"), Settings(), watch, instant_jobs)
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    gaps = np.diff(watch.seconds)
    _say(
        f"{count} studies: {seconds / count * 1000:.1f} ms each, {spent / count * 1000:.1f} ms of "
        f"CPU in all (finding, queue, journal, fetching, tables); between two ends "
        f"{median(gaps) * 1000:.1f} ms, {np.diff(watch.cpu).mean() * 1000:.1f} ms of CPU"
    )
    tenth = max(1, count // 10)
    early, late = watch.megabytes[2 * tenth], watch.megabytes[-1]
    _say(f"memory after {2 * tenth} studies {early:.0f} MB, after {count} {late:.0f} MB")
    return watch


def workers(count: int, folder: Path) -> None:
    """The same batch with one worker and with two."""
    heavy_studies(folder / "root", count)
    rates = {}
    opening: OpenJobs = partial(local_jobs, command=READER)
    for number in (1, 2):
        watch = Watch()
        cpu, children = time.process_time(), _children_cpu()
        out = folder / f"out{number}"
        ended = run_batch(asked_for(folder / "root", out, number), Settings(), watch, opening)
        if ended[StudyState.REPORTED] != count:
            raise SystemExit(f"not every study was reported, so there is nothing to time: {ended}")
        # From the first end to the last: starting up is paid once, however large the batch.
        rates[number] = (count - 1) / (watch.seconds[-1] - watch.seconds[1])
        driver = (time.process_time() - cpu) / count
        working = (_children_cpu() - children) / count
        most = 2 * working / (working + driver)
        _say(
            f"{number} worker(s): {rates[number] * 60:.1f} studies a minute; CPU per study: "
            f"{working:.2f} s in workers, {driver:.3f} s in the driver (at most {most:.2f} times)"
        )
    _say(f"two workers are {rates[2] / rates[1]:.2f} times as fast as one")


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.batch", description=__doc__)
    parser.add_argument("what", choices=("overhead", "workers"))
    parser.add_argument("--studies", type=int, default=24)
    options = parser.parse_args()
    # Events of single studies are not what is measured.
    logs.configure(Settings(), logging.WARNING)
    _say(f"{datetime.now(UTC):%H:%M} load {Path('/proc/loadavg').read_text().split()[0]}")
    with TemporaryDirectory(prefix="acuity-bench-") as folder:
        {"overhead": overhead, "workers": workers}[options.what](options.studies, Path(folder))


if __name__ == "__main__":
    main()
