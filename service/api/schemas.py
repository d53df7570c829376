"""What the API says of a job and of the list of studies."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from service.jobs.job import CallSummary, Job, JobReason, JobState


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Accepted(_Schema):
    """Answer to a study that was taken over."""

    job_id: str
    state: JobState
    links: dict[str, str]


class JobDocument(_Schema):
    """Where a job stands. A report that was refused is still there to say why."""

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
