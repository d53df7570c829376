"""Two workers on a real PostgreSQL; one is killed for good, the other ends what it had begun."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.jobs.installation import (
    FINAL,
    ROOT,
    Study,
    children_of,
    installed,
    kill,
    stand_in,
)
from tests.integration.jobs.postgres import cluster, programs

TAKEN_OVER_S = 60.0


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    if programs() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("PostgreSQL is not installed")
    with cluster() as url:
        yield url


def study(number: int) -> Study:
    return {"study.dat": f"1.2.840.{number}\nof {number}".encode()}


def test_what_a_dead_worker_had_begun_is_ended_by_the_other(database: str, tmp_path: Path) -> None:
    with installed(stand_in("serve", 2.0), tmp_path, ACUITY_DATABASE=database) as installation:
        installation.wait_until_there()
        with (tmp_path / "worker.log").open("wb") as log:
            worker = subprocess.Popen(
                stand_in("work", 600.0),  # never done by itself
                cwd=ROOT,
                env=installation.environment(),
                stdout=log,
                stderr=log,
            )
        try:
            # Each worker takes one at a time; the slow one keeps the one that it gets.
            sent: list[str | None] = []
            deadline = time.monotonic() + 300
            while not _held_by_slow(installation.jobs(), sent):
                assert time.monotonic() < deadline
                sent.append(installation.send(study(len(sent) + 1)))
                time.sleep(4.0)
            children = children_of(worker.pid)
            worker.kill()
            for pid in children:
                kill(pid)
            died = time.monotonic()
            while any(job["state"] not in FINAL for job in installation.jobs()):
                assert time.monotonic() - died < TAKEN_OVER_S
                time.sleep(0.2)
        finally:
            worker.kill()
            worker.wait()
        jobs = installation.jobs()
    assert all(sent)
    assert {job["job_id"] for job in jobs} == set(sent)
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert len({job["study_instance_uid"] for job in jobs}) == len(sent)


def _held_by_slow(jobs: list[dict[str, object]], sent: list[str | None]) -> bool:
    """Whether a job runs that later ones have overtaken."""
    states = {job["job_id"]: job["state"] for job in jobs}
    first_running = next((n for n, job in enumerate(sent) if states.get(job) == "running"), None)
    return first_running is not None and any(
        states.get(job) == "succeeded" for job in sent[first_running + 1 :]
    )
