"""What a job is, and the one seam through which the service submits and reads jobs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict

from models.errors import AcuityError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.report.review import Review, ReviewRecord


class JobState(StrEnum):
    """Where a job stands. `refused` means read to the end, and nothing in it could be reported."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether the job will not change any more by itself."""
        return self in {JobState.SUCCEEDED, JobState.REFUSED, JobState.FAILED}

    @property
    def reported(self) -> bool:
        """Whether a report lies in the job's result folder."""
        return self in {JobState.SUCCEEDED, JobState.REFUSED}


class JobReason(BaseModel):
    """Why a job was refused or failed; `code` is stable, `message` holds no patient data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str
    message: str


class CallSummary(BaseModel):
    """What the list of studies says of a report: levels seen, and names of those with findings.

    Attributes:
        levels: How many vertebrae the report has.
        edema: Levels with marrow edema, cranial to caudal; a body without a name is "Body 101".
        unhealed: Levels with an unhealed fracture.
        healed: Levels with a healed fracture.
        pathological: Levels whose etiology is called pathological.
        abstentions: Codes of what was withheld, each once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    levels: int
    edema: tuple[str, ...] = ()
    unhealed: tuple[str, ...] = ()
    healed: tuple[str, ...] = ()
    pathological: tuple[str, ...] = ()
    abstentions: tuple[str, ...] = ()


class Outcome(BaseModel):
    """How one run of the pipeline ended.

    Attributes:
        state: A final state.
        reason: Set unless the job succeeded.
        study_instance_uid: Of the study that was read; "" when no DICOM was found.
        files_used: How many files' pixels the report rests on.
        content_key: Of `service.report.dicom.identity`: what the report's DICOM objects are named
            by; "" where there are none.
        summary: Of the report, when there is one.
        stages_ms: Milliseconds spent per stage.
        supersedes: `content_key` of the report that this one says it takes the place of.
        supersedes_verified: That report had been verified by a reader.
        verified: A reader has verified this one.
        calls: What is said of the levels, as in `edema/present`, once per level.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: JobState
    reason: JobReason | None = None
    study_instance_uid: str = ""
    files_used: int = 0
    content_key: str = ""
    supersedes: str = ""
    supersedes_verified: bool = False
    verified: bool = False
    calls: tuple[str, ...] = ()
    summary: CallSummary | None = None
    stages_ms: dict[str, float] = {}

    @classmethod
    def failed(cls, code: str, message: str) -> Outcome:
        """A run that gave no report."""
        return cls(state=JobState.FAILED, reason=JobReason(code=code, message=message))


class Job(BaseModel):
    """One study handed in: the record that is kept beside its results.

    Attributes:
        job_id: Derived from the content and from what reads it; see `service.jobs.content`.
        received_at, started_at, finished_at: UTC.
        files: How many files were handed in (members of an archive count).
        stage: The pipeline stage a running job is in.
        outcome: Set when the job is final.
        supersedes: The job of the same study whose report this one's takes the place of.
        superseded_by: The job whose report took the place of this one's.
        batch: Name of the batch that the job is part of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_id: str
    state: JobState
    received_at: datetime
    files: int
    started_at: datetime | None = None
    finished_at: datetime | None = None
    stage: str | None = None
    outcome: Outcome | None = None
    supersedes: str | None = None
    superseded_by: str | None = None
    batch: str | None = None

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID, "" until it is known."""
        return self.outcome.study_instance_uid if self.outcome else ""


class Readiness(BaseModel):
    """Whether work can be done now: named checks, each true or false."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checks: dict[str, bool]

    @property
    def ready(self) -> bool:
        """Whether every check holds."""
        return all(self.checks.values())


@dataclass(frozen=True, slots=True)
class Tally:
    """How often something was seen in finished jobs, and the sum of its seconds where it has."""

    name: str
    label: str
    count: int
    total: float


@dataclass(frozen=True, slots=True)
class Depth:
    """How many jobs are in a state; when the oldest was received, in seconds since the epoch."""

    state: JobState
    count: int
    oldest: float


class QueueFullError(AcuityError):
    """No room for another study now; try again later."""

    code = "queue_full"


class Jobs(Protocol):
    """The seam: everything the API asks of the work behind it. All methods are thread-safe."""

    def start(self) -> None:
        """Begin to work; returns at once."""

    def close(self) -> None:
        """Stop work and free what it holds; what is open goes on after the next start."""

    def new_upload(self) -> Path:
        """Make an empty folder for a request body, on the disk that `submit` takes it from.

        Raises:
            DiskFullError: The disk is at its watermark.
        """

    def check_room(self, coming_bytes: int = 0) -> None:
        """Look at the disk before more is taken.

        Raises:
            DiskFullError: The disk would be at its watermark.
        """

    def discard_upload(self, upload: Path) -> None:
        """Remove an upload folder that will not be submitted; one that is gone is fine."""

    def submit(self, upload: Path) -> Job:
        """Take over an upload folder (of files, or of one zip archive) and queue its study.

        The same content gives the same job; one that failed is tried again.

        Raises:
            QueueFullError: The bounded queue is full; the upload is still the caller's.
            InvalidArchiveError: The archive cannot be read.
        """

    def submit_folder(self, folder: Path, batch: str) -> Job:
        """Queue a study that stays where it is, as part of a batch."""

    def submit_review(self, reviewed: Job, review: Review) -> Job:
        """Queue what a reader says of a job's report; the same word again is the same job.

        Raises:
            ReportSupersededError: Another report of the study stands.
            ReviewError: The review contradicts itself or the report.
            FindingsError: The report was written by another version.
            ImagesGoneError: The images are not kept any more.
            QueueFullError: Too many studies wait.
        """

    def reviews(self) -> tuple[ReviewRecord, ...]:
        """What readers said, oldest first."""

    def get(self, job_id: str) -> Job | None:
        """The job, or None when there is none."""

    def awaited(self, job_id: str, told: Callable[[], None]) -> AbstractContextManager[None]:
        """While the block runs, call `told`, from any thread, when the job was read here.

        It may have to be read again, or be read by another process: whoever waits for its end looks
        at the job then, and now and then meanwhile.
        """

    def newest_of(self, study_instance_uid: str) -> Job | None:
        """The job whose report stands for a study, or None."""

    def listing(self, batch: str | None = None) -> tuple[Job, ...]:
        """The jobs handed in one by one, or those of a batch, newest first."""

    def reported_since(self, moment: float) -> tuple[Job, ...]:
        """Jobs with a report that ended at or after a time, in order; batches apart."""

    def results(self, job_id: str) -> Path:
        """Folder with the files of a report."""

    def remove_study(self, study_instance_uid: str) -> int:
        """Remove all that is kept of a study, also of one that waits; how many jobs that were."""

    def tallies(self) -> tuple[Tally, ...]:
        """What finished jobs came to."""

    def deliveries(self) -> Mapping[str, int]:
        """How many deliveries wait, are done, and were given up, by state."""

    def depth(self) -> tuple[Depth, ...]:
        """Jobs by state, and how old they are."""

    def readiness(self) -> Readiness:
        """Whether a study sent now would be worked on."""
