"""How long a run takes, phase by phase, on the wall's clock.

    RUN/timings.json       seconds of preparing, teaching and exporting

Every call that goes on with a run adds its own, those of a crossed run for both halves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from time import perf_counter
from typing import Final, Literal

from models.durable import write_durably
from training.fit.errors import FitError

TIMINGS: Final = "timings.json"

NOTE_EVERY_S: Final = 10.0
"""What `kill -9` or a power cut may leave out."""

Phase = Literal["preparing", "teaching", "exporting"]


class Timings:
    """Adds up what the phases of a run take; does nothing in any process but the first."""

    def __init__(self, run: Path, *, enabled: bool = True) -> None:
        """Go on from what earlier calls took.

        Raises:
            FitError: The run's timings cannot be read.
        """
        self._run, self._enabled = run, enabled
        self._seconds = read_timings(run) if enabled else {}

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Count what the block takes, however it ends."""
        if not self._enabled:
            yield
            return
        before, begun, over = self._seconds.get(name, 0.0), perf_counter(), Event()

        def note() -> None:
            self._seconds[name] = before + perf_counter() - begun
            self._write()

        def keep_noting() -> None:
            while not over.wait(NOTE_EVERY_S):
                note()

        noting = Thread(target=keep_noting, name=TIMINGS, daemon=True)
        noting.start()
        try:
            yield
        finally:
            over.set()
            noting.join()
            note()

    def _write(self) -> None:
        # What is refused leaves no run folder behind, and is no run.
        if self._run.exists():
            rounded = {name: round(seconds, 3) for name, seconds in self._seconds.items()}
            write_durably(self._run / TIMINGS, json.dumps(rounded, indent=1).encode())

    def __str__(self) -> str:
        """The total, and each phase, in hours, minutes and seconds."""
        parts = ", ".join(f"{name} {_clock(took)}" for name, took in self._seconds.items())
        return f"{_clock(sum(self._seconds.values()))} altogether: {parts}"


def read_timings(run: Path) -> dict[str, float]:
    """Seconds by phase of a run so far; empty where nothing was noted.

    Raises:
        FitError: The file cannot be read.
    """
    try:
        content = (run / TIMINGS).read_bytes()
    except FileNotFoundError:
        return {}
    try:
        return {name: float(seconds) for name, seconds in json.loads(content).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise FitError(f"the run folder has no readable {TIMINGS}: remove it to go on") from error


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
