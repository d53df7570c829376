"""Every error is a problem document with a stable code, and says nothing of a patient."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from service.api.hosts import is_loopback
from service.jobs.job import Outcome
from tests.stages_made import STUDY_UID
from tests.unit.api.conftest import Service, ServiceMaker

JOB = "0" * 32


def check(answer: Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["type"] == f"urn:vertebral-acuity:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    return problem


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nowhere", 404, "not_found"),
        ("/web/../app.py", 404, "not_found"),
        ("/web/secret", 404, "not_found"),
        (f"/v1/jobs/{JOB}", 404, "job_not_found"),
        (f"/v1/jobs/{JOB}/report", 404, "job_not_found"),
        (f"/v1/jobs/{JOB}/events", 404, "job_not_found"),
        ("/v1/jobs/not-an-id", 422, "validation_failed"),
        ("/v1/studies/1.2.3/report", 404, "study_not_found"),
        ("/v1/studies/..evil/report", 422, "validation_failed"),
        (f"/v1/studies/{'1' * 65}/report", 422, "validation_failed"),
        ("/v1/studies/1.2.3/levels/L1", 404, "study_not_found"),
        ("/v1/studies/1.2.3/levels/X9", 422, "validation_failed"),
        ("/v1/studies/1.2.3/key-images/1.png", 404, "study_not_found"),
        ("/v1/studies/1.2.3/key-images/0.png", 422, "validation_failed"),
        ("/v1/studies/1.2.3/segmentation", 404, "study_not_found"),
    ],
)
def test_get(service: Service, path: str, status: int, code: str) -> None:
    check(service.client.get(path), status, code)


def test_values_sent_are_not_repeated(service: Service) -> None:
    answer = service.client.get("/v1/studies/DOE^JOHN/report")
    assert "DOE" not in answer.text
    check(answer, 422, "validation_failed")


def test_parts_of_a_report_that_are_not_there(service: Service) -> None:
    service.send("a.dcm")
    check(service.client.get(f"/v1/studies/{STUDY_UID}/levels/C3"), 404, "level_not_found")
    image = service.client.get(f"/v1/studies/{STUDY_UID}/key-images/99.png")
    check(image, 404, "key_image_not_found")


def test_wrong_method(service: Service) -> None:
    answer = service.client.delete("/v1/studies")
    check(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["allow"] or "GET" in answer.headers["allow"]


def test_not_acceptable_names_what_is(service: Service) -> None:
    service.send("a.dcm")
    for path in (f"/v1/studies/{STUDY_UID}/report",):
        answer = service.client.get(path, headers={"accept": "image/png"})
        assert check(answer, 406, "not_acceptable")["supported"] == [
            "application/json",
            "text/html",
            "application/fhir+json",
            "application/dicom",
        ]


def test_nothing_is_taken_that_could_not_be_answered(service: Service) -> None:
    answer = service.client.post(
        "/v1/studies", files={"f": ("a", b"x")}, headers={"accept": "image/gif"}
    )
    check(answer, 406, "not_acceptable")
    assert service.client.get("/v1/studies").json() == {"studies": []}


@pytest.mark.parametrize(
    "media_type", ["application/json", "text/plain", "", "multipart/form-data"]
)
def test_wrong_media_type(service: Service, media_type: str) -> None:
    answer = service.client.post("/v1/studies", content=b"x", headers={"content-type": media_type})
    check(answer, 415, "unsupported_media_type")
    assert "application/zip" in answer.headers["accept"]


def test_too_large(make_service: ServiceMaker) -> None:
    service = make_service(max_upload_mb=1)
    body = b"0" * ((1 << 20) + 1)
    announced = service.client.post(
        "/v1/studies", content=body, headers={"content-type": "application/zip"}
    )
    check(announced, 413, "content_too_large")

    def chunks() -> Iterator[bytes]:
        yield b"0" * (1 << 20)
        yield b"0"

    streamed = service.client.post(
        "/v1/studies", content=chunks(), headers={"content-type": "application/zip"}
    )
    check(streamed, 413, "content_too_large")
    assert list((service.work_dir / "uploads").iterdir()) == []


def test_archive_that_unpacks_too_large(service: Service) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", b"\0" * (2 << 20))
    answer = service.client.post(
        "/v1/studies", content=buffer.getvalue(), headers={"content-type": "application/zip"}
    )
    check(answer, 413, "content_too_large")


@pytest.mark.parametrize("cut", [4, 40, 200])
def test_damaged_archive(service: Service, cut: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"0123456789" * 30)
    answer = service.client.post(
        "/v1/studies",
        content=buffer.getvalue()[:cut],
        headers={"content-type": "application/zip"},
    )
    check(answer, 422, "invalid_archive")


def test_no_file(service: Service) -> None:
    headers = {"content-type": "application/zip"}
    check(service.client.post("/v1/studies", content=b"", headers=headers), 422, "no_files")


@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\ncontent-disposition: form-data; name=f; filename=a\r\n\r\nhalf",
        b"no boundary at all",
        b'--b\r\ncontent-disposition: form-data; name="f"\r\n\r\nvalue\r\n--b--\r\n',
        b"--b\r\n\r\nvalue\r\n--b--\r\n",
    ],
)
def test_malformed_multipart(service: Service, body: bytes) -> None:
    answer = service.client.post(
        "/v1/studies", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    check(answer, 400, "malformed_multipart")
    assert list((service.work_dir / "uploads").iterdir()) == []


@pytest.mark.parametrize("wait", ["soon", "-1", "100000", "nan"])
def test_wait_out_of_range(service: Service, wait: str) -> None:
    answer = service.client.post(f"/v1/studies?wait={wait}", files={"f": ("a", b"x")})
    check(answer, 422, "validation_failed")


def test_full_queue(make_service: ServiceMaker) -> None:
    service = make_service(max_queued=1)
    service.runner.gate.clear()
    first = service.send("0.dcm", wait=None).json()["links"]["job"]
    while service.client.get(first).json()["state"] != "running":
        time.sleep(0.01)
    assert service.send("1.dcm", wait=None).status_code == 202
    last = service.send("2.dcm", wait=None)
    check(last, 503, "queue_full")
    assert int(last.headers["retry-after"]) > 0
    check(service.client.get("/readyz"), 503, "not_ready")


def test_job_without_report_yet(service: Service) -> None:
    service.runner.gate.clear()
    job = service.send("a.dcm", wait=None).json()
    check(service.client.get(f"{job['links']['job']}/report"), 409, "job_not_finished")


@pytest.mark.parametrize(
    ("code", "status"), [("bundle_missing", 503), ("timeout", 500), ("internal", 500)]
)
def test_failed_job_can_be_sent_again(service: Service, code: str, status: int) -> None:
    service.runner.fault = lambda: Outcome.failed(code, "it did not work")
    problem = check(service.send("a.dcm"), status, code)
    assert service.client.get(problem["links"]["job"]).json()["state"] == "failed"
    check(service.client.get(f"{problem['links']['job']}/report"), status, code)
    service.runner.fault = None
    assert service.send("a.dcm").status_code == 200


def test_unforeseen_error_keeps_its_message(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_upload: Path) -> NoReturn:
        raise KeyError("DOE^JOHN")

    monkeypatch.setattr(service.jobs, "submit", broken)
    answer = service.send("a.dcm")
    check(answer, 500, "internal")
    assert "DOE" not in answer.text
    assert list((service.work_dir / "uploads").iterdir()) == []


def test_full_disk(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_upload: Path) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(service.jobs, "submit", full)
    answer = service.send("a.dcm")
    check(answer, 503, "disk_full")
    assert int(answer.headers["retry-after"]) > 0
    assert list((service.work_dir / "uploads").iterdir()) == []


def test_not_ready_says_what_is_missing(service: Service) -> None:
    assert service.client.get("/readyz").status_code == 200
    service.runner.ready = False
    problem = check(service.client.get("/readyz"), 503, "not_ready")
    assert problem["checks"]["bundles"] is False
    assert service.client.get("/healthz").status_code == 200


class TestAccess:
    KEYS = ("first-key", "second-key")

    def test_every_data_route_needs_a_key(self, make_service: ServiceMaker) -> None:
        client = make_service(api_keys=self.KEYS).client
        for method, path in [
            ("POST", "/v1/studies"),
            ("GET", "/v1/studies"),
            ("GET", f"/v1/jobs/{JOB}"),
            ("GET", f"/v1/jobs/{JOB}/report"),
            ("GET", f"/v1/jobs/{JOB}/events"),
            ("GET", "/v1/studies/1.2/report"),
            ("GET", "/v1/studies/1.2/levels/L1"),
            ("GET", "/v1/studies/1.2/key-images/1.png"),
            ("GET", "/v1/models"),
            ("GET", "/metrics"),
            ("POST", "/v1/session"),
        ]:
            answer = client.request(method, path)
            check(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/web/page.js", "/openapi.json"])
    def test_open_without_a_key(self, make_service: ServiceMaker, path: str) -> None:
        assert make_service(api_keys=self.KEYS).client.get(path).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"authorization": "Bearer first-key"},
            {"authorization": "bearer second-key"},
            {"x-api-key": "second-key"},
        ],
    )
    def test_key(self, make_service: ServiceMaker, headers: dict[str, str]) -> None:
        client = make_service(api_keys=self.KEYS, client="192.0.2.7").client
        answer = client.get("/v1/studies", headers=headers | {"host": "reader.example"})
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"authorization": "Bearer wrong"},
            {"authorization": "Basic first-key"},
            {"x-api-key": ""},
            {"cookie": "acuity_session=made-up"},
        ],
    )
    def test_wrong_key(self, make_service: ServiceMaker, headers: dict[str, str]) -> None:
        client = make_service(api_keys=self.KEYS).client
        check(client.get("/v1/studies", headers=headers), 401, "unauthorized")

    def test_browser_session(self, make_service: ServiceMaker) -> None:
        client = make_service(api_keys=self.KEYS).client
        answer = client.post("/v1/session", headers={"x-api-key": "first-key"})
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "first-key" not in cookie
        assert client.get("/v1/studies").status_code == 200

    def test_without_keys_other_machines_are_turned_away(self, make_service: ServiceMaker) -> None:
        check(make_service(client="192.0.2.7").client.get("/"), 403, "host_not_allowed")

    def test_without_keys_other_names_are_turned_away(self, service: Service) -> None:
        answer = service.client.get("/v1/studies", headers={"host": "rebound.example"})
        check(answer, 403, "host_not_allowed")

    def test_other_sites_cannot_post(self, service: Service) -> None:
        answer = service.client.post(
            "/v1/studies",
            files={"f": ("a", b"x")},
            headers={"origin": "https://evil.example"},
        )
        check(answer, 403, "cross_origin")

    def test_our_own_page_can(self, service: Service) -> None:
        answer = service.client.post(
            "/v1/studies", files={"f": ("a", b"x")}, headers={"origin": "http://127.0.0.1"}
        )
        assert answer.status_code == 202


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "localhost.evil.example", ""])  # noqa: S104
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_every_answer_has_the_security_headers(service: Service) -> None:
    client: TestClient = service.client
    service.send("a.dcm")
    for path in ("/", "/healthz", "/nowhere", f"/v1/studies/{STUDY_UID}/report", "/metrics"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]


def test_openapi_describes_problems(service: Service) -> None:
    document = service.client.get("/openapi.json").json()
    paths = document["paths"]
    assert {"/v1/studies", "/v1/jobs/{job_id}", "/healthz", "/readyz", "/metrics"} <= set(paths)
    for operations in paths.values():
        for operation in operations.values():
            assert "application/problem+json" in operation["responses"]["default"]["content"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_metrics_count_and_name_no_study(service: Service) -> None:
    service.send("a.dcm")
    service.send("notes.txt")
    service.client.get(f"/v1/studies/{STUDY_UID}/report")
    service.client.get("/some/unknown/path")
    text = service.client.get("/metrics").text
    assert 'acuity_jobs{state="succeeded"} 1.0' in text
    assert 'acuity_jobs_ended_total{state="succeeded"} 1.0' in text
    assert 'acuity_jobs_without_result_total{code="no_usable_series"} 1.0' in text
    assert 'acuity_calls_total{call="present",question="edema"} 1.0' in text
    assert 'acuity_queue_age_seconds{state="queued"} 0.0' in text
    assert 'acuity_http_refusals_total{code="not_found"} 1.0' in text
    assert 'route="/v1/studies/{study_uid}/report",status="200"' in text
    assert 'route="unmatched",status="404"' in text
    assert 'acuity_stage_seconds_count{stage="localise"} 1.0' in text
    assert STUDY_UID not in text
    assert "unknown" not in text


def test_logs_name_no_study(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    service.send("patient-name.dcm")
    captured = capfd.readouterr()
    said = captured.out + captured.err
    assert "study_finished" in said
    assert STUDY_UID not in said
    assert "patient-name" not in said
