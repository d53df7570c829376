"""Associations that wait for what happens; pynetdicom's own look for it a thousand times a second.

Each of its two threads sleeps for a millisecond between two looks. That is a millisecond or two for
every instance, more on a busy machine, and a third of a core for ten connections that are open and
silent. Here the one waits for the peer or for something to send, the other for a message; both
still look from time to time for what nobody tells them of, such as a timeout.
"""

from __future__ import annotations

import queue
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider

LOOKS_S: Final = 0.05
"""Time after which a thread looks whether it is to end, or whether a timeout has passed."""

_READY: Final = select.POLLIN | select.POLLHUP | select.POLLERR


class _WaitingProvider(DULServiceProvider):  # type: ignore[misc]  # pynetdicom is untyped here
    """The thread between the connection and the association.

    Args:
        association: pynetdicom's, whose provider this is.
    """

    def __init__(self, association: Association) -> None:
        self._bell, self._rung = socket.socketpair()
        self._bell.settimeout(0)
        self._rung.settimeout(0)
        super().__init__(association)
        self.to_provider_queue = _Told(self._ring)

    def run_reactor(self) -> None:
        """Run as the library does, and leave nothing open."""
        try:
            super().run_reactor()
        finally:
            self._bell.close()
            self._rung.close()

    @property
    def _run_loop_delay(self) -> float:
        """For how long the library is to sleep; the thread itself has waited here instead."""
        if threading.current_thread() is not self:
            return 0.001
        self._wait()
        return 0.0

    @_run_loop_delay.setter
    def _run_loop_delay(self, _seconds: float) -> None:
        """Leave the library's own period aside."""

    @property
    def _kill_thread(self) -> bool:
        """Whether the library has asked the thread to end."""
        return self._to_end

    @_kill_thread.setter
    def _kill_thread(self, wanted: bool) -> None:
        self._to_end = wanted
        self._ring()

    def _ring(self) -> None:
        with suppress(OSError):  # it is ringing already, or the thread has ended
            self._bell.send(b"\0")

    def _wait(self) -> None:
        connection = getattr(self.socket, "socket", None)
        waited = select.poll()
        waited.register(self._rung, _READY)
        try:
            if connection is not None:
                waited.register(connection, _READY)
        except ValueError:  # closed just now: nothing more will come of it
            time.sleep(0.001)
            return
        waited.poll(LOOKS_S * 1000)
        with suppress(OSError):
            self._rung.recv(4096)


def provider_of(association: Association) -> DULServiceProvider:
    """A provider for an association: one that waits where we are asked, the library's elsewhere."""
    waits = association.is_acceptor
    return _WaitingProvider(association) if waits else DULServiceProvider(association)


class _Told(queue.Queue[Any]):
    """A queue that tells of what is put into it."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ANN401  as in the library's base
        """Put an item and tell."""
        super().put(item, block, timeout)
        self._tell()


class _Checkpoint(threading.Event):
    """Where an association may be held; it also waits there until there is something to do."""

    def __init__(self, stirred: threading.Event, idle: Callable[[], bool]) -> None:
        super().__init__()
        self._stirred = stirred
        self._idle = idle
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until something came, and until the association may go on."""
        self._stirred.clear()
        # Asked after the flag is down: what comes between the two raises it again.
        if self._idle():
            self._stirred.wait(LOOKS_S)
        return super().wait(timeout)


def let_wait(association: Association) -> None:
    """Have the thread of an association that is not yet started wait for messages."""
    stirred = threading.Event()
    messages, primitives = _Told(stirred.set), _Told(stirred.set)
    association.dimse.msg_queue = messages
    association.dul.to_user_queue = primitives
    association._reactor_checkpoint = _Checkpoint(
        stirred, lambda: messages.empty() and primitives.empty()
    )
