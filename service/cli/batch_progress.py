"""The progress of a batch: a bar with rate and time left, or a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from service.batch.journal import StudyState

LOG_EVERY_S = 30.0
"""How often a line is written where no bar can be drawn."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        if not task.speed:
            return Text("", style="progress.data.speed")
        return Text(f"{task.speed * 60:,.1f}/min", style="progress.data.speed")


@contextmanager
def shown(stream: TextIO, clock: Callable[[], float] = time.monotonic) -> Iterator[Shown]:
    """Show progress on a stream for as long as the block; the clock counts seconds."""
    console = Console(file=stream, get_time=clock)
    if not console.is_terminal:
        yield Lines(stream, clock)
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[told]}"),
        console=console,
        # Over the last minutes: early studies pay for starting up.
        speed_estimate_period=120.0,
    )
    with bar:
        yield Bar(bar)


class Shown:
    """Counts what became of studies; `service.batch.run.Progress`."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(StudyState, 0)
        self.total = 0
        self.done = 0

    def looked(self, files: int) -> None:
        """So many files were met so far."""

    def begin(self, total: int, done: int) -> None:
        """So many studies there are, so many of them done before."""
        self.total, self.done = total, done

    def study(self, state: StudyState) -> None:
        """One more study is final."""
        self.counts[state] += 1
        self.done += 1

    def told(self) -> str:
        """What is not as it should be."""
        return ", ".join(
            f"{self.counts[state]} {state.value}"
            for state in (StudyState.REFUSED, StudyState.FAILED)
            if self.counts[state]
        )


class Bar(Shown):
    """On a terminal."""

    def __init__(self, bar: Progress) -> None:
        super().__init__()
        self._bar = bar
        self._task = bar.add_task("looking for studies", total=None, told="")

    def looked(self, files: int) -> None:
        """Show how many files were met."""
        self._bar.update(self._task, completed=files)

    def begin(self, total: int, done: int) -> None:
        """Begin a bar over studies."""
        super().begin(total, done)
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task("reading studies", total=total, completed=done, told="")

    def study(self, state: StudyState) -> None:
        """Move it on."""
        super().study(state)
        self._bar.update(self._task, completed=self.done, told=self.told())


class Lines(Shown):
    """In a file or a pipe."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        super().__init__()
        self._stream = stream
        self._clock = clock
        self._began = self._said = clock()
        self._before = 0

    def begin(self, total: int, done: int) -> None:
        """Say how much there is."""
        super().begin(total, done)
        self._began = self._said = self._clock()
        self._before = done
        self._say(f"{total} studies, {done} of them read before")

    def study(self, state: StudyState) -> None:
        """Say now and then how far it is."""
        super().study(state)
        now = self._clock()
        if now - self._said >= LOG_EVERY_S or self.done == self.total:
            self._said = now
            rate = (self.done - self._before) / max(now - self._began, 1e-9)
            left = (self.total - self.done) / rate
            told = self.told()
            self._say(
                f"{self.done}/{self.total} studies, {rate * 60:,.1f}/min, {left:,.0f} s left"
                + (f", {told}" if told else "")
            )

    def _say(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()
