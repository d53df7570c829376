"""STOW-RS as PS3.18 10.5 has it: status codes, bodies, and nothing half-stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from httpx2 import Response
from pydicom.dataset import Dataset, FileDataset
from starlette.testclient import TestClient

from service.api.app import create_app
from service.pacs.gateway import Gateway
from service.pacs.receiving import digest_of
from service.settings import Settings
from tests import builders
from tests.unit.pacs.stand_ins import STUDY, RememberingJobs, instances, own

BOUNDARY = "b0undary"
RELATED = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


@dataclass
class Served:
    client: TestClient
    gateway: Gateway

    def store(
        self, *parts: FileDataset | bytes, study: str = "", content_type: str = RELATED
    ) -> Response:
        return self.client.post(
            f"/dicom-web/studies{study}",
            content=related(*parts),
            headers={"content-type": content_type, "accept": "application/dicom+json"},
        )

    def stored(self) -> int:
        return sum(len(self.gateway.folder.files(each)) for each in self.gateway.folder.studies())

    def nothing_left(self) -> bool:
        return not any(self.gateway.folder.new_part().parent.iterdir())


def related(*parts: FileDataset | bytes) -> bytes:
    pieces = []
    for part in parts:
        content = part if isinstance(part, bytes) else builders.to_bytes(part)
        pieces.append(
            f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + content + b"\r\n"
        )
    return b"".join(pieces) + f"--{BOUNDARY}--\r\n".encode()


ServedMaker = Callable[..., Served]


@pytest.fixture
def make_served(tmp_path: Path) -> Iterator[ServedMaker]:
    opened: list[TestClient] = []

    def make(**values: object) -> Served:
        settings = Settings(work_dir=tmp_path, **values)
        jobs = RememberingJobs(tmp_path)
        gateway = Gateway(settings, tmp_path, jobs)
        client = TestClient(
            create_app(settings, jobs, gateway),
            base_url="http://127.0.0.1",
            client=("127.0.0.1", 5000),
        )
        opened.append(client.__enter__())
        return Served(opened[-1], gateway)

    yield make
    for each in opened:
        each.__exit__(None, None, None)


@pytest.fixture
def served(make_served: ServedMaker) -> Served:
    return make_served()


def sequence(answer: Response, keyword: str) -> list[Dataset]:
    assert answer.headers["content-type"] == "application/dicom+json"
    return list(Dataset.from_json(answer.json()).get(keyword, []))


def test_every_instance_stored_is_200(served: Served) -> None:
    sent = instances(3)
    answer = served.store(*sent, study=f"/{STUDY}")
    assert answer.status_code == 200, answer.text
    referenced = sequence(answer, "ReferencedSOPSequence")
    assert [item.ReferencedSOPInstanceUID for item in referenced] == [
        each.SOPInstanceUID for each in sent
    ]
    assert {item.ReferencedSOPClassUID for item in referenced} == {sent[0].SOPClassUID}
    assert "00081198" not in answer.json()
    (study,) = served.gateway.folder.studies()
    stored = {path.read_bytes() for path in served.gateway.folder.files(study)}
    assert stored == set(map(builders.to_bytes, sent))
    assert served.nothing_left()


@pytest.mark.parametrize("bad", [b"no dicom", b"", builders.to_bytes(instances(1)[0])[:200]])
def test_one_bad_part_is_202_and_named_as_failed(served: Served, bad: bytes) -> None:
    first, second = instances(2)
    answer = served.store(first, bad, second)
    assert answer.status_code == 202
    assert len(sequence(answer, "ReferencedSOPSequence")) == 2
    (failed,) = sequence(answer, "FailedSOPSequence")
    assert failed.FailureReason == 0xC000
    assert served.stored() == 2
    assert served.nothing_left()


def test_an_instance_of_another_study_fails_with_its_uids(served: Served) -> None:
    (mine,), (other,) = instances(1), instances(1, study="another")
    answer = served.store(mine, other, study=f"/{STUDY}")
    assert answer.status_code == 202
    (failed,) = sequence(answer, "FailedSOPSequence")
    assert failed.ReferencedSOPInstanceUID == other.SOPInstanceUID
    assert failed.FailureReason == 0xA900
    assert [each.key for each in served.gateway.folder.studies()] == [digest_of(STUDY)]


def test_none_stored_is_409(served: Served) -> None:
    answer = served.store(b"no dicom", b"nor this")
    assert answer.status_code == 409
    assert len(sequence(answer, "FailedSOPSequence")) == 2
    assert "00081199" not in answer.json()


def test_several_studies_in_one_request(served: Served) -> None:
    assert served.store(*instances(1), *instances(1, study="another")).status_code == 200
    assert len(list(served.gateway.folder.studies())) == 2


def test_our_own_objects_are_acknowledged_and_not_kept(served: Served) -> None:
    answer = served.store(own(instances(1)[0]))
    assert answer.status_code == 200
    assert len(sequence(answer, "ReferencedSOPSequence")) == 1
    assert served.stored() == 0


@pytest.mark.parametrize(
    "content_type",
    [
        "application/dicom",
        "multipart/form-data; boundary=b0undary",
        f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}',
        'multipart/related; type="application/dicom"',
    ],
)
def test_other_media_types_are_415(served: Served, content_type: str) -> None:
    answer = served.store(*instances(1), content_type=content_type)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert served.stored() == 0


@pytest.mark.parametrize("content", [b"", b"no multipart", related(*instances(2))[:-30]])
def test_a_body_cut_short_stores_nothing(served: Served, content: bytes) -> None:
    answer = served.client.post(
        "/dicom-web/studies", content=content, headers={"content-type": RELATED}
    )
    assert answer.status_code == 400
    assert served.stored() == 0
    assert served.nothing_left()


def test_limits_are_413(make_served: ServedMaker) -> None:
    served = make_served(limits={"files": 2, "file_bytes": 2000})
    assert served.store(*instances(3)).status_code == 413
    assert served.store(b"\0" * 3000).json()["code"] == "content_too_large"
    assert served.stored() == 0
    assert served.nothing_left()


def test_at_the_watermark_503_and_nothing_is_written(make_served: ServedMaker) -> None:
    served = make_served(min_free_mb=1 << 40)
    answer = served.store(*instances(1))
    assert (answer.status_code, answer.json()["code"]) == (503, "disk_full")
    assert int(answer.headers["retry-after"]) > 0
    assert served.nothing_left()


def test_an_answer_that_cannot_be_given_is_406(served: Served) -> None:
    answer = served.client.post(
        "/dicom-web/studies",
        content=related(*instances(1)),
        headers={"content-type": RELATED, "accept": "application/dicom+xml"},
    )
    assert answer.status_code == 406
    assert served.stored() == 0


def test_a_path_that_is_no_uid_is_refused(served: Served) -> None:
    assert served.store(*instances(1), study="/not-a-uid").status_code == 422


def test_keys_are_asked_for(make_served: ServedMaker) -> None:
    served = make_served(api_keys=("secret",))
    assert served.store(*instances(1)).status_code == 401
    assert served.stored() == 0


def test_a_retrieval_needs_a_known_source(served: Served) -> None:
    answer = served.client.post("/v1/retrievals", json={"study_instance_uid": STUDY})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_source")
    assert served.client.get("/v1/retrievals/" + "0" * 32).status_code == 404


def test_a_retrieval_is_promised_once(make_served: ServedMaker) -> None:
    # Nothing listens at port 9, so the promise stays one.
    served = make_served(archives={"pacs": {"url": "http://127.0.0.1:9/dicom-web"}})
    first = served.client.post("/v1/retrievals", json={"study_instance_uid": STUDY})
    assert first.status_code == 202
    again = served.client.post(
        "/v1/retrievals", json={"study_instance_uid": STUDY, "source": "pacs"}
    )
    assert again.json()["retrieval_id"] == first.json()["retrieval_id"]
    where = first.headers["location"]
    assert served.client.get(where).json()["state"] == "queued"
