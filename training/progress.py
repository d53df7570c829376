"""How far a long step is: a bar with rate and time left, on a terminal only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class Rate(ProgressColumn):
    """Done in a second, or in a minute where that is less than one."""

    def render(self, task: Task) -> Text:
        """Nothing until there is a rate."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("", style="progress.data.speed")
        told = f"{speed:,.1f}/s" if speed >= 1.0 else f"{speed * 60:,.1f}/min"
        return Text(told, style="progress.data.speed")


@contextmanager
def progress_bar(what: str, console: Console | None = None) -> Iterator[Callable[[int, int], None]]:
    """A bar with rate and time left; nothing where its console is no terminal.

    Args:
        what: Is being done.
        console: Where to; standard error by default.

    Yields:
        To be told how many are done, of how many.
    """
    console = console or Console(stderr=True)
    columns = (
        TextColumn(what), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        job = bar.add_task(what, total=None)
        yield lambda done, whole: bar.update(job, completed=done, total=whole)
