"""Routes: jobs and their events."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Final

import anyio
from fastapi import APIRouter, Depends, Request, Response
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from service.api.access import require
from service.api.problems import RESPONSES, ProblemError
from service.api.schemas import JobDocument, document
from service.api.studies import POLL_S, failure_of, report_response
from service.jobs.folders import JOB_ID
from service.jobs.job import Job, Jobs
from service.jobs.keys import Scope
from service.report.document import StudyReport

KEEP_ALIVE_S: Final = 15.0
"""Silence after which a comment is sent, so that proxies do not close the stream."""

JobId = Annotated[str, PathParameter(pattern=f"^{JOB_ID.pattern}$")]

router = APIRouter(
    prefix="/v1/jobs",
    tags=["jobs"],
    dependencies=[Depends(require(Scope.SUBMIT, Scope.READ, Scope.REVIEW))],
    responses=RESPONSES,
)


@router.get("/{job_id}", response_model=JobDocument)
async def get_job(request: Request, job_id: JobId) -> JobDocument:
    """Where a job stands."""
    return document(await _find(request.app.state.jobs, job_id))


@router.get(
    "/{job_id}/report", response_model=StudyReport, dependencies=[Depends(require(Scope.READ))]
)
async def get_job_report(request: Request, job_id: JobId) -> Response:
    """The report of a job; a refused job's report says why nothing could be read."""
    jobs: Jobs = request.app.state.jobs
    job = await _find(jobs, job_id)
    if not job.state.final:
        raise ProblemError(409, "job_not_finished", "The job has no report yet.")
    if not job.state.reported:
        raise failure_of(job)
    return report_response(jobs, job, request)


@router.get("/{job_id}/events", response_class=StreamingResponse)
async def follow_job(request: Request, job_id: JobId) -> StreamingResponse:
    """Server-sent events: the job's document at every change, until it is final."""
    jobs: Jobs = request.app.state.jobs
    job = await _find(jobs, job_id)
    return StreamingResponse(_events(jobs, job), media_type="text/event-stream")


async def _find(jobs: Jobs, job_id: str) -> Job:
    job = await run_in_threadpool(jobs.get, job_id)
    if job is None:
        raise ProblemError(404, "job_not_found", "There is no job of this id.")
    return job


async def _events(jobs: Jobs, job: Job) -> AsyncIterator[str]:
    said: Job | None = None
    silent_since = time.monotonic()
    while True:
        if job != said:
            yield f"event: job\ndata: {document(job).model_dump_json()}\n\n"
            said, silent_since = job, time.monotonic()
        if job.state.final:
            return
        if time.monotonic() - silent_since > KEEP_ALIVE_S:
            yield ": waiting\n\n"
            silent_since = time.monotonic()
        await anyio.sleep(POLL_S)
        found = await run_in_threadpool(jobs.get, job.job_id)
        job = found or job
