"""What a run took is added up: over calls, over both halves, and whatever ended a call."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

from torch import Tensor

from tests.unit.fit.made import ToyTrainee, patient, recipe
from training.datasets.manifest import write_manifest
from training.datasets.rows import Split
from training.fit import __main__ as command
from training.fit import timings
from training.fit.errors import FitError
from training.fit.recipe import FitRecipe
from training.fit.timings import TIMINGS, Timings, read_timings
from training.fit.trainee import Turn

pytestmark = pytest.mark.train

PREPARES_S = 100.0
STEPS = 4
VALIDATES = 99
"""Seed of what `ToyTrainee` validates with."""


class Clock:
    """Goes when it is told to."""

    now = 5.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timings, "perf_counter", clock)
    return clock


def test_calls_add_up(tmp_path: Path, clock: Clock) -> None:
    first = Timings(tmp_path)
    with first.phase("preparing"):
        clock.now += 60.0
    clock.now += 1000.0  # between phases
    with pytest.raises(KeyboardInterrupt):
        _stopped_after(3000.0, first, clock)
    second = Timings(tmp_path)
    with second.phase("teaching"):
        clock.now += 661.5
    assert read_timings(tmp_path) == {"preparing": 60.0, "teaching": 3661.5}
    assert str(second) == "1:02:02 altogether: preparing 0:01:00, teaching 1:01:02"


def _stopped_after(seconds: float, counted: Timings, clock: Clock) -> None:
    with counted.phase("teaching"):
        clock.now += seconds
        raise KeyboardInterrupt


def test_a_phase_that_is_killed_counts_until_shortly_before(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timings, "NOTE_EVERY_S", 0.01)
    with Timings(tmp_path).phase("teaching"):
        clock.now += 7.0
        deadline = time.monotonic() + 10.0
        while read_timings(tmp_path) != {"teaching": 7.0}:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_what_is_refused_leaves_no_folder(tmp_path: Path, clock: Clock) -> None:
    counted = Timings(tmp_path / "run")
    with pytest.raises(FitError), counted.phase("preparing"):
        raise FitError("refused")
    assert not (tmp_path / "run").exists()
    # Preparing may write elsewhere: it counts as soon as there is a run.
    with counted.phase("preparing"):
        clock.now += 2.0
    (tmp_path / "run").mkdir()
    with counted.phase("teaching"):
        clock.now += 3.0
    assert read_timings(tmp_path / "run") == {"preparing": 2.0, "teaching": 3.0}


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    with Timings(tmp_path, enabled=False).phase("teaching"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "[]", '{"teaching": null}', '{"teaching": "long"}'])
def test_timings_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / TIMINGS).write_text(content)
    with pytest.raises(FitError, match=r"no readable timings\.json"):
        Timings(tmp_path)


@dataclass
class Timed(ToyTrainee):
    """Each step takes a second; it may be stopped in the last one."""

    clock: Clock = field(default_factory=Clock)
    stopped: bool = False

    def batch(self, turn: Turn) -> dict[str, Tensor]:
        if turn.seed != VALIDATES:
            self.clock.now += 1.0
            if self.stopped and turn.step == STEPS - 1:
                raise KeyboardInterrupt
        return super().batch(turn)


def test_both_halves_of_a_crossed_run_add_up_and_the_total_is_told(
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = tmp_path / "labels.csv"
    write_manifest(manifest, [patient(1, "train"), patient(2, "validation")])
    plan = recipe(
        model={"start": "served"},
        data={"manifest": manifest, "crossed": True},
        schedule={"steps": STEPS},
    )
    stopped = True

    def prepare(_recipe: FitRecipe, _run: Path, learned: Split) -> Timed:
        clock.now += PREPARES_S
        return Timed(clock=clock, stopped=stopped and learned is Split.VALIDATION)

    monkeypatch.setattr(command, "prepare", prepare)
    with pytest.raises(KeyboardInterrupt):
        command.run_recipe(plan, tmp_path / "run")
    assert read_timings(tmp_path / "run") == {"preparing": 200.0, "teaching": 8.0}
    stopped = False
    command.run_recipe(plan, tmp_path / "run")
    # The second half went on from its checkpoint of half of the steps.
    assert read_timings(tmp_path / "run") == {"preparing": 400.0, "teaching": 10.0}
    told = capsys.readouterr().out.splitlines()[-1]
    assert told == "0:06:50 altogether: preparing 0:06:40, teaching 0:00:10"
