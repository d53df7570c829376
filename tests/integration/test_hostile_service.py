"""Files that are meant to hurt, sent to a running service that goes on to serve others."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from models.registry import bundle_folders
from tests.integration.jobs.installation import Installation, children_of, installed
from tests.integration.jobs.variants import variants
from tests.integration.test_hostile_input import CASES

pytestmark = pytest.mark.skipif(
    not bundle_folders(), reason="no model bundle is committed: the service cannot read a study"
)

SERVE = [sys.executable, "-m", "service.cli", "serve"]
API_GROWTH_MIB = 250
"""No file is ever whole in the memory of the process that all clients share."""
WORKER_GROWTH_MIB = 1500
ANSWER_S = 300.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    work_dir = tmp_path_factory.mktemp("work")
    with installed(SERVE, work_dir, ACUITY_LIMITS__FILE_BYTES=str(64 << 20)) as installation:
        installation.wait_until_there()
        good = next(iter(variants(1)))
        assert installation.send(good)
        while any(job["state"] in {"queued", "running"} for job in installation.jobs()):
            time.sleep(0.2)
        assert [job["state"] for job in installation.jobs()] == ["succeeded"]
        yield installation


def peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


def ended(service: Installation, job: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + ANSWER_S
    while True:
        found: dict[str, Any] = httpx2.get(f"{service.url}{job['links']['job']}", timeout=60).json()
        if found["state"] not in {"queued", "running"}:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("name", CASES)
def test_each_is_refused_while_others_are_served(service: Installation, name: str) -> None:
    assert service.process is not None
    api = service.process.pid
    [worker] = children_of(api)
    before = peak_mib(api), peak_mib(worker)
    stop, answered = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            answered.append(httpx2.get(f"{service.url}/healthz", timeout=60).status_code)
            time.sleep(0.1)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        build, expected = CASES[name]
        files = [("files", ("sent", build()))]
        answer = httpx2.post(f"{service.url}/v1/studies", files=files, timeout=60)
        assert answer.status_code == 202, answer.text
        job = ended(service, answer.json())
    finally:
        stop.set()
        asking.join(timeout=120)
    assert job["state"] == "refused", job
    report = httpx2.get(f"{service.url}{job['links']['report']}", timeout=60).json()
    text = json.dumps(report)
    # An image that would be found out by decoding is alone here, and refused before for that.
    assert any(f'"{code}"' in text for code in expected | {"single_slice"}), text
    assert answered
    assert set(answered) == {200}
    assert children_of(api) == [worker], "the file ended the inference worker"
    assert peak_mib(api) - before[0] < API_GROWTH_MIB
    assert peak_mib(worker) - before[1] < WORKER_GROWTH_MIB


def test_a_damaged_archive_is_refused_at_once(service: Installation) -> None:
    body = b"PK\x03\x04" + random.Random(5).randbytes(500)  # noqa: S311 - not a secret
    answer = httpx2.post(
        f"{service.url}/v1/studies",
        content=body,
        headers={"content-type": "application/zip"},
        timeout=60,
    )
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_archive"


def test_a_good_study_is_still_read(service: Installation) -> None:
    *_, good = variants(2)
    job_id = service.send(good)
    assert ended(service, {"links": {"job": f"/v1/jobs/{job_id}"}})["state"] == "succeeded"
    assert list((service.work_dir / "uploads").iterdir()) == []
