"""A service whose stages are stand-ins: real routes, real jobs, real writers, no network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from models.findings import (
    Abstention,
    Acuity,
    AcuityFinding,
    Anchor,
    Call,
    Coverage,
    Edema,
    Etiology,
    EtiologyFinding,
    Fracture,
    LevelFindings,
    LevelName,
    Localisation,
    Scores,
    Shape,
    StudyVolumes,
    Vertebra,
)
from models.volume import Role, Volume
from service.api.app import create_app
from service.ingest.records import Ingested, Refusal, RefusedFile
from service.jobs.durable import DurableJobs
from service.jobs.job import Outcome
from service.jobs.work import Filing, work_on
from service.jobs.worker import Request
from service.pipeline import Stages
from service.settings import Settings
from tests.jobs_made import jobs_in

STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
LOOPBACK = "http://127.0.0.1"


def volume() -> Volume:
    affine = np.array([[4.4, 0, 0, -20.0], [0, 0, 0.7, -30.0], [0, -0.9, 0, 40.0], [0, 0, 0, 1.0]])
    array = np.arange(10 * 80 * 60, dtype=np.float32).reshape(10, 80, 60) % 97
    return Volume(array, affine, Role.STIR, series_instance_uid=f"{STUDY_UID}.1")


def localise(study: StudyVolumes) -> Localisation:
    labels = np.zeros(study.reference.shape, np.uint8)
    labels[3:7, 10:30, 20:40] = 1
    labels[3:7, 45:65, 20:40] = 2
    return Localisation(
        labels=labels,
        affine=study.reference.affine,
        vertebrae=tuple(
            Vertebra(
                index=index,
                name=LevelName(level, 0.9),
                alternatives=(),
                coverage=Coverage.COMPLETE,
                centroid_lps_mm=np.array([0.0, 0.0, z]),
                axes_lps=np.eye(3),
                size=None,
                confidence=0.99,
            )
            for index, level, z in ((1, "T12", 20.0), (2, "L1", -10.0))
        ),
        anchor=Anchor.SACRUM,
        structures=np.zeros_like(labels),
    )


def score(_study: StudyVolumes, localisation: Localisation) -> Scores:
    calls = ((Call.ABSENT, Acuity.NO_FRACTURE), (Call.PRESENT, Acuity.UNHEALED))
    levels = tuple(
        LevelFindings(
            vertebra=vertebra,
            edema=Edema(0.9, call, 0.4 if call is Call.PRESENT else 0.0),
            fracture=Fracture(0.9, call, 20.0, 1, Shape.WEDGE),
            acuity=AcuityFinding(acuity, 0.9),
            etiology=EtiologyFinding(Etiology.BENIGN, 0.1, (Etiology.BENIGN,)),
        )
        for vertebra, (call, acuity) in zip(localisation.vertebrae, calls, strict=True)
    )
    return Scores(levels, np.zeros(localisation.labels.shape, np.float32))


def read(source: Path) -> Ingested:
    """A study is usable unless it is empty of anything but text files."""
    names = sorted(path.name for path in source.iterdir()) if source.is_dir() else [source.name]
    usable = not all(name.endswith(".txt") for name in names)
    volumes = StudyVolumes(volume(), {Role.STIR: volume()}) if usable else None
    refused = tuple(
        RefusedFile(name, Refusal("not_dicom", "The file is not DICOM."))
        for name in names
        if name.endswith(".txt")
    )
    said = () if usable else (Abstention("no_usable_series", "study", "No MR series was found."),)
    return Ingested(STUDY_UID if usable else "", (), len(names), refused, volumes, said)


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
        return work_on(
            request.source, request.results, Stages(read, localise, score), on_stage, filing
        )


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
