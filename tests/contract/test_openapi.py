"""The OpenAPI document, and what the service makes of requests that it allows and forbids.

schemathesis invents them. The short form runs with every test, the long one by `make soak`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from service.api.app import create_app
from service.pacs.gateway import Gateway
from service.settings import Settings
from tests.integration.jobs.installation import free_port
from tests.jobs_made import jobs_in
from tests.stages_made import STUDY_UID
from tests.unit.api.conftest import StandInRunner

KEY = "a-long-random-key"
HEADERS = {"authorization": f"Bearer {KEY}"}
SHORT, LONG = 3, 30
"""Requests per operation and kind, valid and not; there are more than 20 operations."""


PROBLEM = "application/problem+json"
RELATED = 'multipart/related; type="application/dicom"'


@schemathesis.serializer(RELATED)
def related(_context: object, value: Any) -> bytes:  # noqa: ANN401  whatever was invented
    """Parts as PS3.18 has them; schemathesis knows form-data only."""
    instances = value.get("instances", []) if isinstance(value, dict) else [value]
    instances = instances if isinstance(instances, list) else [instances]
    parts = [one if isinstance(one, bytes) else repr(one).encode() for one in instances]
    head = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + part + b"\r\n" for part in parts) + b"--b--\r\n"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service on loopback that knows one study, with the routes of the network, no networks."""
    work_dir: Path = tmp_path_factory.mktemp("openapi")
    runner = StandInRunner()
    runner.gate.set()
    jobs = jobs_in(work_dir, runner, max_queued=1_000_000)
    configured = Settings(api_keys=(KEY,), work_dir=work_dir, max_wait_s=0.2)  # type: ignore[arg-type]
    network = work_dir / "network"
    network.mkdir()
    app = create_app(configured, jobs, Gateway(configured, network, jobs))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(timeout=30)


@pytest.fixture(scope="module")
def document(url: str) -> dict[str, Any]:
    import httpx2

    found: dict[str, Any] = httpx2.get(f"{url}/openapi.json", timeout=120).json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_operation_is_described_with_its_errors(document: dict[str, Any]) -> None:
    assert len(list(operations(document))) >= 20
    for where, operation in operations(document):
        assert operation.get("summary"), where
        assert operation.get("description"), where
        assert operation.get("tags"), where
        assert any(status.startswith("2") for status in operation["responses"]), where
        assert "default" in operation["responses"], where


def test_every_json_body_has_an_example(document: dict[str, Any]) -> None:
    for where, operation in operations(document):
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            if media_type == "application/json":
                assert _has_example(content, document), where


def test_what_needs_a_key_says_so(document: dict[str, Any]) -> None:
    open_to_all = {
        where for where, operation in operations(document) if not operation.get("security")
    }
    assert open_to_all == {"GET /healthz", "GET /readyz"}


def _has_example(content: dict[str, Any], document: dict[str, Any]) -> bool:
    schema = content.get("schema", {})
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return bool({"example", "examples"} & (set(content) | set(schema)))


def invent(url: str, document: dict[str, Any], each: int) -> Counter[int]:
    """Send requests of every operation, as described and otherwise.

    Returns:
        How often each status was answered.
    """
    schema = schemathesis.openapi.from_dict(document)
    answered: Counter[int] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            _send(operation.as_strategy(generation_mode=mode), url, each, answered)
    return answered


def _send(strategy: Any, url: str, each: int, answered: Counter[int]) -> None:  # noqa: ANN401
    @settings(
        max_examples=each,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def send(case: schemathesis.Case) -> None:
        if sum(answered.values()) % 2 and "study_uid" in (case.path_parameters or {}):
            case.path_parameters["study_uid"] = STUDY_UID
        bounded = {"Content-Type": f"{RELATED}; boundary=b"} if "dicom-web" in case.path else {}
        answer = case.call(base_url=url, headers=HEADERS | bounded, timeout=120)
        answered[answer.status_code] += 1
        assert answer.status_code < 500, (case.method, case.path, answer.text[:500])
        if answer.status_code >= 400:
            # STOW-RS says in its own way what it did not store (PS3.18 10.5.3).
            own = "application/dicom+json" if "dicom-web" in case.path else PROBLEM
            assert answer.headers["content-type"][0] in {PROBLEM, own}, case.path

    try:
        send()
    except Unsatisfiable:
        return


def test_nothing_invented_is_an_error_of_ours(url: str, document: dict[str, Any]) -> None:
    answered = invent(url, document, SHORT)
    assert sum(answered.values()) >= 100


@pytest.mark.soak
def test_a_thousand_invented_requests(
    url: str, document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answered = invent(url, document, LONG)
    with capsys.disabled():
        print(f"\n{sum(answered.values())} invented requests: {dict(sorted(answered.items()))}")  # noqa: T201
    assert sum(answered.values()) >= 1000
