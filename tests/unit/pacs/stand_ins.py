"""Jobs that only remember, and instances to send."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from pydicom.dataset import FileDataset

from models.errors import AcuityError
from service.jobs.job import Job, JobState, Outcome, Readiness
from tests import builders

STUDY = builders.uid("study")


@dataclass
class RememberingJobs:
    """The `Jobs` seam without work behind it: every study is done at once."""

    root: Path
    fault: AcuityError | None = None
    submitted: list[frozenset[str]] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)

    def start(self) -> None: ...

    def close(self) -> None: ...

    def new_upload(self) -> Path:
        upload = self.root / "uploads" / uuid4().hex
        upload.mkdir(parents=True)
        return upload

    def discard_upload(self, upload: Path) -> None:
        shutil.rmtree(upload, ignore_errors=True)

    def submit(self, upload: Path) -> Job:
        if self.fault is not None:
            raise self.fault
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in upload.iterdir()]
        self.submitted.append(frozenset(digests))
        job_id = hashlib.sha256("".join(sorted(set(digests))).encode()).hexdigest()[:32]
        self.discard_upload(upload)
        return self.finish(job_id, files=len(digests))

    def finish(self, job_id: str, files: int = 1, state: JobState = JobState.SUCCEEDED) -> Job:
        """Make a job that is over, with an object among its results."""
        self.jobs[job_id] = Job(
            job_id=job_id,
            state=state,
            received_at=datetime.now(UTC),
            files=files,
            outcome=Outcome(state=state, study_instance_uid=STUDY),
        )
        return self.jobs[job_id]

    def get(self, job_id: str) -> Job | None:
        return self.jobs.get(job_id)

    def newest_of(self, study_instance_uid: str) -> Job | None:
        found = [job for job in self.jobs.values() if job.study_instance_uid == study_instance_uid]
        return found[-1] if found else None

    def listing(self) -> tuple[Job, ...]:
        return tuple(reversed(self.jobs.values()))

    def reported_since(self, moment: float) -> tuple[Job, ...]:
        reported = (job for job in self.jobs.values() if job.state.reported)
        return tuple(job for job in reported if job.received_at.timestamp() >= moment)

    def results(self, job_id: str) -> Path:
        return self.root / "studies" / job_id

    def readiness(self) -> Readiness:
        return Readiness(checks={})


def instances(count: int = 3, series: str = "series", study: str = "study") -> list[FileDataset]:
    """A small classic stack of one study."""
    return builders.classic_stack(builders.ramp(count, 12, 10), study=study, series=series)


def own(instance: FileDataset) -> FileDataset:
    """Turn an instance into one of our own results."""
    instance.ManufacturerModelName = "vertebral-acuity"
    return instance
