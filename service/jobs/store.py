"""Jobs and their results as folders on disk: a record beside the files it speaks of.

    <work dir>/uploads/<random>/       a request body, until its job is final
    <work dir>/studies/<job id>/       job.json, report.json, report.html, key-*.png, *.nii.gz

The record is written last and appears whole or not at all, so a list read after a crash never
speaks of results that are not there.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from pathlib import Path
from typing import Final
from uuid import uuid4

from pydantic import ValidationError

from service.jobs.job import Job

JOB_ID: Final = re.compile(r"[0-9a-f]{32}")
"""Shape of a job id; anything else never reaches a path."""

_RECORD: Final = "job.json"


class JobFolders:
    """All jobs under a work folder, held in memory and on disk. Thread-safe."""

    def __init__(self, work_dir: Path) -> None:
        self.work_dir = work_dir
        self._studies = work_dir / "studies"
        self._uploads = work_dir / "uploads"
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def open(self) -> tuple[str, ...]:
        """Make the folders, read what a former run left, and clear its uploads.

        Returns:
            Names of folders whose record cannot be read; they are left alone.
        """
        self._studies.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._uploads, ignore_errors=True)
        self._uploads.mkdir(parents=True)
        unreadable = []
        for folder in sorted(self._studies.iterdir()):
            if not JOB_ID.fullmatch(folder.name):
                shutil.rmtree(folder, ignore_errors=True)  # a result that was being written
                continue
            try:
                job = Job.model_validate_json((folder / _RECORD).read_bytes())
            except (OSError, ValidationError):
                unreadable.append(folder.name)
                continue
            self._jobs[folder.name] = job
        return tuple(unreadable)

    def writable(self) -> bool:
        """Whether the work folder takes a file now."""
        probe = self.work_dir / f".probe-{uuid4().hex}"
        try:
            probe.touch()
            probe.unlink()
        except OSError:
            return False
        return True

    def new_upload(self) -> Path:
        """Make an empty folder for a request body."""
        upload = self._uploads / uuid4().hex
        upload.mkdir()
        return upload

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""
        with self._lock:
            return self._jobs.get(job_id)

    def all(self) -> tuple[Job, ...]:
        """Every job, newest first."""
        with self._lock:
            jobs = list(self._jobs.values())
        return tuple(sorted(jobs, key=lambda job: (job.received_at, job.job_id), reverse=True))

    def results(self, job_id: str) -> Path:
        """Folder of a job's record and results."""
        return self._studies / job_id

    def draft(self, job_id: str) -> Path:
        """Make an empty folder in which a run writes its results before they appear."""
        draft = self._studies / f".{job_id}.{uuid4().hex}.part"
        draft.mkdir(parents=True)
        return draft

    def put(self, job: Job) -> None:
        """Keep a record, on disk first."""
        folder = self.results(job.job_id)
        folder.mkdir(parents=True, exist_ok=True)
        _write_record(folder, job)
        with self._lock:
            self._jobs[job.job_id] = job

    def note_stage(self, job_id: str, stage: str) -> None:
        """Remember which stage a running job is in; not worth a write to disk."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None:
                self._jobs[job_id] = job.model_copy(update={"stage": stage})

    def note_final(self, job: Job) -> None:
        """Remember how a job ended when the disk does not take its record."""
        with self._lock:
            self._jobs[job.job_id] = job

    def put_with_results(self, job: Job, draft: Path) -> None:
        """Move a run's results in, then let the record speak of them."""
        folder = self.results(job.job_id)
        for path in sorted(draft.iterdir()):
            path.replace(folder / path.name)
        self.put(job)


def _write_record(folder: Path, job: Job) -> None:
    part = folder / f".{_RECORD}.{uuid4().hex}.part"
    try:
        with part.open("xb") as file:
            file.write(job.model_dump_json(indent=2).encode())
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / _RECORD)
    finally:
        part.unlink(missing_ok=True)
