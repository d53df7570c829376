"""A planning document over REST: the three forms, and a problem for every bad request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fhir.resources.bundle import Bundle
from httpx2 import Response

from service.planning.document import PlanningDocument
from service.planning.errors import ProfileError
from tests.stages_made import STUDY_UID
from tests.unit.api.conftest import Service, ServiceMaker
from tests.unit.planning.cases import clinical_mapping

PLAN = f"/v1/studies/{STUDY_UID}/plan"


def ask(service: Service, clinical: object = None, query: str = "", **headers: str) -> Response:
    body = clinical_mapping() if clinical is None else clinical
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {
        "content-type": "application/json",
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    return service.client.post(f"{PLAN}{query}", content=content, headers=sent)


@pytest.fixture
def planned(service: Service) -> Service:
    assert service.send("a.dcm").status_code == 200
    return service


def problem(answer: Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    return body


def test_the_document_as_json(planned: Service) -> None:
    answer = ask(planned)
    assert answer.status_code == 200, answer.text
    document = PlanningDocument.model_validate_json(answer.content)
    assert document.status == "draft"
    assert document.profile.name == "overview"
    assert {level.level for level in document.levels} == {"T12", "L1"}
    assert answer.headers["cache-control"] == "no-store"


def test_as_a_page_under_its_own_policy(planned: Service) -> None:
    answer = ask(planned, accept="text/html")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "Vertebroplasty planning document" in answer.text


def test_as_fhir_drafts(planned: Service) -> None:
    answer = ask(planned, accept="application/fhir+json")
    assert answer.headers["content-type"] == "application/fhir+json"
    assert Bundle.model_validate_json(answer.content).entry[0].resource.status == "draft"


def test_profile_and_signature_are_chosen_by_the_query(planned: Service) -> None:
    document = ask(planned, query="?profile=nice&signed_by=Dr.%20A").json()
    assert document["profile"]["name"] == "nice"
    assert document["status"] == "signed"
    assert document["signature"]["name"] == "Dr. A"


def test_a_bundle_is_clinical_input_too(planned: Service) -> None:
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": {"resourceType": "Patient", "birthDate": "1946-05-01"}}],
    }
    answer = ask(planned, bundle, content_type="application/fhir+json")
    assert answer.json()["clinical"]["age_years"] >= 79


def test_nothing_given_is_insufficient_never_eligible(planned: Service) -> None:
    document = ask(planned, {}).json()
    assert document["patient"]["outcome"] == "insufficient_information"
    assert len(document["missing"]) > 15


@pytest.mark.parametrize(
    ("clinical", "field"),
    [
        ({"inr": "Mr. Secret"}, "inr"),
        ({"blood_group": "A"}, "blood_group"),
        ({"pain_levels_confirmed": ["L1", "X9"]}, "pain_levels_confirmed.1"),
        (b'{"inr": 1, "inr": 2}', "inr"),
        (b"{", ""),
    ],
)
def test_a_bad_field_is_named_and_its_value_is_not(
    planned: Service, clinical: object, field: str
) -> None:
    answer = ask(planned, clinical)
    assert answer.status_code == 422
    body = problem(answer)
    assert body["code"] == "clinical_input_invalid"
    assert field in {item["where"] for item in body["errors"]}
    assert "Secret" not in answer.text


def test_what_else_is_refused(planned: Service) -> None:
    for answer, status, code in (
        (ask(planned, query="?profile=own"), 400, "planning_profile_missing"),
        (ask(planned, query="?signed_by=%20"), 422, "signature_invalid"),
        (ask(planned, content_type="text/plain"), 415, "unsupported_media_type"),
        (ask(planned, accept="image/png"), 406, "not_acceptable"),
        (ask(planned, b" " * (5 << 20)), 413, "content_too_large"),
    ):
        assert answer.status_code == status
        assert problem(answer)["code"] == code


def test_a_study_that_was_never_read(service: Service) -> None:
    answer = ask(service)
    assert answer.status_code == 404
    assert problem(answer)["code"] == "study_not_found"


def test_a_broken_site_profile_stops_the_service(make_service: ServiceMaker, tmp_path: Any) -> None:  # noqa: ANN401
    broken = tmp_path / "own.toml"
    broken.write_text('schema = "planning-profile/1"\n')
    with pytest.raises(ProfileError):
        make_service(planning_profiles=broken)
