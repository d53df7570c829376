"""The audit trail: on the disk before an answer begins, ended with the application."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from service.api.app import create_app
from service.api.auditing import Auditing
from service.audit import Deed, Event, Trail
from service.settings import Settings
from tests.jobs_made import jobs_in
from tests.unit.api.conftest import LOOPBACK, StandInRunner


def serving(tmp_path: Path, trail: Trail) -> TestClient:
    app = create_app(Settings(), jobs_in(tmp_path / "work", StandInRunner()), trail=trail)
    return TestClient(app, base_url=LOOPBACK, client=("127.0.0.1", 5000))


def test_a_record_is_on_the_disk_before_the_answer_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    settle = Trail.settle

    def noting_settle(trail: Trail, count: int) -> None:
        settle(trail, count)
        done.append("on disk")

    async def noting_app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = SimpleNamespace(path="/v1/studies")
        await PlainTextResponse("studies")(scope, receive, send)

    async def noting_send(message: Message) -> None:
        done.append(str(message["type"]))

    async def receive() -> Message:
        return {"type": "http.request"}

    trail = Trail(tmp_path, b"secret")
    monkeypatch.setattr(Trail, "settle", noting_settle)
    scope = {"type": "http", "method": "GET", "path": "/v1/studies", "headers": []}
    anyio.run(Auditing(noting_app, trail), scope, receive, noting_send)
    assert done == ["on disk", "http.response.start", "http.response.body"]


def test_threads_that_wait_share_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = Trail(tmp_path, b"secret")
    flushes: list[int] = []
    reached, go_on = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        flushes.append(descriptor)
        reached.set()
        assert go_on.wait(10)

    monkeypatch.setattr(os, "fdatasync", slow)
    first = threading.Thread(target=trail.settle, args=(_noted(trail),))
    first.start()
    assert reached.wait(10)
    others = [threading.Thread(target=trail.settle, args=(_noted(trail),)) for _ in range(8)]
    for each in others:
        each.start()
    go_on.set()
    for each in (first, *others):
        each.join(10)
    assert len(flushes) == 2
    monkeypatch.undo()
    trail.close()
    trail.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        _noted(trail)


def _noted(trail: Trail) -> int:
    return trail.note(Deed(Event.ACCESSED, "key:x", "10.0.0.1"))


def test_a_trail_that_cannot_be_written_keeps_nobody_from_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_trail: Trail, _deed: Deed) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    trail = Trail(tmp_path / "audit", b"secret")
    with serving(tmp_path, trail) as client, capture_logs() as said:
        monkeypatch.setattr(Trail, "note", full)
        assert client.get("/v1/studies").status_code == 200
    assert {"event": "audit_not_written", "error": "OSError", "log_level": "critical"} in said


def test_the_trail_ends_with_the_application(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "audit", b"secret")
    with serving(tmp_path, trail) as client:
        assert client.get("/healthz").status_code == 200
        _noted(trail)
    with pytest.raises(OSError, match="Bad file descriptor"):
        _noted(trail)
