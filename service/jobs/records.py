"""Rows of the jobs table as `Job` values, and the few ways in which a row changes."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    and_,
    exists,
    func,
    insert,
    not_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from service.jobs.database import DISPATCHED, JOBS, OUTBOX, TALLIES, WaitState
from service.jobs.job import Depth, Job, JobState, Outcome, Tally
from service.jobs.tallies import add_to_tallies, tallies_of

FINISH: Final = "finish"
"""The stage of a job whose report is being put in its place."""

_OPEN = (JobState.QUEUED, JobState.RUNNING)
_REPORTED = (JobState.SUCCEEDED, JobState.REFUSED)
_WAITING = OUTBOX.c.state == WaitState.WAITING

REMOVED: Final = "removed"
"""Code of a delivery that was given up because its job was removed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a job's study lies.

    Attributes:
        source: What is read, relative to the work folder where it lies in it.
        upload: The folder to remove in the end; None where it belongs to somebody else.
        study_instance_uid: As far as known before the study is read.
    """

    source: str
    upload: str | None
    study_instance_uid: str = ""


class JobRecords:
    """The jobs table. Every method is one transaction.

    Args:
        engine: Of a migrated database.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def add(self, job: Job, entry: Entry) -> bool:
        """Write a job down; False when there is one of this id already."""
        row = {
            "job_id": job.job_id,
            "attempt": 1,
            "state": job.state,
            "received_at": job.received_at.timestamp(),
            "files": job.files,
            "study_instance_uid": entry.study_instance_uid,
            "files_used": 0,
            "source": entry.source,
            "upload": entry.upload,
            "batch": job.batch,
            "deaths": 0,
        }
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(JOBS).values(**row))
        except IntegrityError:
            return False
        return True

    def renew(self, job: Job, entry: Entry) -> int | None:
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
                    deaths=0,
                    study_instance_uid=entry.study_instance_uid,
                    source=entry.source,
                    upload=entry.upload,
                )
            )
            if changed.rowcount != 1:
                return None
            found = select(JOBS.c.attempt).where(JOBS.c.job_id == job.job_id)
            return int(connection.execute(found).scalar_one())

    def begin(self, job_id: str) -> Row[Any] | None:
        """Note that a run begins; the job's row, or None when there is nothing left to do."""
        with self.engine.begin() as connection:
            connection.execute(
                update(JOBS)
                .where(and_(JOBS.c.job_id == job_id, JOBS.c.state.in_(_OPEN)))
                .values(
                    state=JobState.RUNNING,
                    started_at=time.time(),
                    stage=None,
                    deaths=JOBS.c.deaths + 1,
                )
            )
            row = connection.execute(select(JOBS).where(JOBS.c.job_id == job_id)).first()
        return None if row is None or JobState(row.state).final else row

    def put_back(self, row: Row[Any], *, died: bool) -> bool:
        """Let a job wait for its next attempt; False when another process was first.

        Args:
            row: Of `begin`, or of `open`.
            died: The run ended by the death of a process, which is counted.
        """
        with self.engine.begin() as connection:
            changed = connection.execute(
                update(JOBS)
                .where(
                    and_(
                        JOBS.c.job_id == row.job_id,
                        JOBS.c.attempt == row.attempt,
                        JOBS.c.state.in_(_OPEN),
                    )
                )
                .values(
                    attempt=row.attempt + 1,
                    state=JobState.QUEUED,
                    started_at=None,
                    stage=None,
                    deaths=row.deaths if died else max(0, row.deaths - 1),
                )
            )
        return changed.rowcount == 1

    def note_stage(self, job_id: str, stage: str) -> None:
        """Write down where a run stands."""
        with self.engine.begin() as connection:
            connection.execute(
                update(JOBS)
                .where(and_(JOBS.c.job_id == job_id, JOBS.c.state == JobState.RUNNING))
                .values(stage=stage)
            )

    @contextmanager
    def closing(self, job_id: str, study_instance_uid: str) -> Iterator[Closing | None]:
        """Bring a job to its end; nobody else ends a job of the same study meanwhile.

        Yields:
            None when the job was brought to its end before, or removed.
        """
        with self.engine.begin() as connection:
            if self.engine.dialect.name == "postgresql":
                # Two workers may end two jobs of a study at once: one has to see the other's.
                lock = func.pg_advisory_xact_lock(func.hashtext(study_instance_uid))
                connection.execute(select(lock))
            # SQLite has one writer: from its first write on, this transaction is alone.
            mine = connection.execute(
                update(JOBS)
                .where(and_(JOBS.c.job_id == job_id, JOBS.c.state.in_(_OPEN)))
                .values(stage=FINISH)
            )
            yield Closing(connection, job_id) if mine.rowcount == 1 else None

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
        """How many jobs wait, batches apart."""
        with self.engine.connect() as connection:
            asked = select(func.count()).where(
                and_(_of_batch(None), JOBS.c.state == JobState.QUEUED)
            )
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

    def reported_since(self, moment: float) -> tuple[Job, ...]:
        """Jobs with a report that ended at or after a time, in order; batches apart."""
        asked = (
            select(JOBS)
            .where(
                and_(
                    _of_batch(None),
                    JOBS.c.state.in_(_REPORTED),
                    JOBS.c.finished_at >= moment,
                )
            )
            .order_by(JOBS.c.finished_at)
        )
        with self.engine.connect() as connection:
            return tuple(job_of(row) for row in connection.execute(asked))

    def ended(self, job_ids: Collection[str]) -> tuple[Job, ...]:
        """Those of some jobs that are final."""
        asked = select(JOBS).where(and_(JOBS.c.job_id.in_(job_ids), JOBS.c.state.not_in(_OPEN)))
        with self.engine.connect() as connection:
            return tuple(job_of(row) for row in connection.execute(asked))

    def uploads(self) -> set[str]:
        """Upload folders that open jobs still read, as noted."""
        asked = select(JOBS.c.upload).where(
            and_(JOBS.c.state.in_(_OPEN), JOBS.c.upload.is_not(None))
        )
        with self.engine.connect() as connection:
            return {str(row.upload) for row in connection.execute(asked)}

    def settled_before(self, moment: float, undelivered: float | None = None) -> Sequence[str]:
        """Ids of jobs that ended before a time and whose reports are owed to nobody any more.

        Args:
            moment: Seconds since the epoch.
            undelivered: Reports that ended after this time are owed until their deliveries are
                written down; None where none are.
        """
        owed = exists().where(and_(OUTBOX.c.job_id == JOBS.c.job_id, _WAITING))
        conditions = [JOBS.c.finished_at < moment, not_(owed)]
        if undelivered is not None:
            unwritten = and_(
                _of_batch(None),
                JOBS.c.state.in_(_REPORTED),
                JOBS.c.finished_at >= undelivered,
                not_(exists().where(DISPATCHED.c.job_id == JOBS.c.job_id)),
            )
            conditions.append(not_(unwritten))
        asked = select(JOBS.c.job_id).where(and_(*conditions))
        with self.engine.connect() as connection:
            return [str(row.job_id) for row in connection.execute(asked)]

    def of_study(self, study_instance_uid: str) -> Sequence[str]:
        """Ids of every job of a study, batches apart: read, waiting, or failed."""
        asked = select(JOBS.c.job_id).where(
            and_(_of_batch(None), JOBS.c.study_instance_uid == study_instance_uid)
        )
        with self.engine.connect() as connection:
            return [str(row.job_id) for row in connection.execute(asked)]

    def remove(self, job_id: str) -> Row[Any] | None:
        """Forget a job; what was known of it. What was to be delivered of it is given up."""
        with self.engine.begin() as connection:
            connection.execute(
                update(OUTBOX)
                .where(and_(OUTBOX.c.job_id == job_id, _WAITING))
                .values(state=WaitState.FAILED, code=REMOVED)
            )
            row = connection.execute(select(JOBS).where(JOBS.c.job_id == job_id)).first()
            connection.execute(JOBS.delete().where(JOBS.c.job_id == job_id))
        return row

    def tallies(self) -> tuple[Tally, ...]:
        """What finished jobs came to, since this database was made."""
        with self.engine.connect() as connection:
            rows = connection.execute(select(TALLIES).order_by(TALLIES.c.name, TALLIES.c.label))
            return tuple(Tally(*row) for row in rows)

    def deliveries(self) -> Mapping[str, int]:
        """How many deliveries wait, are done, and were given up."""
        asked = select(OUTBOX.c.state, func.count()).group_by(OUTBOX.c.state)
        with self.engine.connect() as connection:
            found = {str(state): int(count) for state, count in connection.execute(asked)}
        return {state.value: found.get(state.value, 0) for state in WaitState}

    def depth(self) -> tuple[Depth, ...]:
        """Jobs by state, and when the oldest of each came."""
        asked = select(JOBS.c.state, func.count(), func.min(JOBS.c.received_at)).group_by(
            JOBS.c.state
        )
        with self.engine.connect() as connection:
            return tuple(
                Depth(JobState(state), count, oldest)
                for state, count, oldest in connection.execute(asked)
            )


class Closing:
    """One job on its way to its end, inside one transaction; see `JobRecords.closing`."""

    def __init__(self, connection: Connection, job_id: str) -> None:
        self._connection = connection
        self._job_id = job_id

    def rivals(self, study_instance_uid: str, batch: str | None) -> Sequence[Row[Any]]:
        """Other reported jobs of a study, of the same batch, that nothing supersedes yet."""
        asked = select(JOBS).where(
            and_(
                _of_batch(batch),
                JOBS.c.study_instance_uid == study_instance_uid,
                JOBS.c.job_id != self._job_id,
                JOBS.c.state.in_(_REPORTED),
                JOBS.c.superseded_by.is_(None),
            )
        )
        return self._connection.execute(asked).all()

    def conclude(self, outcome: Outcome, **values: object) -> None:
        """Write the outcome down, and count it."""
        if outcome.study_instance_uid:
            values["study_instance_uid"] = outcome.study_instance_uid
        self._change(
            self._job_id,
            state=outcome.state,
            outcome=outcome.model_dump_json(),
            finished_at=time.time(),
            stage=None,
            files_used=outcome.files_used,
            **values,
        )
        add_to_tallies(self._connection, tallies_of(outcome))

    def supersede(self, job_id: str) -> None:
        """Write down that this job's report takes the place of another's."""
        self._change(job_id, superseded_by=self._job_id)

    def _change(self, job_id: str, **values: object) -> None:
        self._connection.execute(update(JOBS).where(JOBS.c.job_id == job_id).values(**values))


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
