"""What a user sees of a batch while it runs: on a terminal, and in a file or a pipe."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from service.batch.journal import StudyState
from service.cli.batch_progress import LOG_EVERY_S, Shown, shown

PATIENCE_S = 20.0


@dataclass
class Clock:
    """Time that passes when it is told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Terminal:
    """A terminal, and all that was written to it."""

    master: int
    slave: int
    written: bytearray = field(default_factory=bytearray)

    def read(self) -> None:
        """Take what is written until nobody can write any more."""
        try:
            while data := os.read(self.master, 4096):
                self.written += data
        except OSError:  # the other end was closed (Linux tells it so)
            return

    def frames(self) -> list[str]:
        """Lines that were shown, one over the other, without what places and colours them."""
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.written.decode())
        return [line.strip() for line in re.split(r"[\r\n]+", plain) if line.strip()]

    def await_frame(self, *words: str) -> str:
        """The newest frame with these words, as soon as there is one."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            for frame in reversed(self.frames()):
                if all(word in frame for word in words):
                    return frame
            time.sleep(0.02)
        raise AssertionError(f"{words!r} was never shown: {self.frames()[-3:]}")


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal of 120 columns."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    made = Terminal(master, slave)
    reader = threading.Thread(target=made.read, daemon=True)
    reader.start()
    try:
        yield made
    finally:
        os.close(slave)
        reader.join(timeout=PATIENCE_S)
        os.close(master)


def go_on(progress: Shown, clock: Clock, states: str, every_s: float) -> None:
    """Studies come to their end one after the other: reported, refused or failed."""
    by_letter = {"r": StudyState.REPORTED, "x": StudyState.REFUSED, "f": StudyState.FAILED}
    for letter in states:
        clock.now += every_s
        progress.study(by_letter[letter])


def test_a_terminal_shows_a_bar_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    with terminal(monkeypatch) as seen, os.fdopen(os.dup(seen.slave), "w") as stream:
        with shown(stream, clock) as progress:
            progress.looked(123)
            seen.await_frame("looking for studies", " 123/?")
            progress.begin(total=20, done=4)
            assert "/min" not in seen.await_frame("reading studies", " 4/20")
            go_on(progress, clock, "rrxrf", every_s=6.0)
            frame = seen.await_frame("9/20")
            # 11 are left, at one in 6 s; what was read before counts for no speed.
            assert re.search(r"\b10\.0/min 0:00:30 01:06 1 refused, 1 failed$", frame), frame
            go_on(progress, clock, "r" * 11, every_s=6.0)
        last = seen.await_frame("20/20")
        assert re.search(r"\b10\.0/min 0:01:36", last), last
    assert b"\x1b[" in seen.written


def test_the_rate_follows_the_last_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    with (
        terminal(monkeypatch) as seen,
        os.fdopen(os.dup(seen.slave), "w") as stream,
        shown(stream, clock) as progress,
    ):
        progress.begin(total=100, done=0)
        go_on(progress, clock, "rr", every_s=200.0)  # starting up
        go_on(progress, clock, "r" * 40, every_s=6.0)
        assert " 10.0/min " in seen.await_frame(" 42/100")


def test_a_pipe_gets_a_line_now_and_then() -> None:
    clock, stream = Clock(), io.StringIO()
    with shown(stream, clock) as progress:
        progress.looked(123)
        progress.begin(total=20, done=4)
        go_on(progress, clock, "rrxrf", every_s=12.0)
        go_on(progress, clock, "r" * 11, every_s=1.0)
    assert LOG_EVERY_S == 30.0
    assert stream.getvalue().splitlines() == [
        "20 studies, 4 of them read before",
        # The third study is the first to end 30 s after the last line.
        "7/20 studies, 5.0/min, 156 s left, 1 refused",
        # 5 in 60 s and 6 more in 6 s; then to the end, which is told however soon it comes.
        "15/20 studies, 10.0/min, 30 s left, 1 refused, 1 failed",
        "20/20 studies, 13.5/min, 0 s left, 1 refused, 1 failed",
    ]


def test_a_batch_with_nothing_left_to_do_says_so() -> None:
    stream = io.StringIO()
    with shown(stream, Clock()) as progress:
        progress.begin(total=3, done=3)
    assert stream.getvalue() == "3 studies, 3 of them read before\n"
