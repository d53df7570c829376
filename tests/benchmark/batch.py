"""What a batch costs beside reading: queue, journal, tables; its memory; and what workers gain.

    python -m tests.benchmark.batch                           both; the last part of `make bench`
    python -m tests.benchmark.batch overhead --studies 300    a reader that sleeps, one worker
    python -m tests.benchmark.batch workers --studies 40      JPEG 2000 that has to be decoded

It keeps to two cores. Wall clock says what a user waits for, on a machine that does nothing else.
CPU time says the same on a busy one: with W of it per study in the workers and D in the process
that drives them, two workers on two cores are at most 2 W / (W + D) times as fast as one. What two
processes gain that only decode and share nothing says how much of two cores there was to be had.

The exit code is 1 when a goal is missed, 2 when there are not two cores to measure on.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from pydicom.pixels import pixel_array
from pydicom.uid import JPEG2000Lossless

from service import logs
from service.batch.journal import StudyState
from service.batch.run import OpenJobs, run_batch
from service.batch.workers import local_jobs
from service.jobs.durable import DurableJobs
from service.jobs.job import JobState, Outcome
from service.jobs.opening import jobs_around
from service.jobs.pool import RunnerPool
from service.jobs.worker import Request
from service.settings import Settings
from tests.batch_made import READER, Silent, asked_for
from tests.benchmark.table import machine
from tests.builders import Grid, classic_stack, compressed, write_all

REPORT = Path(__file__).parents[1] / "unit" / "batch" / "report.json"

CORES: Final = 2
OVERHEAD_MS: Final = 50.0
"""Queue and journal are to take less a study."""
GAIN: Final = 1.8
"""Two workers on two cores are to be at least so many times as fast as one."""

READING_S: Final = 0.25
"""Of the reader that sleeps: longer than the queue waits before it looks again, as any reading."""

DECODING_S: Final = 4.0
"""How long processes decode that share nothing."""

EXIT_MISSED: Final = 1
EXIT_NOT_POSSIBLE: Final = 2


@dataclass
class SleepingRunner:
    """A reader that only takes its time: every study has the same levels."""

    takes_s: float = 0.0
    ready: bool = True
    report: bytes = field(default_factory=REPORT.read_bytes)

    def start(self) -> None: ...

    def close(self) -> None: ...

    def run(self, request: Request, _on_stage: Callable[[str], None]) -> Outcome:
        time.sleep(self.takes_s)
        (request.results / "report.json").write_bytes(self.report)
        uid = request.source.name
        return Outcome(state=JobState.SUCCEEDED, study_instance_uid=uid, stages_ms={"ingest": 1.0})


@contextmanager
def sleeping_jobs(
    settings: Settings, work_dir: Path, workers: int, reading_s: float
) -> Iterator[DurableJobs]:
    """Jobs with everything but readers; as many are taken at once as with real ones."""
    pool = RunnerPool([SleepingRunner(reading_s) for _ in range(workers)])
    jobs = jobs_around(pool, settings, work_dir, at_once=workers + 1)
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


def overhead(count: int, folder: Path, reading_s: float = 0.0) -> Watch:
    """A batch over so many studies with a reader that takes so long."""
    one_file_studies(folder / "root", count)
    watch = Watch()
    opening: OpenJobs = partial(sleeping_jobs, reading_s=reading_s)
    began, cpu = time.perf_counter(), time.process_time()
    run_batch(asked_for(folder / "root", folder / "out"), Settings(), watch, opening)
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    gaps = np.diff(watch.seconds[1:])
    _say(
        f"{count} studies: {seconds / count * 1000:.1f} ms each, {spent / count * 1000:.1f} ms of "
        f"CPU in all (finding, queue, journal, fetching, tables); between two ends "
        f"{median(gaps) * 1000:.1f} ms, {np.diff(watch.cpu).mean() * 1000:.1f} ms of CPU; "
        f"reading takes {reading_s * 1000:.0f} ms of it"
    )
    tenth = max(1, count // 10)
    early, late = watch.megabytes[2 * tenth], watch.megabytes[-1]
    _say(f"memory after {2 * tenth} studies {early:.0f} MB, after {count} {late:.0f} MB")
    return watch


def small_overhead(count: int, folder: Path) -> bool:
    """Whether queue and journal take as little of a study as they are to.

    What they take is the longer of what a study waits beside its reading, and their CPU time, which
    is waited for where no core is idle.
    """
    watch = overhead(count, folder, READING_S)
    waiting = beside_reading(watch.seconds[1:], READING_S)
    computing = beside_reading(watch.cpu[1:], 0.0)
    return _verdict(
        f"queue and journal: {waiting * 1000:.0f} ms a study beside its reading, "
        f"{computing * 1000:.0f} ms of CPU; both are to be under {OVERHEAD_MS:.0f} ms",
        met=max(waiting, computing) * 1000 < OVERHEAD_MS,
    )


def beside_reading(ends: Sequence[float], reading_s: float) -> float:
    """Seconds that a study takes beside its reading, by when one after the other ended."""
    return mean(np.diff(ends).tolist()) - reading_s


def large_gain(count: int, folder: Path) -> bool:
    """Whether two workers are as much faster than one as they are to be, on the same studies."""
    heavy_studies(folder / "root", count)
    image = folder / "root" / "0000" / "0000.dcm"
    most = plain_gain(image)
    rates = {}
    opening: OpenJobs = partial(local_jobs, command=READER)
    for number in (1, 2):
        watch = Watch()
        children = _children_cpu()
        out = folder / f"out{number}"
        ended = run_batch(asked_for(folder / "root", out, number), Settings(), watch, opening)
        if ended[StudyState.REPORTED] != count:
            raise SystemExit(f"not every study was reported, so there is nothing to time: {ended}")
        rates[number] = rate(watch.seconds[1:], number)
        driver = beside_reading(watch.cpu[1:], 0.0)
        working = (_children_cpu() - children) / count
        bound = 2 * working / (working + driver)
        _say(
            f"{number} worker(s): {rates[number] * 60:.1f} studies a minute; CPU per study: "
            f"{working:.2f} s in workers, {driver:.3f} s in the driver (at most {bound:.2f} times)"
        )
    _say(
        f"two processes that only decode: {most:.2f} times as fast as one before, "
        f"{plain_gain(image):.2f} times after"
    )
    gain = rates[2] / rates[1]
    return _verdict(
        f"two workers are {gain:.2f} times as fast as one; to be at least {GAIN} times",
        met=gain >= GAIN,
    )


def plain_gain(image: Path) -> float:
    """How many times as fast as one process two are that decode an image and share nothing."""
    command = (sys.executable, "-m", "tests.benchmark.batch", "--decode", str(image))

    def images_a_second(processes: int) -> float:
        with ExitStack() as stack:
            started = [
                stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
                for _ in range(processes)
            ]
            return sum(float(process.communicate()[0]) for process in started)

    return images_a_second(2) / images_a_second(1)


def _decode(image: Path) -> float:
    """Images a second."""
    count, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < DECODING_S:
        pixel_array(image)
        count += 1
    return count / taken


def rate(ends: Sequence[float], workers: int) -> float:
    """Studies a second, by when they ended.

    From the end of each worker's first study on: starting up is paid once, however large the batch.
    """
    return (len(ends) - workers) / (ends[-1] - ends[workers - 1])


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _verdict(told: str, *, met: bool) -> bool:
    _say(f"{told}: {'met' if met else 'MISSED'}")
    return met


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


_PARTS: Final[dict[str, tuple[Callable[[int, Path], bool], int]]] = {
    "overhead": (small_overhead, 100),
    "workers": (large_gain, 40),
}
"""Each with the number of its studies."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmark.batch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", help=f"{', '.join(_PARTS)}; both when not given")
    parser.add_argument("--studies", type=int, help="in place of 100 and 40")
    parser.add_argument("--decode", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.decode is not None:
        _say(str(_decode(options.decode)))
        return 0
    if not set(options.what) <= set(_PARTS):
        parser.error(f"there are {', '.join(_PARTS)}")
    # Events of single studies are not what is measured.
    logs.configure(Settings(), logging.WARNING)
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < CORES:
        _say(f"{machine()}: these figures are of {CORES} cores, so there is nothing to measure")
        return EXIT_NOT_POSSIBLE
    os.sched_setaffinity(0, usable[:CORES])  # workers inherit it
    _say(machine())
    met = []
    for name in options.what or _PARTS:
        part, studies = _PARTS[name]
        with TemporaryDirectory(prefix="acuity-bench-") as folder:
            met.append(part(options.studies or studies, Path(folder)))
    return 0 if all(met) else EXIT_MISSED


if __name__ == "__main__":
    sys.exit(main())
