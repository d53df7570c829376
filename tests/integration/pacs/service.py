"""The service as an administrator starts it: `acuity serve` or `acuity listen`, by environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.integration.pacs.peers import until

START_S = 180
READ_S = 300
"""Longest wait for a report; reading takes seconds where the machine is free."""


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Settings as environment variables; what was set outside does not count."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ACUITY_")}
    given = {
        f"ACUITY_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in settings.items()
    }
    return outside | given


@contextmanager
def started(command: str, log: Path, **settings: object) -> Iterator[str]:
    """Run a command of `acuity` until the block ends; gives the first line that it prints."""
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", command],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(settings),
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            assert line, log.read_text()
            yield line
        finally:
            process.terminate()
            process.wait(timeout=120)
            process.stdout.close()


@dataclass
class Service:
    """A running service."""

    url: str

    def get(self, path: str) -> Any:  # noqa: ANN401
        answer = requests.get(f"{self.url}{path}", timeout=20)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: object) -> requests.Response:
        return requests.post(f"{self.url}{path}", json=body, timeout=READ_S)

    def jobs(self) -> list[dict[str, Any]]:
        """Every job, newest first."""
        return list(self.get("/v1/studies")["studies"])

    def finished(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many jobs are there and over; they must have gone well."""

        def over() -> list[dict[str, Any]]:
            jobs = self.jobs()
            done = [job for job in jobs if job["state"] in {"succeeded", "refused", "failed"}]
            return jobs if len(done) == len(jobs) == count else []

        jobs = until(over, READ_S)
        assert {job["state"] for job in jobs} == {"succeeded"}, jobs
        return jobs


@contextmanager
def serve(folder: Path, port: int = 0, **settings: object) -> Iterator[Service]:
    """Run `acuity serve` with its work folder in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with started(
        "serve", folder / "log", work_dir=str(folder / "work"), port=port, **settings
    ) as url:
        running = Service(url)
        until(lambda: _ready(running), START_S)
        yield running


def _ready(running: Service) -> bool:
    try:
        return requests.get(f"{running.url}/readyz", timeout=5).ok
    except requests.RequestException:
        return False
