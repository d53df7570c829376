"""Routes: studies pulled from configured archives."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from service.api.access import require
from service.api.dicomweb import STUDY_UID
from service.api.problems import RESPONSES, ProblemError
from service.jobs.keys import Scope
from service.pacs.gateway import Gateway
from service.pacs.retrieval import Retrieval, RetrievalState, UnknownSourceError

router = APIRouter(
    prefix="/v1/retrievals",
    tags=["retrievals"],
    dependencies=[Depends(require(Scope.SUBMIT))],
    responses=RESPONSES,
)


class RetrievalRequest(BaseModel):
    """What to pull. The source may be left out where one archive is configured.

    `complete` says that the archive holds the whole study, so that it is read at once. A router
    that tells of series as they come sends false: the study is read once nothing new of it came for
    the quiet period.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"study_instance_uid": "1.2.826.0.1.3680043.8.498.1", "source": "archive"}]
        },
    )

    study_instance_uid: Annotated[str, Field(pattern=STUDY_UID, max_length=64)]
    source: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    complete: bool = True


class RetrievalDocument(BaseModel):
    """Where a pull stands; its `job` link appears once the study was handed to a job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    retrieval_id: str
    source: str
    study_instance_uid: str
    state: RetrievalState
    code: str | None
    instances: int | None
    job_id: str | None
    links: dict[str, str]


@router.post("", status_code=202, response_model=RetrievalDocument)
async def request_retrieval(
    request: Request, response: Response, wanted: RetrievalRequest
) -> RetrievalDocument:
    """Pull a study in the background. The promise is kept over restarts and archive outages."""
    gateway: Gateway = request.app.state.gateway
    try:
        retrieval = await run_in_threadpool(
            gateway.retrievals.request,
            wanted.study_instance_uid,
            wanted.source,
            complete=wanted.complete,
        )
    except UnknownSourceError as error:
        raise ProblemError(422, error.code, f"{error}.") from error
    document = _document(retrieval)
    response.headers["Location"] = document.links["self"]
    return document


@router.get("/{retrieval_id}", response_model=RetrievalDocument)
async def get_retrieval(
    request: Request, retrieval_id: Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$")]
) -> RetrievalDocument:
    """Where a pull stands."""
    gateway: Gateway = request.app.state.gateway
    retrieval = await run_in_threadpool(gateway.retrievals.get, retrieval_id)
    if retrieval is None:
        raise ProblemError(404, "retrieval_not_found", "There is no retrieval of this id.")
    return _document(retrieval)


def _document(retrieval: Retrieval) -> RetrievalDocument:
    links = {"self": f"/v1/retrievals/{retrieval.retrieval_id}"}
    if retrieval.job_id is not None:
        links["job"] = f"/v1/jobs/{retrieval.job_id}"
    return RetrievalDocument(**retrieval.model_dump(), links=links)
