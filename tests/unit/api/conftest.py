"""A service whose stages are stand-ins: real routes, real jobs, real writers, no network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from service.api.app import create_app
from service.jobs.durable import DurableJobs
from service.jobs.job import Outcome
from service.jobs.reviewing import review_on
from service.jobs.reviews import is_review
from service.jobs.work import Filing, work_on
from service.jobs.worker import Request
from service.settings import Settings
from tests.jobs_made import jobs_in
from tests.stages_made import STAGES

LOOPBACK = "http://127.0.0.1"


@dataclass
class StandInRunner:
    """Runs a study in the jobs' own thread; `gate` holds it, `fault` replaces its outcome."""

    gate: threading.Event = field(default_factory=threading.Event)
    fault: Callable[[], Outcome] | None = None
    ready: bool = True
    runs: int = 0

    def start(self) -> None: ...

    def close(self) -> None:
        self.gate.set()

    def run(self, request: Request, on_stage: Callable[[str], None]) -> Outcome:
        assert request.options is None
        on_stage("ingest")
        assert self.gate.wait(30)
        self.runs += 1
        if self.fault is not None:
            return self.fault()
        filing = Filing(
            datetime.fromtimestamp(request.created, UTC), request.current, request.job_id
        )
        if is_review(request.source, request.current):
            return review_on(request.source, request.results, STAGES, on_stage, filing)
        return work_on(request.source, request.results, STAGES, on_stage, filing)


@dataclass
class Service:
    """A started service with a client, and the parts that a test may want to hold."""

    client: TestClient
    runner: StandInRunner
    jobs: DurableJobs
    work_dir: Path

    def send(self, *names: str, wait: float | None = 20, content: bytes = b"content") -> Response:
        """POST files of these names, each with content of its own."""
        parts = [("files", (name, content + name.encode())) for name in names]
        query = "" if wait is None else f"?wait={wait}"
        return self.client.post(f"/v1/studies{query}", files=parts)


ServiceMaker = Callable[..., Service]


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[ServiceMaker]:
    opened: list[TestClient] = []

    def make(max_queued: int = 8, client: str = "127.0.0.1", **settings: object) -> Service:
        runner = StandInRunner()
        runner.gate.set()
        jobs = jobs_in(tmp_path, runner, max_queued)
        app = create_app(Settings(**settings), jobs)
        opened.append(
            TestClient(
                app, base_url=LOOPBACK, client=(client, 5000), raise_server_exceptions=False
            ).__enter__()
        )
        return Service(opened[-1], runner, jobs, tmp_path)

    yield make
    for each in opened:
        each.__exit__(None, None, None)


@pytest.fixture
def service(make_service: ServiceMaker) -> Service:
    return make_service()
