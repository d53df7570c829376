"""Reviews over REST: a verified report in place of the machine's, once, and kept for retraining."""

from __future__ import annotations

import json
import shutil
import zipfile
from io import BytesIO

import numpy as np
from httpx2 import Response

from service.jobs.reviews import list_reviews
from tests.stages_made import STUDY_UID
from tests.unit.api.conftest import Service, ServiceMaker

READER = {"name": "Reader^Anna", "organization": "Site"}
REVIEW = f"/v1/studies/{STUDY_UID}/review"
T12, L1 = 19, 20


def read(service: Service, *names: str) -> str:
    """Hand a study in; the id of its job."""
    answer = service.send(*(names or ("1.dcm", "2.dcm")))
    assert answer.status_code == 200, answer.text
    return answer.headers["content-location"].split("/")[3]


def review(service: Service, report: str, wait: float | None = 20, **said: object) -> Response:
    query = "" if wait is None else f"?wait={wait}"
    body = {"report": report, "reader": READER, **said}
    return service.client.post(f"{REVIEW}{query}", json=body)


def standing(service: Service) -> dict[str, object]:
    return service.client.get(f"/v1/studies/{STUDY_UID}/report").json()


def test_a_review_takes_the_place_of_the_report(service: Service) -> None:
    job_id = read(service)
    answer = review(service, job_id, levels=[{"label_value": T12, "level": "L1"}])
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert report["status"] == "verified"
    assert [level["level"] for level in report["levels"]] == ["L1", "L2"]
    assert report["review"]["job_id"] == job_id
    assert standing(service) == report
    machine = service.client.get(f"/v1/jobs/{job_id}/report").json()
    assert machine["status"] == "superseded"
    assert [level["level"] for level in machine["levels"]] == ["T12", "L1"]
    page = service.client.get(f"/v1/studies/{STUDY_UID}/report", headers={"accept": "text/html"})
    assert "checked by Reader, Anna" in page.text


def test_the_same_review_again_is_the_same_job(service: Service) -> None:
    job_id = read(service)
    said = [{"label_value": T12, "level": "L1"}]
    first = review(service, job_id, levels=said).json()
    # Sent again, as after a lost answer, it must not shift the names once more.
    assert review(service, job_id, levels=said).json() == first
    assert len(service.client.get("/v1/studies").json()["studies"]) == 2


def test_another_review_of_a_report_that_does_not_stand(service: Service) -> None:
    job_id = read(service)
    review(service, job_id)
    answer = review(service, job_id, levels=[{"label_value": L1, "edema": "absent"}])
    assert (answer.status_code, answer.json()["code"]) == (409, "report_superseded")


def test_a_verified_report_is_reviewed_again(service: Service) -> None:
    first = review(service, read(service), levels=[{"label_value": T12, "level": "L1"}])
    verified = first.headers["content-location"].split("/")[3]
    again = review(service, verified, levels=[{"label_value": 21, "edema": "absent"}]).json()
    assert [level["level"] for level in again["levels"]] == ["L1", "L2"]
    assert again["levels"][1]["edema"]["call"] == "absent"
    assert [one["field"] for one in again["review"]["corrections"]] == ["edema.call", "acuity.call"]
    (last,) = list_reviews(service.work_dir)  # of the chain the last one
    assert last.document.job_id == verified


def test_the_machine_never_overrules_a_reader_on_the_same_images(service: Service) -> None:
    job_id = read(service)
    verified = review(service, job_id, levels=[{"label_value": L1, "edema": "absent"}]).json()
    # Other bytes of as many files: as after an update, or with corrected pixels.
    service.send("1.dcm", "2.dcm", content=b"other")
    assert standing(service) == verified
    # More images than the reader saw are a new case.
    read(service, "1.dcm", "2.dcm", "3.dcm")
    assert standing(service)["status"] == "preliminary"


def test_reviews_are_kept_with_all_that_training_needs(service: Service) -> None:
    job_id = read(service)
    said = [{"label_value": T12, "level": "L1"}, {"label_value": L1, "edema": "absent"}]
    report = review(service, job_id, levels=said, comment="Counted from C2.").json()
    (kept,) = list_reviews(service.work_dir)
    assert {path.read_bytes() for path in kept.study.iterdir()} == {
        b"content1.dcm",
        b"content2.dcm",
    }
    assert json.loads(kept.report.read_bytes()) == report
    machine = json.loads(kept.machine_report.read_bytes())
    assert (machine["status"], machine["levels"][0]["level"]) == ("preliminary", "T12")
    assert kept.vertebrae is not None
    assert kept.edema is not None
    assert kept.document.job_id == job_id
    (listed,) = service.client.get("/v1/reviews").json()["reviews"]
    assert listed == json.loads((kept.folder / "review.json").read_bytes())
    assert listed["comment"] == "Counted from C2."
    # They outlive what they were made from.
    shutil.rmtree(service.work_dir / "studies")
    assert np.frombuffer(kept.vertebrae.read_bytes(), np.uint8).size > 0
    service.jobs.remove_study(STUDY_UID)
    assert list_reviews(service.work_dir) == ()


def test_a_study_that_came_as_an_archive(service: Service) -> None:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("1.dcm", b"content")
    answer = service.client.post(
        "/v1/studies?wait=20",
        content=packed.getvalue(),
        headers={"content-type": "application/zip"},
    )
    job_id = answer.headers["content-location"].split("/")[3]
    assert review(service, job_id).status_code == 200
    (kept,) = list_reviews(service.work_dir)
    assert [path.read_bytes() for path in kept.study.iterdir()] == [packed.getvalue()]


def test_a_rejected_report_says_nothing(service: Service) -> None:
    report = review(service, read(service), decision="reject").json()
    assert (report["status"], report["levels"]) == ("verified", [])
    assert report["abstentions"][0]["code"] == "rejected_by_reader"
    (kept,) = list_reviews(service.work_dir)
    assert (kept.document.decision, kept.vertebrae, kept.edema) == ("reject", None, None)


def test_what_cannot_be_applied_is_told_before_it_is_taken(service: Service) -> None:
    job_id = read(service)
    answer = review(service, job_id, levels=[{"label_value": 1, "level": "L2"}])
    assert (answer.status_code, answer.json()["code"]) == (422, "review_conflict")
    assert standing(service)["status"] == "preliminary"
    assert list_reviews(service.work_dir) == ()


def test_a_report_of_another_study_or_none(service: Service) -> None:
    job_id = read(service)
    other = service.client.post(
        "/v1/studies/1.2.3/review", json={"report": job_id, "reader": READER}
    )
    assert (other.status_code, other.json()["code"]) == (404, "report_not_found")
    assert review(service, "0" * 32).status_code == 404
    assert service.client.post(REVIEW, json={"reader": READER}).status_code == 422


def test_without_the_images_there_is_no_review(service: Service) -> None:
    job_id = read(service)
    shutil.rmtree(service.work_dir / "kept" / job_id)
    answer = review(service, job_id)
    assert (answer.status_code, answer.json()["code"]) == (409, "images_gone")


def test_a_report_of_another_version(service: Service) -> None:
    job_id = read(service)
    (service.work_dir / "studies" / job_id / "findings.npz").unlink()
    answer = review(service, job_id)
    assert (answer.status_code, answer.json()["code"]) == (409, "report_outdated")


def test_without_waiting_it_is_a_job(service: Service) -> None:
    answer = review(service, read(service), wait=None)
    assert answer.status_code == 202
    assert answer.headers["location"] == answer.json()["links"]["job"]


def test_keys_are_asked_for(make_service: ServiceMaker) -> None:
    service = make_service(api_keys=("secret",))
    assert review(service, "0" * 32).status_code == 401
    assert service.client.get("/v1/reviews").status_code == 401
