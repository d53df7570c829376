"""Routes: studies in, reports out."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import anyio
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse

from models.anatomy import LEVELS
from service.api.access import Granted, check_scope, require
from service.api.headers import REPORT_POLICY
from service.api.negotiation import choose
from service.api.problems import RESPONSES, ProblemError
from service.api.schemas import Accepted, StudyList, accepted, document, links_of
from service.api.uploads import BodyLimits, receive_upload, stated_length
from service.jobs.folders import DiskFullError
from service.jobs.job import Job, Jobs, JobState
from service.jobs.keys import Scope
from service.jobs.worker import FULL
from service.report.document import LevelReport, StudyReport

UID_PATTERN: Final = r"^[0-9]+(\.[0-9]+)*$"
"""Shape of a UID (PS3.5 9.1), lenient about leading zeros, which archives do hold."""

JSON_TYPE: Final = "application/json"
HTML_TYPE: Final = "text/html"
FHIR_TYPE: Final = "application/fhir+json"
DICOM_TYPE: Final = "application/dicom"
REPORT_TYPES: Final = (JSON_TYPE, HTML_TYPE, FHIR_TYPE, DICOM_TYPE)

POLL_S: Final = 0.05
"""How often a stream of events looks at its job."""

LOOK_S: Final = (0.05, 0.5)
LOOK_SHARE: Final = 1 / 32
"""How long until a waiting client's job is looked at again, as a share of how long it has waited
already: soon after a short study, and seldom enough during a long one to cost it nothing. The end
of one that this process reads is told at once."""

StudyUid = Annotated[str, PathParameter(pattern=UID_PATTERN, max_length=64)]

_UPLOAD_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The files of one study, in any order and under any names.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                }
            },
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

router = APIRouter(
    prefix="/v1/studies",
    tags=["studies"],
    responses=RESPONSES,
)
may_submit: Final = Depends(require(Scope.SUBMIT))
may_read: Final = Depends(require(Scope.READ))
may_delete: Final = Depends(require(Scope.ADMIN))


@router.post(
    "",
    status_code=202,
    response_model=Accepted,
    openapi_extra=_UPLOAD_BODY,
    dependencies=[may_submit],
    responses={200: {"model": StudyReport, "description": "The report, with ?wait="}},
)
async def submit_study(
    request: Request,
    grant: Granted,
    wait: Annotated[float | None, Query(ge=0, description="Seconds to wait for the report")] = None,
) -> Response:
    """Hand in one study: its files as multipart/form-data, or one zip archive."""
    jobs: Jobs = request.app.state.jobs
    settings = request.app.state.settings
    if wait is not None and wait > settings.max_wait_s:
        raise too_long(settings.max_wait_s)
    if wait is not None:
        check_scope(grant, (Scope.READ,))
    choose(request.headers.get("accept"), REPORT_TYPES)
    limits = BodyLimits(settings.max_upload_mb << 20, settings.receive_timeout_s)
    job = await _take_over(request, jobs, limits)
    request.state.job_id = job.job_id
    return await answer_of(jobs, job, request, wait)


@router.get("", response_model=StudyList, dependencies=[may_read])
def list_studies(request: Request) -> StudyList:
    """Every study handed in, newest first."""
    jobs: Jobs = request.app.state.jobs
    return StudyList(studies=tuple(document(job) for job in jobs.listing()))


@router.get(
    "/{study_uid}/report",
    response_model=StudyReport,
    dependencies=[may_read],
    responses={200: {"content": {media_type: {} for media_type in REPORT_TYPES}}},
)
def get_report(request: Request, study_uid: StudyUid) -> Response:
    """The newest report of a study, by Accept: JSON, HTML, FHIR, or DICOM SR."""
    jobs: Jobs = request.app.state.jobs
    return report_response(jobs, job_of(jobs, study_uid), request)


@router.get(
    "/{study_uid}/segmentation",
    response_class=FileResponse,
    dependencies=[may_read],
    responses={200: {"content": {DICOM_TYPE: {}}}},
)
def get_segmentation(request: Request, study_uid: StudyUid) -> Response:
    """Bodies and edema of the newest report, as a DICOM segmentation."""
    jobs: Jobs = request.app.state.jobs
    return _file(jobs.results(job_of(jobs, study_uid).job_id) / "seg.dcm", DICOM_TYPE)


@router.delete("/{study_uid}", status_code=204, dependencies=[may_delete])
def delete_study(request: Request, study_uid: StudyUid) -> Response:
    """Remove all that is kept of a study: what came in, its reports, what readers said of it.

    What was delivered to other systems stays there.
    """
    jobs: Jobs = request.app.state.jobs
    gateway = getattr(request.app.state, "gateway", None)
    removed = jobs.remove_study(study_uid)
    received = gateway.forget(study_uid) if gateway is not None else False
    if not removed and not received:
        raise ProblemError(404, "study_not_found", "Nothing is kept of this study.")
    return Response(status_code=204)


@router.get(
    "/{study_uid}/key-images/{number}.png", response_class=FileResponse, dependencies=[may_read]
)
def get_key_image(
    request: Request, study_uid: StudyUid, number: Annotated[int, PathParameter(ge=1, le=999)]
) -> Response:
    """A key image; 1 is the overview."""
    jobs: Jobs = request.app.state.jobs
    path = jobs.results(job_of(jobs, study_uid).job_id) / f"key-{number}.png"
    if not path.is_file():
        raise ProblemError(404, "key_image_not_found", "The report has no such key image.")
    return FileResponse(path, media_type="image/png")


@router.get("/{study_uid}/levels/{level}", response_model=LevelReport, dependencies=[may_read])
def get_level(request: Request, study_uid: StudyUid, level: str) -> Response:
    """What the newest report of a study says of one level."""
    if level not in LEVELS:
        raise ProblemError(422, "validation_failed", "The level is not one of C1 to S1.")
    jobs: Jobs = request.app.state.jobs
    job = job_of(jobs, study_uid)
    content = (jobs.results(job.job_id) / "report.json").read_bytes()
    for entry in json.loads(content)["levels"]:
        if entry["level"] == level:
            return JSONResponse(entry)
    raise ProblemError(404, "level_not_found", "The report does not speak of this level.")


def report_response(jobs: Jobs, job: Job, request: Request) -> Response:
    """The report of a job that has one, in the form that the client asks for."""
    folder: Path = jobs.results(job.job_id)
    # Which report of the study this is: a review has to name it.
    headers = {"Vary": "Accept", "Content-Location": links_of(job)["report"]}
    wanted = choose(request.headers.get("accept"), REPORT_TYPES)
    if wanted == FHIR_TYPE:
        return _file(folder / "fhir.json", FHIR_TYPE, headers)
    if wanted == DICOM_TYPE:
        return _file(folder / "sr.dcm", DICOM_TYPE, headers)
    if wanted == HTML_TYPE:
        return FileResponse(
            folder / "report.html",
            media_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": REPORT_POLICY, **headers},
        )
    return FileResponse(folder / "report.json", media_type=JSON_TYPE, headers=headers)


def _file(path: Path, media_type: str, headers: dict[str, str] | None = None) -> Response:
    """A result that not every report has.

    Raises:
        ProblemError: 404, this one has not.
    """
    if not path.is_file():
        raise ProblemError(404, "result_not_found", "The report has nothing of this kind.")
    return FileResponse(path, media_type=media_type, headers=headers)


def failure_of(job: Job) -> ProblemError:
    """A failed job as a problem; the cause may be gone when it is sent again."""
    reason = job.outcome.reason if job.outcome else None
    code = reason.code if reason else "internal"
    unavailable = code in {"bundle_missing", "bundle_invalid", "interrupted", "storage"}
    return ProblemError(
        503 if unavailable else 500,
        code,
        f"{reason.message if reason else 'the study could not be read'}.",
        members={"links": links_of(job)},
    )


def too_long(max_wait_s: float) -> ProblemError:
    """A client wants to wait longer than it may."""
    return ProblemError(422, "validation_failed", f"`wait` may be at most {max_wait_s:g} seconds.")


async def _take_over(request: Request, jobs: Jobs, limits: BodyLimits) -> Job:
    await run_in_threadpool(jobs.check_room, stated_length(request, limits.body_bytes))
    upload = await run_in_threadpool(jobs.new_upload)
    taken = False
    try:
        await receive_upload(request, upload, limits, jobs.check_room)
        job = await run_in_threadpool(jobs.submit, upload)
        taken = True
    except OSError as error:
        if error.errno in FULL:
            raise DiskFullError("the disk is too full to take more studies") from error
        raise ProblemError(507, "storage", "The study could not be stored.") from error
    finally:
        if not taken:
            await run_in_threadpool(jobs.discard_upload, upload)
    return job


async def answer_of(jobs: Jobs, job: Job, request: Request, wait: float | None) -> Response:
    """The report of a job if it is there within `wait` seconds; else 202 and where to ask."""
    if wait is not None:
        job = await _await_final(jobs, job, wait)
        if job.state.final:
            return _final_answer(jobs, job, request)
    return JSONResponse(
        accepted(job).model_dump(mode="json"),
        status_code=202,
        headers={"Location": links_of(job)["job"]},
    )


async def _await_final(jobs: Jobs, job: Job, seconds: float) -> Job:
    """Wait until a job is over, at most so many seconds; the job as it is then."""
    start = time.monotonic()
    ended, loop = anyio.Event(), asyncio.get_running_loop()

    def tell() -> None:
        with suppress(RuntimeError):  # the server has stopped meanwhile
            loop.call_soon_threadsafe(ended.set)

    with jobs.awaited(job.job_id, tell):
        while not job.state.final and (waited := time.monotonic() - start) < seconds:
            pause = min(max(waited * LOOK_SHARE, LOOK_S[0]), LOOK_S[1], seconds - waited)
            with anyio.move_on_after(pause):
                await ended.wait()
            ended = anyio.Event()
            found = await run_in_threadpool(jobs.get, job.job_id)
            job = found or job
    return job


def _final_answer(jobs: Jobs, job: Job, request: Request) -> Response:
    """The report of a job that is over.

    Raises:
        ProblemError: It has none.
    """
    if job.state is JobState.SUCCEEDED:
        return report_response(jobs, job, request)
    if job.state is JobState.FAILED:
        raise failure_of(job)
    reason = job.outcome.reason if job.outcome else None
    raise ProblemError(
        422,
        reason.code if reason else "no_usable_series",
        reason.message if reason else "No series of the study could be used.",
        members={"links": links_of(job)},
    )


def job_of(jobs: Jobs, study_uid: str) -> Job:
    """The job with the newest report of a study.

    Raises:
        ProblemError: 404, there is none.
    """
    job = jobs.newest_of(study_uid)
    if job is None:
        raise ProblemError(404, "study_not_found", "There is no report of this study.")
    return job
