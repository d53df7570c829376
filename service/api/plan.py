"""Route: a planning document from the newest report of a study and clinical input."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from service.api.access import require
from service.api.negotiation import choose
from service.api.problems import RESPONSES, ProblemError
from service.api.studies import HTML_TYPE, JSON_TYPE, StudyUid, job_of
from service.jobs.job import Job, Jobs, JobState
from service.jobs.keys import Scope
from service.planning.document import PlanningDocument
from service.planning.errors import ClinicalInputError, ProfileMissingError
from service.planning.intake import MAX_BYTES, read_intake
from service.planning.model import Profile
from service.planning.plan import plan
from service.planning.profiles import DEFAULT_PROFILE, choose_profile
from service.planning.signing import SignatureError, sign, to_json
from service.report.document import StudyReport

FHIR_TYPE: Final = "application/fhir+json"
PLAN_TYPES: Final = (JSON_TYPE, HTML_TYPE, FHIR_TYPE)
BODY_TYPES: Final = (JSON_TYPE, FHIR_TYPE)

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "Clinical input; an absent field and null both mean not known.",
        "content": {
            JSON_TYPE: {"schema": {"type": "object"}, "example": {"age_years": 78, "inr": 1.1}},
            FHIR_TYPE: {"schema": {"type": "object", "description": "A FHIR Bundle"}},
        },
    }
}

router = APIRouter(
    prefix="/v1/studies",
    tags=["planning"],
    dependencies=[Depends(require(Scope.READ))],
    responses=RESPONSES,
)


@router.post(
    "/{study_uid}/plan",
    response_model=PlanningDocument,
    openapi_extra=_BODY,
    responses={200: {"content": {HTML_TYPE: {}, FHIR_TYPE: {}}}},
)
async def plan_study(
    request: Request,
    study_uid: StudyUid,
    profile: Annotated[str, Query(max_length=40, description="Guideline profile")] = (
        DEFAULT_PROFILE
    ),
    signed_by: Annotated[
        str | None, Query(max_length=200, description="Clinician who signs the document")
    ] = None,
) -> Response:
    """Write a planning document: what speaks for and against, and what is missing.

    It supports a discussion and decides nothing; it stays a draft until a clinician signs.
    """
    wanted = choose(request.headers.get("accept"), PLAN_TYPES)
    media_type = request.headers.get("content-type", JSON_TYPE).partition(";")[0].strip().lower()
    if media_type not in BODY_TYPES:
        raise ProblemError(
            415,
            "unsupported_media_type",
            f"Send clinical input as {' or '.join(BODY_TYPES)}.",
            headers={"Accept": ", ".join(BODY_TYPES)},
        )
    jobs: Jobs = request.app.state.jobs
    job = job_of(jobs, study_uid)
    if job.state is not JobState.SUCCEEDED:
        raise ProblemError(409, "study_refused", "The study has no findings to plan from.")
    content = await _body(request)
    chosen = _chosen(request, profile)
    return await run_in_threadpool(_answer, jobs, job, (content, chosen, signed_by), wanted)


async def _body(request: Request) -> bytes:
    parts = bytearray()
    async for chunk in request.stream():
        parts += chunk
        if len(parts) > MAX_BYTES:
            raise ProblemError(
                413, "content_too_large", f"Clinical input may have {MAX_BYTES >> 20} MB."
            )
    return bytes(parts)


def _chosen(request: Request, name: str) -> Profile:
    try:
        return choose_profile(request.app.state.profiles, name)
    except ProfileMissingError as error:
        raise ProblemError(400, error.code, f"{error}.") from None


def _answer(
    jobs: Jobs, job: Job, given: tuple[bytes, Profile, str | None], wanted: str
) -> Response:
    folder = jobs.results(job.job_id)
    report = StudyReport.model_validate_json((folder / "report.json").read_bytes())
    content, profile, signed_by = given
    now = datetime.now(UTC)
    try:
        clinical, unread = read_intake(content, on=now.date())
        document = plan(report, clinical, profile, now=now, unread=unread)
        if signed_by is not None:
            document = sign(document, signed_by, now=now)
    except ClinicalInputError as error:
        errors = [{"where": item.field, "message": item.message} for item in error.problems]
        raise ProblemError(
            422, error.code, "The clinical input is not as described.", members={"errors": errors}
        ) from None
    except SignatureError as error:
        raise ProblemError(422, error.code, f"{error}.") from None
    headers = {"Vary": "Accept", "Cache-Control": "no-store"}
    if wanted == HTML_TYPE:
        from service.planning.rendering.html import (  # noqa: PLC0415
            content_security_policy,
            to_html,
        )
        from service.planning.rendering.picture import key_images_in  # noqa: PLC0415

        page = to_html(document, key_images_in(folder))
        headers["Content-Security-Policy"] = content_security_policy()
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)
    if wanted == FHIR_TYPE:
        from service.planning.rendering.fhir import to_fhir  # noqa: PLC0415

        return Response(to_fhir(document), media_type=FHIR_TYPE, headers=headers)
    return Response(to_json(document), media_type=JSON_TYPE, headers=headers)
