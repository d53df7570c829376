"""Studies pulled from a real Orthanc, missed ones found, results stored back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless
from sqlalchemy import select

from service.jobs.database import OUTBOX
from service.jobs.job import JobState
from service.pacs import gateway as gateway_module
from service.pacs import reconcile
from service.pacs.gateway import Gateway
from service.pacs.receiving import digest_of
from service.pacs.retrieval import Retrieval, RetrievalState
from service.settings import Settings
from tests import builders
from tests.integration.pacs.outage import BEFORE, results_after
from tests.integration.pacs.peers import Orthanc, free_port, orthanc, run, until
from tests.unit.pacs.stand_ins import STUDY, RememberingJobs, own

PIXELS = builders.ramp(4, 32, 32)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(peer: Orthanc) -> None:
    for study in peer.get("/studies"):
        requests.delete(f"{peer.http}/studies/{study}", timeout=20)
    requests.delete(f"{peer.http}/changes", timeout=20)


GatewayMaker = Callable[..., tuple[Gateway, RememberingJobs]]


@pytest.fixture
def make_gateway(tmp_path: Path) -> Iterator[GatewayMaker]:
    opened: list[Gateway] = []

    def make(**values: object) -> tuple[Gateway, RememberingJobs]:
        jobs = RememberingJobs(tmp_path)
        opened.append(Gateway(Settings(work_dir=tmp_path, **values), tmp_path, jobs))
        opened[-1].start()
        return opened[-1], jobs

    yield make
    for each in opened:
        each.close()


def archive(peer: Orthanc, **values: object) -> dict[str, object]:
    return {"archives": {"pacs": {"url": peer.dicom_web, "timeout_s": 5, **values}}}


def final(gateway: Gateway, asked: Retrieval) -> Retrieval:
    def over() -> Retrieval | None:
        found = gateway.retrievals.get(asked.retrieval_id)
        assert found is not None
        done = found.state is RetrievalState.FAILED or found.job_id is not None
        return found if done else None

    return until(over)


def test_a_study_is_pulled_as_it_is_stored_and_read_at_once(
    peer: Orthanc, make_gateway: GatewayMaker
) -> None:
    stir = builders.classic_stack(PIXELS, series="stir")
    t1 = builders.classic_stack(PIXELS, series="t1", physics=builders.T1)
    sent = [builders.compressed(each, JPEGLSLossless) for each in stir]
    sent += [builders.compressed(each, JPEG2000Lossless) for each in t1]
    for each in sent:
        peer.store(builders.to_bytes(each))
    gateway, jobs = make_gateway(quiet_s=600, **archive(peer))
    done = final(gateway, gateway.retrievals.request(STUDY))
    assert (done.state, done.instances) == (RetrievalState.RECEIVED, 8)
    assert [len(files) for files in jobs.submitted] == [8]
    assert done.job_id in jobs.jobs
    (study,) = gateway.folder.studies()
    stored = {dcmread(path).SOPInstanceUID: dcmread(path) for path in gateway.folder.files(study)}
    for each in sent:
        got = stored[each.SOPInstanceUID]
        assert got.file_meta.TransferSyntaxUID == each.file_meta.TransferSyntaxUID
        assert got.PixelData == each.PixelData


def test_only_mr_series_are_pulled_and_our_own_never(
    peer: Orthanc, make_gateway: GatewayMaker
) -> None:
    (mr,) = builders.classic_stack(PIXELS[:1])
    (ct,) = builders.classic_stack(PIXELS[:1], series="ct")
    ct.Modality = "CT"
    (result,) = builders.classic_stack(PIXELS[:1], series="result")
    for each in (mr, ct, own(result)):
        peer.store(builders.to_bytes(each))
    gateway, jobs = make_gateway(quiet_s=600, **archive(peer))
    done = final(gateway, gateway.retrievals.request(STUDY))
    assert done.instances == 1
    assert [len(files) for files in jobs.submitted] == [1]


def test_a_study_that_is_not_there(peer: Orthanc, make_gateway: GatewayMaker) -> None:
    gateway, _ = make_gateway(**archive(peer))
    done = final(gateway, gateway.retrievals.request("1.2.3"))
    assert (done.state, done.code) == (RetrievalState.FAILED, "study_not_found")


def test_a_promise_outlives_the_archives_absence_and_our_own(
    tmp_path: Path, make_gateway: GatewayMaker
) -> None:
    port = free_port()
    settings = {"archives": {"pacs": {"url": f"http://127.0.0.1:{port}/dicom-web"}}}
    gateway, _ = make_gateway(quiet_s=600, **settings)
    asked = gateway.retrievals.request(STUDY)
    until(lambda: gateway.retrievals.get(asked.retrieval_id).code == "archive_unavailable")
    gateway.close()
    with orthanc(tmp_path / "late", port=port) as late:
        for each in builders.classic_stack(PIXELS):
            late.store(builders.to_bytes(each))
        gateway, jobs = make_gateway(quiet_s=600, **settings)
        assert final(gateway, asked).instances == 4
        assert len(jobs.submitted) == 1


def test_what_the_archive_has_and_we_missed_is_found_on_start(
    peer: Orthanc, make_gateway: GatewayMaker
) -> None:
    today = time.strftime("%Y%m%d")
    for name, day in (("one", today), ("two", today), ("old", "20010203")):
        for each in builders.classic_stack(PIXELS[:2], study=name):
            each.StudyDate = day
            peer.store(builders.to_bytes(each))
    gateway, jobs = make_gateway(quiet_s=1, **archive(peer, reconcile_days=7))
    until(lambda: len(jobs.submitted) == 2)
    found = {study.key for study in gateway.folder.studies()}
    assert found == {digest_of(builders.uid(name)) for name in ("one", "two")}
    gateway.close()
    # Nothing is missing now, so nothing is pulled again.
    gateway, jobs = make_gateway(quiet_s=1, **archive(peer, reconcile_days=7))
    time.sleep(1.5)
    assert jobs.submitted == []


def test_orthancs_changes_are_followed_without_an_echo(
    peer: Orthanc, make_gateway: GatewayMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "FOLLOW_S", 0.3)
    monkeypatch.setattr(reconcile, "CHANGES_AT_ONCE", 3)
    _, jobs = make_gateway(quiet_s=1, **archive(peer, orthanc_url=peer.http))
    stack = builders.classic_stack(PIXELS)
    for each in stack[:3]:
        peer.store(builders.to_bytes(each))
    until(lambda: len(jobs.submitted) == 1)
    # A result that comes back makes the study stable again; that is no new work.
    (result,) = builders.classic_stack(PIXELS[:1], series="result")
    result.Modality = "SR"
    peer.store(builders.to_bytes(own(result)))
    peer.store(builders.to_bytes(stack[0]))
    time.sleep(3)
    assert len(jobs.submitted) == 1
    peer.store(builders.to_bytes(stack[3]))
    until(lambda: len(jobs.submitted) == 2)
    assert [len(files) for files in jobs.submitted] == [3, 4]


def put_result(jobs: RememberingJobs, job_id: str, count: int = 2) -> None:
    """Leave objects as a finished job's results, then the job."""
    folder = jobs.results(job_id)
    folder.mkdir(parents=True)
    results = builders.classic_stack(PIXELS[:count], series=f"result {job_id}")
    for index, each in enumerate(results):
        (folder / f"object-{index}.dcm").write_bytes(builders.to_bytes(own(each)))
    (folder / "report.json").write_text("{}")
    jobs.finish(job_id)


def test_results_go_back_by_stow_and_by_c_store(peer: Orthanc, make_gateway: GatewayMaker) -> None:
    targets = {
        "web": {"kind": "stow", "url": peer.dicom_web},
        "dimse": {
            "kind": "cstore",
            "host": "127.0.0.1",
            "port": peer.dicom_port,
            "ae_title": "ORTHANC",
        },
    }
    gateway, jobs = make_gateway(targets=targets)
    put_result(jobs, "a" * 32)
    jobs.finish("b" * 32, state=JobState.FAILED)
    until(lambda: states(gateway) == {"web": "done", "dimse": "done"})
    # Sent twice, there once: the UIDs are the same.
    assert len(peer.get("/instances")) == 2
    said = run(
        "findscu", "-aet", "M", "-aec", "ORTHANC", "-S", "-k", "QueryRetrieveLevel=STUDY",
        "-k", f"StudyInstanceUID={STUDY}", "-k", "NumberOfStudyRelatedInstances",
        "127.0.0.1", peer.dicom_port,
    )  # fmt: skip
    assert "[2 ]" in said


def states(gateway: Gateway) -> dict[str, str]:
    with gateway._engine.connect() as connection:
        return {row.target: row.state for row in connection.execute(select(OUTBOX))}


# pynetdicom leaves a refused connection's socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_archive_that_was_away_gets_everything_once(tmp_path: Path) -> None:
    tries = results_after(tmp_path, 4.0)  # two minutes of it in `make soak`
    assert len(tries) == 6
    assert all(count == 1 for delivery, count in tries.items() if delivery.endswith(BEFORE))
    assert all(count > 1 for delivery, count in tries.items() if not delivery.endswith(BEFORE))
