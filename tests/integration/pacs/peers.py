"""Real peers of Debian on loopback: Orthanc, dcmtk. A missing one fails where CI is set."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

PLUGINS = Path("/usr/share/orthanc/plugins")
ENVIRONMENT = os.environ | {"TCP_NODELAY": "1"}
"""Without it dcmtk waits 40 ms for every instance (Nagle's algorithm and delayed answers)."""


def tool(name: str) -> str:
    """Path of a program, or a loud skip; in CI its absence is a failure."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed: run `make tools`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def run(name: str, *arguments: str | Path | int, check: bool = True) -> str:
    """Run a program to its end and return what it says."""
    done = subprocess.run(
        [tool(name), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=ENVIRONMENT,
    )
    said = done.stdout + done.stderr
    assert not check or done.returncode == 0, said
    return said


def send(folder: Path, port: int, called: str, *options: str) -> None:
    """Send a folder by storescu, as scanners do."""
    run("storescu", "-aet", "MR1", "-aec", called, *options, "+sd", "+r", "127.0.0.1", port, folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: Callable[[], object], seconds: float = 90) -> Any:  # noqa: ANN401
    """Wait until it is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


@dataclass
class Orthanc:
    """A running Orthanc."""

    http: str
    dicom_port: int
    pid: int
    folder: Path

    @property
    def dicom_web(self) -> str:
        return f"{self.http}/dicom-web"

    def get(self, path: str, **query: object) -> Any:  # noqa: ANN401
        answer = requests.get(f"{self.http}{path}", params=query, timeout=20)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401
        answer = requests.post(f"{self.http}{path}", json=body, timeout=20)
        answer.raise_for_status()
        return answer.json()

    def content(self) -> list[bytes]:
        """Every instance's file."""
        return [
            requests.get(f"{self.http}/instances/{each}/file", timeout=20).content
            for each in self.get("/instances")
        ]

    def store(self, content: bytes) -> str:
        answer = requests.post(f"{self.http}/instances", data=content, timeout=20)
        answer.raise_for_status()
        return str(answer.json()["ID"])

    def modalities(self) -> list[str]:
        """Modality of every instance, sorted."""
        found = [self.get(f"/instances/{each}/simplified-tags") for each in self.get("/instances")]
        return sorted(tags["Modality"] for tags in found)


@contextmanager
def orthanc(
    folder: Path,
    plugins: tuple[str, ...] = ("DicomWeb", "Gdcm"),
    port: int | None = None,
    environment: Mapping[str, str] | None = None,
    **settings: object,
) -> Iterator[Orthanc]:
    """Run Orthanc with its storage in a folder, until the block ends."""
    program = tool("Orthanc")
    http, dicom = port or free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    configuration: Mapping[str, object] = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "Plugins": [str(PLUGINS / f"libOrthanc{name}.so") for name in plugins],
        "HttpPort": http,
        "DicomAet": "ORTHANC",
        "DicomPort": dicom,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "StableAge": 1,
        "HttpTimeout": 5,
        "OverwriteInstances": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **settings,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [program, path],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT | (environment or {}),
        )
        try:
            running = Orthanc(f"http://127.0.0.1:{http}", dicom, process.pid, folder)
            until(lambda: process.poll() is not None or _answers(running))
            assert process.poll() is None, (folder / "log").read_text()
            yield running
        finally:
            # A polite end takes it five seconds; its storage is of no more use to anyone.
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=20)


def _answers(peer: Orthanc) -> bool:
    try:
        return bool(peer.get("/system"))
    except requests.RequestException:
        return False
