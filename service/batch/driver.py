"""Hand studies to the queue, a few ahead of the workers, and fetch what they leave.

What is under way is known to the journal and to the queue, both of which survive. After any
interruption the same call goes on: studies that are done stay done, a job that was under way is
found again, and only what is missing is submitted.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import structlog

from models.errors import AcuityError
from service.batch.fetching import discard, fetch
from service.batch.journal import Journal, StudyState
from service.batch.sources import Sources
from service.batch.workplace import Workplace
from service.deidentify.identities import Identities
from service.ingest.refusals import RefusedError
from service.jobs.job import Job, JobState, Outcome

log = structlog.get_logger()

POLL_S: Final = 0.05
"""How often finished jobs are looked for."""

_STATES: Final = {
    JobState.SUCCEEDED: StudyState.REPORTED,
    JobState.REFUSED: StudyState.REFUSED,
    JobState.FAILED: StudyState.FAILED,
}


class BatchJobs(Protocol):
    """What a batch asks of the jobs."""

    def submit_folder(self, folder: Path, batch: str) -> Job:
        """Queue a study that stays where it is."""

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""

    def ended(self, job_ids: Collection[str]) -> tuple[Job, ...]:
        """Those of some jobs that are final."""

    def results(self, job_id: str) -> Path:
        """Folder with the files of a report."""


@dataclass(slots=True)
class Driver:
    """Takes the studies of a journal through the queue.

    Attributes:
        place: Where the batch lives.
        sources: Where studies are read from.
        jobs: The queue.
        ahead: Studies that are submitted and not fetched yet, at most. It bounds the disk that
            gathered studies take.
        identities: New names for study folders; None where studies keep their identity.
        on_study: Told every study that becomes final.
    """

    place: Workplace
    sources: Sources
    jobs: BatchJobs
    ahead: int
    identities: Identities | None = None
    on_study: Callable[[StudyState], None] = lambda _state: None
    _under_way: dict[str, tuple[str, str]] = field(default_factory=dict)

    def run(self) -> None:
        """Read every study that is not final; returns when all are."""
        self.sources.release_all_but(self.place.journal.open_fingerprints())
        for study in self.place.journal.open_studies():
            self._await_fewer_than(self.ahead)
            self._submit(study)
        self._await_fewer_than(1)

    def _await_fewer_than(self, most: int) -> None:
        self._collect()
        while len(self._under_way) >= most:
            time.sleep(POLL_S)
            self._collect()

    def _submit(self, study: str) -> None:
        row = self.place.journal.study(study)
        if row is None:
            return
        job = None if row.job_id is None else self.jobs.get(row.job_id)
        # A job that an earlier run submitted: a failed one is what this run is to try again.
        if job is None or job.state is JobState.FAILED:
            try:
                source = self.sources.of(study, row.fingerprint)
                job = self.jobs.submit_folder(source, self.place.batch)
            except RefusedError as error:
                self._fail(study, row.fingerprint, error.refusal.code, error.refusal.reason)
                return
            except AcuityError as error:
                self._fail(study, row.fingerprint, error.code, str(error))
                return
            except OSError as error:
                log.warning("storage_failed", errno=error.errno)
                self._fail(study, row.fingerprint, "storage", "the study's files cannot be read")
                return
            self.place.journal.submitted(study, job.job_id)
        self._under_way[job.job_id] = (study, row.fingerprint)

    def _collect(self) -> None:
        if not self._under_way:
            return
        for job in self.jobs.ended(tuple(self._under_way)):
            study, fingerprint = self._under_way.pop(job.job_id)
            outcome = job.outcome or Outcome.failed("internal", "the study could not be read")
            if outcome.state.reported:
                self._fetch(study, job.job_id, outcome)
            else:
                self._end(study, outcome, None)
            self.sources.release(fingerprint)

    def _fetch(self, study: str, job_id: str, outcome: Outcome) -> None:
        folder = self._folder_of(study)
        try:
            fetch(self.jobs.results(job_id), self.place.out / folder, self.place.scratch)
        except OSError as error:
            log.warning("storage_failed", errno=error.errno)
            self._end(study, Outcome.failed("storage", "the results cannot be written"), None)
        else:
            self._end(study, outcome, folder)

    def _fail(self, study: str, fingerprint: str, code: str, reason: str) -> None:
        self._end(study, Outcome.failed(code, reason), None)
        self.sources.release(fingerprint)

    def _end(self, study: str, outcome: Outcome, folder: str | None) -> None:
        if folder is None:  # of an earlier run, with other files
            discard(self.place.out / self._folder_of(study), self.place.scratch)
        state = _STATES[outcome.state]
        self.place.journal.ended(study, state, folder, outcome.model_dump(mode="json"))
        self.on_study(state)

    def _folder_of(self, study: str) -> str:
        return study if self.identities is None else self.identities.uid(study)


def expect_studies(journal: Journal, engine: str) -> None:
    """Note every study that was found. One that was read keeps its results when its files are gone.

    Args:
        journal: After `service.batch.discovery.discover`.
        engine: What reads them; a study read by another engine is read again.
    """
    for study in journal.study_uids():
        digest = hashlib.sha256(engine.encode())
        for file in journal.files_of(study):
            line = (file.path.hex(), file.member, file.size, file.changed_ns)
            digest.update(repr(line).encode())
        journal.expect(study, digest.hexdigest()[:32])
    journal.forget_unread_without_files()
