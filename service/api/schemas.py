"""What the API says of a job and of the list of studies."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from service.jobs.job import CallSummary, Job, JobReason, JobState

_JOB_ID: Final = "5f0c7b1e5f0c7b1e5f0c7b1e5f0c7b1e"


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Accepted(_Schema):
    """Answer to a study that was taken over."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"job_id": _JOB_ID, "state": "queued", "links": {"job": f"/v1/jobs/{_JOB_ID}"}}
            ]
        },
    )

    job_id: str
    state: JobState
    links: dict[str, str]


class JobDocument(_Schema):
    """Where a job stands. A report that was refused is still there to say why."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "job_id": _JOB_ID,
                    "state": "succeeded",
                    "stage": None,
                    "reason": None,
                    "study_instance_uid": "1.2.826.0.1.3680043.8.498.1",
                    "files": 45,
                    "received_at": "2026-01-05T09:30:00Z",
                    "started_at": "2026-01-05T09:30:00Z",
                    "finished_at": "2026-01-05T09:30:02Z",
                    "summary": {"levels": 8, "edema": ["L1"], "unhealed": ["L1"]},
                    "supersedes": None,
                    "superseded_by": None,
                    "links": {
                        "job": f"/v1/jobs/{_JOB_ID}",
                        "report": f"/v1/jobs/{_JOB_ID}/report",
                    },
                }
            ]
        },
    )

    job_id: str
    state: JobState
    stage: str | None
    reason: JobReason | None
    study_instance_uid: str | None
    files: int
    received_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    summary: CallSummary | None
    supersedes: str | None
    superseded_by: str | None
    links: dict[str, str]


class StudyList(_Schema):
    """Every study handed in, newest first."""

    studies: tuple[JobDocument, ...]


class BundleDocument(_Schema):
    """A model bundle on this installation."""

    name: str
    version: str
    sha256: str
    in_use: bool


class BundleList(_Schema):
    """Model bundles, the site's own first."""

    models: tuple[BundleDocument, ...]


def links_of(job: Job) -> dict[str, str]:
    """Where to go on from a job."""
    links = {"job": f"/v1/jobs/{job.job_id}", "events": f"/v1/jobs/{job.job_id}/events"}
    if job.state.reported:
        links["report"] = f"/v1/jobs/{job.job_id}/report"
        if job.study_instance_uid:
            links["study"] = f"/v1/studies/{job.study_instance_uid}/report"
    return links


def accepted(job: Job) -> Accepted:
    """The answer to a study that was taken over."""
    return Accepted(job_id=job.job_id, state=job.state, links=links_of(job))


def document(job: Job) -> JobDocument:
    """A job as clients see it."""
    outcome = job.outcome
    fields: dict[str, Any] = job.model_dump(
        include={
            "job_id",
            "state",
            "stage",
            "files",
            "received_at",
            "started_at",
            "finished_at",
            "supersedes",
            "superseded_by",
        }
    )
    return JobDocument(
        **fields,
        reason=outcome.reason if outcome else None,
        study_instance_uid=job.study_instance_uid or None,
        summary=outcome.summary if outcome else None,
        links=links_of(job),
    )
