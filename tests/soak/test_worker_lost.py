"""Two real workers on PostgreSQL, networks and all; one is killed for good. Run by `make soak`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.jobs.installation import FINAL, ROOT, children_of, installed, kill
from tests.integration.jobs.postgres import cluster, programs
from tests.integration.jobs.variants import variants
from tests.soak.test_many_kills import SERVE

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed"),
]

WORKER = [sys.executable, "-m", "service.cli", "worker"]
STUDIES = 8
TAKEN_OVER_S = 60.0


def test_the_other_worker_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with cluster() as url, installed(SERVE, tmp_path, ACUITY_DATABASE=url) as installation:
        installation.wait_until_there()
        with (tmp_path / "worker.log").open("wb") as log:
            worker = subprocess.Popen(
                WORKER, cwd=ROOT, env=installation.environment(), stdout=log, stderr=log
            )
        try:
            while b"reading studies" not in (tmp_path / "worker.log").read_bytes():
                assert worker.poll() is None
                time.sleep(0.2)
            sent = [installation.send(study) for study in variants(STUDIES)]
            while sum(job["state"] == "running" for job in installation.jobs()) < 2:
                assert any(job["state"] not in FINAL for job in installation.jobs())
                time.sleep(0.05)
            children = children_of(worker.pid)
            worker.kill()
            for pid in children:
                kill(pid)
            died = time.monotonic()
            while any(job["state"] not in FINAL for job in installation.jobs()):
                time.sleep(0.2)
            took = time.monotonic() - died
        finally:
            worker.kill()
            worker.wait()
        jobs = installation.jobs()
    with capsys.disabled():
        print(f"\n{len(jobs)} studies ended {took:.0f} s after a worker was lost")  # noqa: T201
    assert {job["job_id"] for job in jobs} == set(sent)
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert took < TAKEN_OVER_S
