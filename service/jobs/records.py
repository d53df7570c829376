"""Rows of the jobs table as `Job` values, and the few ways in which a row changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from service.jobs.database import JOBS
from service.jobs.job import Job, JobState, Outcome

_OPEN = (JobState.QUEUED, JobState.RUNNING)
_REPORTED = (JobState.SUCCEEDED, JobState.REFUSED)


class JobRecords:
    """The jobs table. Every method is one transaction.

    Args:
        engine: Of a migrated database.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def add(self, job: Job, source: str, upload: str | None, batch: str | None) -> bool:
        """Write a job down; False when there is one of this id already."""
        row = {
            "job_id": job.job_id,
            "attempt": 1,
            "state": job.state,
            "received_at": job.received_at.timestamp(),
            "files": job.files,
            "study_instance_uid": "",
            "files_used": 0,
            "source": source,
            "upload": upload,
            "batch": batch,
        }
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(JOBS).values(**row))
        except IntegrityError:
            return False
        return True

    def renew(self, job: Job, source: str, upload: str | None) -> int | None:
        """Queue a failed job again; its new attempt, None when it is not failed any more."""
        with self.engine.begin() as connection:
            changed = connection.execute(
                update(JOBS)
                .where(and_(JOBS.c.job_id == job.job_id, JOBS.c.state == JobState.FAILED))
                .values(
                    state=JobState.QUEUED,
                    attempt=JOBS.c.attempt + 1,
                    received_at=job.received_at.timestamp(),
                    started_at=None,
                    finished_at=None,
                    outcome=None,
                    stage=None,
                    source=source,
                    upload=upload,
                )
            )
            if changed.rowcount != 1:
                return None
            found = select(JOBS.c.attempt).where(JOBS.c.job_id == job.job_id)
            return int(connection.execute(found).scalar_one())

    def next_attempt(self, job_id: str, attempt: int) -> bool:
        """Move an open job to its next attempt; False when another process was first."""
        with self.engine.begin() as connection:
            changed = connection.execute(
                update(JOBS)
                .where(
                    and_(
                        JOBS.c.job_id == job_id,
                        JOBS.c.attempt == attempt - 1,
                        JOBS.c.state.in_(_OPEN),
                    )
                )
                .values(attempt=attempt, state=JobState.QUEUED)
            )
        return changed.rowcount == 1

    def change(self, job_id: str, **values: object) -> None:
        """Write values of a job."""
        with self.engine.begin() as connection:
            connection.execute(update(JOBS).where(JOBS.c.job_id == job_id).values(**values))

    def row(self, job_id: str) -> Row[Any] | None:
        """All that is kept of a job, or None."""
        with self.engine.connect() as connection:
            return connection.execute(select(JOBS).where(JOBS.c.job_id == job_id)).first()

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""
        row = self.row(job_id)
        return None if row is None else job_of(row)

    def all(self, batch: str | None = None) -> tuple[Job, ...]:
        """The jobs that were handed in one by one, or those of a batch, newest first."""
        asked = (
            select(JOBS)
            .where(_of_batch(batch))
            .order_by(JOBS.c.received_at.desc(), JOBS.c.job_id.desc())
        )
        with self.engine.connect() as connection:
            return tuple(job_of(row) for row in connection.execute(asked))

    def open(self) -> Sequence[Row[Any]]:
        """Jobs that wait or run, oldest first."""
        asked = select(JOBS).where(JOBS.c.state.in_(_OPEN)).order_by(JOBS.c.received_at)
        with self.engine.connect() as connection:
            return connection.execute(asked).all()

    def waiting(self) -> int:
        """How many jobs wait."""
        with self.engine.connect() as connection:
            asked = select(func.count()).where(JOBS.c.state == JobState.QUEUED)
            return int(connection.execute(asked).scalar_one())

    def newest_of(self, study_instance_uid: str) -> Job | None:
        """The reported job of a study that nothing supersedes, batches apart, or None."""
        asked = (
            select(JOBS)
            .where(
                and_(
                    _of_batch(None),
                    JOBS.c.study_instance_uid == study_instance_uid,
                    JOBS.c.state.in_(_REPORTED),
                    JOBS.c.superseded_by.is_(None),
                )
            )
            .order_by(JOBS.c.received_at.desc())
            .limit(1)
        )
        with self.engine.connect() as connection:
            row = connection.execute(asked).first()
        return None if row is None else job_of(row)

    def rivals(
        self, job_id: str, study_instance_uid: str, batch: str | None = None
    ) -> Sequence[Row[Any]]:
        """Other reported jobs of a study, of the same batch, that nothing supersedes yet."""
        asked = select(JOBS).where(
            and_(
                _of_batch(batch),
                JOBS.c.study_instance_uid == study_instance_uid,
                JOBS.c.job_id != job_id,
                JOBS.c.state.in_(_REPORTED),
                or_(JOBS.c.superseded_by.is_(None), JOBS.c.superseded_by == job_id),
            )
        )
        with self.engine.connect() as connection:
            return connection.execute(asked).all()

    def ended(self, job_ids: Collection[str]) -> tuple[Job, ...]:
        """Those of some jobs that are final."""
        asked = select(JOBS).where(and_(JOBS.c.job_id.in_(job_ids), JOBS.c.state.not_in(_OPEN)))
        with self.engine.connect() as connection:
            return tuple(job_of(row) for row in connection.execute(asked))

    def uploads(self) -> set[str]:
        """Upload folders that open jobs still read."""
        asked = select(JOBS.c.upload).where(
            and_(JOBS.c.state.in_(_OPEN), JOBS.c.upload.is_not(None))
        )
        with self.engine.connect() as connection:
            return {str(row.upload) for row in connection.execute(asked)}

    def finished_before(self, moment: float) -> Sequence[str]:
        """Ids of jobs that ended before a time, in seconds since the epoch."""
        asked = select(JOBS.c.job_id).where(
            and_(JOBS.c.finished_at.is_not(None), JOBS.c.finished_at < moment)
        )
        with self.engine.connect() as connection:
            return [str(row.job_id) for row in connection.execute(asked)]

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        with self.engine.begin() as connection:
            connection.execute(JOBS.delete().where(JOBS.c.job_id == job_id))


def _of_batch(batch: str | None) -> ColumnElement[bool]:
    # A batch is a matter of its own: it neither delivers, nor takes the place of the service's.
    return JOBS.c.batch.is_(None) if batch is None else JOBS.c.batch == batch


def job_of(row: Row[Any]) -> Job:
    """Read a row."""
    return Job(
        job_id=row.job_id,
        state=JobState(row.state),
        received_at=_moment(row.received_at),
        files=row.files,
        started_at=None if row.started_at is None else _moment(row.started_at),
        finished_at=None if row.finished_at is None else _moment(row.finished_at),
        stage=row.stage,
        outcome=None if row.outcome is None else Outcome.model_validate_json(row.outcome),
        supersedes=row.supersedes,
        superseded_by=row.superseded_by,
        batch=row.batch,
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
