"""The service as a program of its own: started, sent a study, asked, stopped."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from pydicom import dcmread

from models.registry import bundle_folders

pytestmark = pytest.mark.skipif(
    not bundle_folders(), reason="no model bundle is committed: the service cannot read a study"
)

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


@dataclass
class Running:
    client: httpx2.Client
    process: subprocess.Popen[str]
    work_dir: Path
    ready_s: float


def zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    work_dir = tmp_path_factory.mktemp("work")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ACUITY_")}
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment | {"ACUITY_WORK_DIR": str(work_dir)},
    )
    assert process.stdout is not None
    try:
        with httpx2.Client(base_url=process.stdout.readline().strip(), timeout=180) as client:
            while client.get("/readyz").status_code != 200:
                assert time.monotonic() - start < 120
                assert process.poll() is None
                time.sleep(0.05)
            yield Running(client, process, work_dir, time.monotonic() - start)
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0
        process.stdout.close()


@pytest.fixture(scope="module")
def archive() -> bytes:
    return zipped(next(path for path in sorted(SAMPLES.iterdir()) if path.is_dir()))


def test_zip_to_report_as_json_and_html(running: Running, archive: bytes) -> None:
    answer = running.client.post(
        "/v1/studies?wait=150", content=archive, headers={"content-type": "application/zip"}
    )
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert report["levels"]
    uid = report["study"]["study_instance_uid"]
    page = running.client.get(f"/v1/studies/{uid}/report", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert "<html" in page.text
    assert running.client.get(f"/v1/studies/{uid}/report").json() == report
    image = running.client.get(f"/v1/studies/{uid}/key-images/1.png")
    assert image.content.startswith(b"\x89PNG")


def test_health_answers_while_the_networks_run(running: Running, archive: bytes) -> None:
    # One file less is another study, so that there is work to do.
    with zipfile.ZipFile(io.BytesIO(archive)) as whole:
        names = [name for name in whole.namelist() if name.endswith(".dcm")]
        files = [("files", (name, whole.read(name))) for name in names[:-1]]
    job = running.client.post("/v1/studies", files=files).json()
    slowest, asked = 0.0, 0
    while True:
        start = time.perf_counter()
        assert running.client.get("/healthz").status_code == 200
        slowest, asked = max(slowest, time.perf_counter() - start), asked + 1
        document = running.client.get(job["links"]["job"]).json()
        if document["state"] not in {"queued", "running"}:
            break
    assert document["state"] == "succeeded", document
    assert asked > 1
    assert slowest < 2.0, f"/healthz took {slowest:.2f} s while a study was read"


def test_two_senders_of_one_study_get_one_job(running: Running, archive: bytes) -> None:
    jobs: list[str] = []

    def send() -> None:
        answer = running.client.post(
            "/v1/studies", content=archive, headers={"content-type": "application/zip"}
        )
        jobs.append(answer.json()["job_id"])

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(jobs)) == 1


def test_a_killed_worker_costs_one_study_and_not_the_service(
    running: Running, archive: bytes
) -> None:
    pid = running.process.pid
    children = [
        child
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    assert len(children) == 1
    os.kill(int(children[0]), signal.SIGKILL)
    with zipfile.ZipFile(io.BytesIO(archive)) as whole:
        names = [name for name in whole.namelist() if name.endswith(".dcm")]
        files = [("files", (name, whole.read(name))) for name in names[:-2]]
    answer = running.client.post("/v1/studies?wait=150", files=files)
    if answer.status_code != 200:
        assert answer.json()["code"] == "worker_died"
        answer = running.client.post("/v1/studies?wait=150", files=files)
    assert answer.status_code == 200, answer.text


def test_nothing_of_the_patient_is_written_beside_the_results(
    running: Running, archive: bytes
) -> None:
    with zipfile.ZipFile(io.BytesIO(archive)) as whole:
        dataset = dcmread(io.BytesIO(whole.read(whole.namelist()[0])), stop_before_pixels=True)
    identity = [str(dataset.PatientName).encode(), str(dataset.PatientID).encode()]
    assert all(identity)
    work = running.work_dir
    assert list((work / "uploads").iterdir()) == []
    others = [
        path
        for path in work.rglob("*")
        if path.is_file() and path.relative_to(work).parts[0] not in ("studies", "kept")
    ]
    assert others
    for path in others:
        content = path.read_bytes()
        assert not any(value in content for value in identity), path.name
    states = {study["state"] for study in running.client.get("/v1/studies").json()["studies"]}
    assert states <= {"succeeded"}
