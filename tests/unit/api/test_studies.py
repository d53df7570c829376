"""Studies in, reports out."""

from __future__ import annotations

import io
import json
import time
import zipfile
from typing import Any

import pytest
from httpx2 import Response

from tests.stages_made import STUDY_UID
from tests.unit.api.conftest import Service, ServiceMaker


def zip_of(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def post_zip(service: Service, content: bytes, query: str = "?wait=20") -> Response:
    return service.client.post(
        f"/v1/studies{query}", content=content, headers={"content-type": "application/zip"}
    )


def until_final(service: Service, job: str) -> dict[str, Any]:
    for _ in range(400):
        document = service.client.get(job).json()
        if document["state"] in {"succeeded", "refused", "failed"}:
            return document
        time.sleep(0.02)
    raise AssertionError("the job did not end")


def test_waiting_gives_the_report(service: Service) -> None:
    answer = service.send("a.dcm", "b.dcm")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    report = answer.json()
    assert report["schema_version"] == "1.0"
    assert [level["level"] for level in report["levels"]] == ["T12", "L1"]


def test_without_waiting_the_job_is_named(service: Service) -> None:
    answer = service.send("a.dcm", wait=None)
    assert answer.status_code == 202
    body = answer.json()
    assert set(body) == {"job_id", "state", "links"}
    assert answer.headers["location"] == body["links"]["job"]
    job = until_final(service, body["links"]["job"])
    assert job["state"] == "succeeded"
    assert job["study_instance_uid"] == STUDY_UID
    assert job["summary"]["unhealed"] == ["L1"]
    assert service.client.get(job["links"]["report"]).json()["study"]["study_instance_uid"]


def test_waiting_too_briefly_gives_the_job(service: Service) -> None:
    service.runner.gate.clear()
    answer = service.send("a.dcm", wait=0.1)
    assert answer.status_code == 202
    assert answer.json()["state"] in {"queued", "running"}


def test_who_waits_is_answered_when_the_study_was_read_and_not_at_the_next_look(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.studies.LOOK_S", (60.0, 60.0))
    start = time.monotonic()
    assert service.send("a.dcm", wait=20).status_code == 200
    assert time.monotonic() - start < 15


def test_zip_and_its_files_are_one_job(service: Service) -> None:
    first = service.send("a.dcm", "b.dcm", wait=None).json()
    packed = zip_of(**{"x/2": b"contentb.dcm", "x/1": b"contenta.dcm", "again": b"contenta.dcm"})
    second = post_zip(service, packed, query="").json()
    assert first["job_id"] == second["job_id"]
    until_final(service, first["links"]["job"])
    assert post_zip(service, packed).status_code == 200
    assert service.runner.runs == 1


def test_other_content_is_another_job(service: Service) -> None:
    first = service.send("a.dcm", wait=None).json()
    second = service.send("a.dcm", wait=None, content=b"other").json()
    assert first["job_id"] != second["job_id"]


def test_a_zip_sent_as_the_only_part_is_unpacked(service: Service) -> None:
    packed = zip_of(**{"a.dcm": b"contenta.dcm"})
    plain = service.send("a.dcm", wait=None).json()
    wrapped = service.client.post("/v1/studies", files={"file": ("s.zip", packed)}).json()
    assert wrapped["job_id"] == plain["job_id"]


def test_unusable_study_is_refused_with_a_report(service: Service) -> None:
    answer = service.send("notes.txt")
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "no_usable_series"
    assert problem["detail"] == "No MR series was found."
    job = service.client.get(problem["links"]["job"]).json()
    assert job["state"] == "refused"
    report = service.client.get(problem["links"]["report"]).json()
    assert report["levels"] == []
    assert report["files"]["refused"][0]["code"] == "not_dicom"
    assert report["files"]["refused"][0]["file"].endswith("notes.txt")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/json", "application/json"),
        ("text/html", "text/html; charset=utf-8"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("*/*", "application/json"),
        ("text/*", "text/html; charset=utf-8"),
        ("application/json;q=0.1, text/html;q=0.2", "text/html; charset=utf-8"),
        ("text/html;q=0, */*", "application/json"),
    ],
)
def test_report_by_accept(service: Service, accept: str, media_type: str) -> None:
    service.send("a.dcm")
    answer = service.client.get(f"/v1/studies/{STUDY_UID}/report", headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert answer.headers["vary"] == "Accept"


def test_html_report_may_run_no_script(service: Service) -> None:
    service.send("a.dcm")
    answer = service.client.get(f"/v1/studies/{STUDY_UID}/report", headers={"accept": "text/html"})
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "sandbox" in policy
    assert "L1" in answer.text


def test_level_and_key_image(service: Service) -> None:
    service.send("a.dcm")
    level = service.client.get(f"/v1/studies/{STUDY_UID}/levels/L1")
    assert level.json()["acuity"]["call"] == "unhealed"
    image = service.client.get(f"/v1/studies/{STUDY_UID}/key-images/1.png")
    assert image.headers["content-type"] == "image/png"
    assert image.content.startswith(b"\x89PNG")


def test_list_shows_newest_first_and_survives_a_restart(make_service: ServiceMaker) -> None:
    service = make_service()
    service.send("a.dcm")
    service.send("notes.txt")
    before = service.client.get("/v1/studies").json()
    assert [study["state"] for study in before["studies"]] == ["refused", "succeeded"]
    service.client.__exit__(None, None, None)

    again = make_service()
    assert again.client.get("/v1/studies").json() == before
    assert again.client.get(f"/v1/studies/{STUDY_UID}/report").status_code == 200
    assert again.send("a.dcm").status_code == 200
    assert again.runner.runs == 0


def test_uploads_do_not_stay(service: Service) -> None:
    service.send("a.dcm")
    service.send("notes.txt")
    service.send("a.dcm")
    for _ in range(100):
        if not list((service.work_dir / "uploads").iterdir()):
            break
        time.sleep(0.02)
    assert list((service.work_dir / "uploads").iterdir()) == []
    folders = {path.name for path in (service.work_dir / "studies").iterdir()}
    assert not any(name.startswith(".") for name in folders)


def test_events_end_with_the_final_state(service: Service) -> None:
    job = service.send("a.dcm", wait=None).json()
    with service.client.stream("GET", job["links"]["events"]) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in stream.iter_lines() if line.startswith("data: ")]
    states = [json.loads(line.removeprefix("data: "))["state"] for line in lines]
    assert states[-1] == "succeeded"


def test_health_answers_while_a_study_is_read(service: Service) -> None:
    service.runner.gate.clear()
    job = service.send("a.dcm", wait=None).json()
    slowest = 0.0
    for _ in range(50):
        start = time.perf_counter()
        assert service.client.get("/healthz").json() == {"status": "ok"}
        slowest = max(slowest, time.perf_counter() - start)
    assert service.client.get(job["links"]["job"]).json()["state"] == "running"
    assert service.client.get(job["links"]["job"]).json()["stage"] == "ingest"
    assert slowest < 5.0  # milliseconds, but for what else a machine does
    service.runner.gate.set()
    assert until_final(service, job["links"]["job"])["state"] == "succeeded"


def test_names_from_outside_never_become_paths(service: Service) -> None:
    service.runner.gate.clear()
    service.send("../../../evil.dcm", "..\\..\\evil.dcm", "\u202enul", wait=None)
    written = [path for path in service.work_dir.rglob("*") if path.is_file()]
    uploaded = {path.name for path in written if path.parent.parent.name == "uploads"}
    assert len(uploaded) == 3
    assert all(name[:5].isdigit() and name[5] == "-" for name in uploaded)
    assert not (service.work_dir.parent / "evil.dcm").exists()
