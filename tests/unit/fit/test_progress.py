"""A bar says how fast it goes and how long it will take."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Task
from rich.text import Text

from training.progress import Rate, progress_bar


class Timed(Task):
    """A task whose speed is known."""

    def __init__(self, speed: float | None, finished: float | None = None) -> None:
        super().__init__(id=0, description="", total=10, completed=1, _get_time=lambda: 0.0)  # type: ignore[arg-type]
        self.known, self.finished_speed = speed, finished

    @property
    def speed(self) -> float | None:
        return self.known


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (Timed(None), ""),
        (Timed(3.14), "3.1/s"),
        (Timed(0.05), "3.0/min"),
        (Timed(1234.5), "1,234.5/s"),
        (Timed(2.0, finished=4.0), "4.0/s"),
    ],
)
def test_a_rate_by_second_or_minute(task: Task, told: str) -> None:
    assert Rate().render(task) == Text(told, style="progress.data.speed")


def test_rate_and_time_left_are_on_the_bar() -> None:
    clock = [0.0]
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=True, width=120, color_system=None, get_time=lambda: clock[0]
    )
    with progress_bar("reading", console) as progress:
        progress(0, 40)
        for done in range(1, 21):
            clock[0] += 0.5
            progress(done, 40)
    lines = out.getvalue().replace("\r", "\n").splitlines()
    last = [line for line in lines if "reading" in line][-1]
    assert "20/40" in last
    assert "2.0/s" in last
    assert "0:00:10" in last  # twenty more of half a second


def test_nothing_is_drawn_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    with progress_bar("reading", Console(file=out)) as progress:
        progress(1, 2)
    assert out.getvalue().strip() == ""
