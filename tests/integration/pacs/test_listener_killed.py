"""A listener that ends while it receives: what it acknowledged is there, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from service.ingest.safety import Limits
from service.pacs.receiving import ReceiveFolder
from tests import builders
from tests.integration.pacs.peers import ENVIRONMENT, send, tool, until
from tests.unit.pacs.raw_peer import COMMAND, LAST, fragment, raw, store_request

INSTANCES = 200
KILLED_AFTER = 20

Process = subprocess.Popen[str]


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[Process, int]]:
    """A listener in a process of its own, and its port."""
    command = [sys.executable, "-m", "tests.integration.pacs.listening", str(tmp_path / "received")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


def study(folder: Path, count: int) -> dict[str, bytes]:
    """Write a study of small instances; the pixels of each by SOP Instance UID."""
    folder.mkdir()
    stack = builders.classic_stack(builders.ramp(count, 12, 10))
    for number, instance in enumerate(stack):
        (folder / str(number)).write_bytes(builders.to_bytes(instance))
    return {instance.SOPInstanceUID: instance.PixelData for instance in stack}


def stored(tmp_path: Path) -> dict[str, bytes]:
    found = [dcmread(path) for path in tmp_path.glob("received/studies/*/*")]
    return {each.SOPInstanceUID: each.PixelData for each in found}


def test_what_was_acknowledged_is_there_after_kill_9(
    listening: tuple[Process, int], tmp_path: Path
) -> None:
    process, port = listening
    sent = study(tmp_path / "study", INSTANCES)
    command = [tool("storescu"), "-v", "-aec", "ACUITY", "+sd", "127.0.0.1", str(port)]
    with (
        raw(port) as other,
        subprocess.Popen(
            [*command, str(tmp_path / "study")],
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as sender,
    ):  # fmt: skip
        other.sendall(fragment(COMMAND | LAST, store_request(b"1.2")) + fragment(0, b"x" * 1000))
        until(lambda: len(list(tmp_path.glob("received/studies/*/*"))) >= KILLED_AFTER)
        process.kill()
        said, _ = sender.communicate(timeout=60)
    acknowledged = said.count("Received Store Response (Success)")
    there = stored(tmp_path)
    assert 0 < acknowledged < INSTANCES
    # One may have been on the disk before its answer was sent.
    assert acknowledged <= len(there) <= acknowledged + 1
    assert there.items() <= sent.items()
    folder = ReceiveFolder(tmp_path / "received", Limits())
    assert folder.clear_parts(older_than_s=0) >= 1
    assert list(folder.parts.iterdir()) == []


def test_a_listener_that_is_told_to_stop_leaves_nothing_under_way(
    listening: tuple[Process, int], tmp_path: Path
) -> None:
    process, port = listening
    sent = study(tmp_path / "study", 3)
    send(tmp_path / "study", port, "ACUITY")
    with raw(port) as idle, raw(port) as busy:
        busy.sendall(fragment(COMMAND | LAST, store_request(b"1.2")) + fragment(0, b"x" * 1000))
        until(lambda: list(tmp_path.glob("received/parts/*")))
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=20) == 0
        assert idle.recv(100) == busy.recv(100) == b""
    assert list(tmp_path.glob("received/parts/*")) == []
    assert stored(tmp_path) == sent
