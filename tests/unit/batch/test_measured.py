"""What the benchmark of batches says of figures that are known: a wrong one would flatter us."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from service.batch.journal import StudyState
from service.batch.run import Asked
from service.settings import Settings
from tests.benchmark import batch
from tests.benchmark.batch import READING_S, Watch, beside_reading, rate

COUNT = 12
MS = 1e-3


def watched(every_s: float, cpu_s: float, at_once: int = 1) -> Watch:
    """A batch whose studies end at a steady pace, so many at the same time."""
    watch = Watch()
    watch.seconds = [0.0, *(9.0 + every_s * (1 + n // at_once) for n in range(COUNT))]
    watch.cpu = [0.0, *(3.0 + cpu_s * n for n in range(COUNT))]
    return watch


def test_two_perfect_workers_are_twice_as_fast_and_not_more() -> None:
    one, two = watched(2.0, 0.1), watched(2.0, 0.1, at_once=2)
    assert rate(one.seconds[1:], 1) == pytest.approx(0.5)
    assert rate(two.seconds[1:], 2) == pytest.approx(1.0)


def test_starting_up_is_no_part_of_what_a_study_takes() -> None:
    watch = watched(0.29, 0.02)
    assert beside_reading(watch.seconds[1:], 0.25) == pytest.approx(0.04)
    assert beside_reading(watch.cpu[1:], 0.0) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("waiting_ms", "cpu_ms", "met"), [(40, 30, True), (60, 30, False), (2, 60, False)]
)
def test_waiting_and_computing_are_both_to_be_small(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, waiting_ms: int, cpu_ms: int, met: bool
) -> None:
    watch = watched(READING_S + waiting_ms * MS, cpu_ms * MS)
    monkeypatch.setattr(batch, "overhead", lambda *_: watch)
    assert batch.small_overhead(COUNT, tmp_path) is met


@pytest.mark.parametrize(("slower", "met"), [(1.0, True), (1.1, True), (1.2, False)])
def test_what_two_workers_gain(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slower: float, met: bool
) -> None:
    def run(asked: Asked, _settings: Settings, watch: Watch, _jobs: object) -> object:
        every = 1.0 if asked.workers == 1 else slower
        like = watched(every, 0.1, at_once=asked.workers)
        watch.seconds, watch.cpu = like.seconds, like.cpu
        return {StudyState.REPORTED: COUNT}

    monkeypatch.setattr(batch, "heavy_studies", lambda *_: None)
    monkeypatch.setattr(batch, "plain_gain", lambda _image: 2.0)
    monkeypatch.setattr(batch, "run_batch", run)
    assert batch.large_gain(COUNT, tmp_path) is met


def test_studies_that_were_not_read_are_not_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(batch, "heavy_studies", lambda *_: None)
    monkeypatch.setattr(batch, "plain_gain", lambda _image: 2.0)
    monkeypatch.setattr(batch, "run_batch", lambda *_: {StudyState.REPORTED: COUNT - 1})
    with pytest.raises(SystemExit, match="nothing to time"):
        batch.large_gain(COUNT, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "cores", "missed", "code"),
    [
        ([], {0, 1, 5}, "", 0),
        ([], {0, 1}, "overhead", 1),
        ([], {0, 1}, "workers", 1),
        (["overhead"], {2, 3}, "workers", 0),
        ([], {4}, "", 2),
    ],
)
def test_a_missed_goal_is_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], cores: set[int], missed: str, code: int
) -> None:
    def part(name: str) -> tuple[Callable[[int, Path], bool], int]:
        return (lambda _count, folder: folder.is_dir() and name != missed), COUNT

    kept: list[list[int]] = []
    monkeypatch.setattr(batch, "_PARTS", {name: part(name) for name in ("overhead", "workers")})
    monkeypatch.setattr(batch.logs, "configure", lambda *_: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: cores)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, usable: kept.append(usable))
    assert batch.main(arguments) == code
    assert kept == ([] if len(cores) < 2 else [sorted(cores)[:2]])


def test_the_benchmark_is_run_with_the_others() -> None:
    makefile = (Path(__file__).parents[3] / "Makefile").read_text(encoding="utf-8")
    assert "for part in benchmark benchmark.service benchmark.network benchmark.batch;" in makefile
