"""Routes: a reader's word on a report, and what readers said so far."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.models import Example
from pydantic import BaseModel, ConfigDict

from models.errors import AcuityError
from service.api.access import require
from service.api.negotiation import choose
from service.api.problems import RESPONSES, ProblemError
from service.api.schemas import Accepted
from service.api.studies import REPORT_TYPES, StudyUid, answer_of, too_long
from service.jobs.job import Job, Jobs
from service.jobs.keys import Scope
from service.jobs.reviews import ImagesGoneError, ReportSupersededError
from service.report.corrections import ReviewError
from service.report.document import StudyReport
from service.report.findings_file import FindingsError
from service.report.review import Review, ReviewRecord

router = APIRouter(
    tags=["review"], dependencies=[Depends(require(Scope.REVIEW))], responses=RESPONSES
)

CONFLICTS = (ImagesGoneError, ReportSupersededError, FindingsError)


_EXAMPLES: Final[dict[str, Example]] = {
    "corrected": {
        "summary": "Levels counted anew, one call changed",
        "value": {
            "report": "5f0c7b1e5f0c7b1e5f0c7b1e5f0c7b1e",
            "decision": "verify",
            "reader": {"name": "Muster^Anna", "organization": "Radiology"},
            "levels": [{"label_value": 20, "level": "L2"}, {"label_value": 21, "edema": "absent"}],
            "comment": "Counted from C2.",
        },
    }
}


class ReviewList(BaseModel):
    """What readers said, oldest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reviews: tuple[ReviewRecord, ...]


@router.post(
    "/v1/studies/{study_uid}/review",
    status_code=202,
    response_model=Accepted,
    responses={200: {"model": StudyReport, "description": "The verified report, with ?wait="}},
)
async def review_report(
    request: Request,
    study_uid: StudyUid,
    review: Annotated[Review, Body(openapi_examples=_EXAMPLES)],
    wait: Annotated[float | None, Query(ge=0, description="Seconds to wait for the report")] = None,
) -> Response:
    """Verify a report, correct it, or reject it; a verified report takes its place."""
    jobs: Jobs = request.app.state.jobs
    settings = request.app.state.settings
    if wait is not None and wait > settings.max_wait_s:
        raise too_long(settings.max_wait_s)
    choose(request.headers.get("accept"), REPORT_TYPES)
    job = await run_in_threadpool(_submit, jobs, study_uid, review)
    return await answer_of(jobs, job, request, wait)


@router.get("/v1/reviews", response_model=ReviewList)
async def list_reviews(request: Request) -> ReviewList:
    """What readers said, oldest first; for retraining, beside the folders of docs/review.md."""
    jobs: Jobs = request.app.state.jobs
    return ReviewList(reviews=await run_in_threadpool(jobs.reviews))


def _submit(jobs: Jobs, study_uid: str, review: Review) -> Job:
    reviewed = jobs.get(review.report)
    if reviewed is None or reviewed.study_instance_uid != study_uid:
        raise ProblemError(404, "report_not_found", "There is no such report of this study.")
    try:
        return jobs.submit_review(reviewed, review)
    except ReviewError as error:
        raise _problem(422, error) from error
    except CONFLICTS as error:
        raise _problem(409, error) from error


def _problem(status: int, error: AcuityError) -> ProblemError:
    return ProblemError(status, error.code, f"{str(error)[:1].upper()}{str(error)[1:]}.")
