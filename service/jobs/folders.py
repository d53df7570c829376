"""Files of jobs on disk.

    <work dir>/uploads/<random>/     a request body, until its job is final
    <work dir>/studies/<job id>/     report.json, report.html, key-*.png, *.nii.gz, *.dcm
    <work dir>/kept/<job id>/        its images, for a while, so that the report can be reviewed
    <work dir>/current/<digest>.json which report of a study is the current one
    <work dir>/batches/<batch>.json  what is written of a batch's studies

The database says what a job is; a folder holds what it left. Results appear before the database
speaks of them, so nothing that is listed is ever missing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from models.durable import flush_folder, settle, write_back, write_durably
from models.errors import AcuityError
from service.jobs.batches import options_path
from service.report.document import Status
from service.report.json_writer import from_json, to_json

JOB_ID: Final = re.compile(r"[0-9a-f]{32}")
"""Shape of a job id; anything else never reaches a path."""

KEEP_DAYS: Final = 7.0

REPORT: Final = "report.json"


class DiskFullError(AcuityError):
    """Less disk is free than the service keeps for itself; try again later."""

    code = "disk_full"


Rank = tuple[int, bool, float]
"""Of `rank_of`."""


def rank_of(files_used: int, received_at: float, *, verified: bool = False) -> Rank:
    """Of two reports of a study the greater stands.

    It used more files; else a reader has verified it; else it is the later one. So another reading
    of the same images never takes the place of a reader's word.
    """
    return files_used, verified, received_at


class CurrentReport(BaseModel):
    """The report that stands for a study.

    Attributes:
        job_id: Whose report it is.
        content_key: What its DICOM objects are named by.
        supersedes: `content_key` of the report that it took the place of.
        supersedes_verified: That report had been verified by a reader.
        rank: Of `rank_of`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_id: str
    content_key: str
    supersedes: str = ""
    supersedes_verified: bool = False
    rank: Rank = (0, False, 0.0)

    def superseded_by(self, job_id: str, rank: Rank) -> tuple[str, bool]:
        """`content_key` of the report that a job's one takes the place of, "" for none; verified?

        A run that is done over after its report was put in its place finds itself standing, and is
        told what the first run was told. A report that ranks lower takes nobody's place.
        """
        if self.job_id == job_id:
            return self.supersedes, self.supersedes_verified
        return (self.content_key, self.rank[1]) if rank >= self.rank else ("", False)


class JobFolders:
    """All files under a work folder.

    Args:
        work_dir: Shared by every process that works on the same jobs.
        min_free_bytes: Below so much free disk nothing more is taken.
        keep_days: How long a study's images are kept after its report; 0 for not at all.
    """

    def __init__(
        self, work_dir: Path, min_free_bytes: int = 0, keep_days: float = KEEP_DAYS
    ) -> None:
        self.work_dir = work_dir
        self.current = work_dir / "current"
        self._studies = work_dir / "studies"
        self._uploads = work_dir / "uploads"
        self._kept = work_dir / "kept"
        self._min_free_bytes = min_free_bytes
        self._keep_s = keep_days * 86_400.0

    def open(self) -> None:
        """Make the folders."""
        for folder in (self._studies, self._uploads, self._kept, self.current):
            folder.mkdir(parents=True, exist_ok=True)

    def located(self, path: str) -> Path:
        """A path as it is noted in a job's record, which is relative inside the work folder."""
        return self.work_dir / path

    def noted(self, path: Path) -> str:
        """A path as it is noted: machines may mount the work folder in different places."""
        inside = path.is_relative_to(self.work_dir)
        return str(path.relative_to(self.work_dir) if inside else path.resolve())

    def begin_flush(self, upload: Path) -> None:
        """Have the disk begin to take an upload, while it is looked at."""
        for path in _files(upload.rglob("*")):
            write_back(path, wait=False)

    def flush(self, upload: Path) -> None:
        """Have the disk hold an upload before anybody is told so."""
        entries = tuple(upload.rglob("*"))
        for path in _files(entries):
            write_back(path)
        settle([*entries, upload])

    def tidy(self, uploads_in_use: Collection[str], older_than_s: float, now: float) -> None:
        """Remove uploads and drafts that nothing reads any more.

        Args:
            uploads_in_use: Of open jobs.
            older_than_s: Younger ones may be being written by another process.
            now: Seconds since the epoch.
        """
        used = {self.located(upload) for upload in uploads_in_use}
        uploads = (path for path in self._uploads.iterdir() if path not in used)
        drafts = (path for path in self._studies.iterdir() if path.name.startswith("."))
        for path in (*uploads, *drafts):
            try:
                stale = now - path.stat().st_mtime > older_than_s
            except FileNotFoundError:
                continue
            if stale:
                shutil.rmtree(path, ignore_errors=True)
        self._tidy_kept(now)

    def _tidy_kept(self, now: float) -> None:
        """Give up images that are old, and at the watermark the oldest before anything new."""
        for path in sorted(self._kept.iterdir(), key=lambda path: path.stat().st_mtime):
            if now - path.stat().st_mtime < self._keep_s and self.has_room():
                return
            shutil.rmtree(path, ignore_errors=True)

    def keep_study(self, job_id: str, upload: Path) -> None:
        """Keep the images of a report; of a run done over they are kept already."""
        if self._keep_s and upload.is_dir():
            with suppress(OSError):  # as good as not kept
                os.utime(upload)
                upload.rename(self._kept / job_id)
        shutil.rmtree(upload, ignore_errors=True)

    def kept_study(self, job_id: str) -> Path | None:
        """Folder of the images behind a report, or None when they are not kept."""
        folder = self._kept / job_id
        return folder if folder.is_dir() else None

    def writable(self) -> bool:
        """Whether the work folder takes a file now."""
        probe = self.work_dir / f".probe-{uuid4().hex}"
        try:
            probe.touch()
            probe.unlink()
        except OSError:
            return False
        return True

    def has_room(self) -> bool:
        """Whether more disk is free than the service keeps for itself."""
        return shutil.disk_usage(self.work_dir).free >= self._min_free_bytes

    def check_room(self, coming_bytes: int = 0) -> None:
        """Look at the disk before more is taken.

        Raises:
            DiskFullError: It would be at its watermark.
        """
        if shutil.disk_usage(self.work_dir).free - coming_bytes < self._min_free_bytes:
            raise DiskFullError("the disk is too full to take more studies")

    def new_upload(self) -> Path:
        """Make an empty folder for a request body.

        Raises:
            DiskFullError: The disk is at its watermark.
        """
        self.check_room()
        upload = self._uploads / uuid4().hex
        upload.mkdir()
        return upload

    def options(self, batch: str | None) -> Path | None:
        """Where it is noted what is written of a batch's studies; None outside of batches."""
        return None if batch is None else options_path(self.work_dir, batch)

    def results(self, job_id: str) -> Path:
        """Folder of a job's results."""
        return self._studies / job_id

    def draft(self, job_id: str) -> Path:
        """Make an empty folder in which a run writes its results before they appear."""
        draft = self._studies / f".{job_id}.{uuid4().hex}.part"
        draft.mkdir(parents=True)
        return draft

    def publish(self, job_id: str, draft: Path) -> None:
        """Move a run's results to their place; done again, it changes nothing."""
        folder = self.results(job_id)
        folder.mkdir(exist_ok=True)
        for path in sorted(draft.iterdir()):
            path.replace(folder / path.name)
        # What they hold is on the disk since the run wrote it.
        flush_folder(folder)
        flush_folder(self._studies)

    def remove(self, job_id: str, study_instance_uid: str) -> None:
        """Remove a job's results, and the note that its report stands."""
        shutil.rmtree(self.results(job_id), ignore_errors=True)
        shutil.rmtree(self._kept / job_id, ignore_errors=True)
        standing = current_report(self.current, study_instance_uid)
        if standing is not None and standing.job_id == job_id:
            (self.current / current_name(study_instance_uid)).unlink(missing_ok=True)

    def mark_superseded(self, folder: Path) -> None:
        """Write into a report that it does not stand any more; one that is gone is fine."""
        path = folder / REPORT
        try:
            report = from_json(path.read_bytes())
        except FileNotFoundError:
            return
        if report.status is not Status.SUPERSEDED:
            write_durably(path, to_json(report.model_copy(update={"status": Status.SUPERSEDED})))

    def set_current(self, study_instance_uid: str, standing: CurrentReport) -> None:
        """Note which report stands for a study, for the ones that will come after it."""
        write_durably(
            self.current / current_name(study_instance_uid), standing.model_dump_json().encode()
        )


def _files(entries: Iterable[Path]) -> Iterator[Path]:
    return (path for path in entries if not path.is_dir())


def current_name(study_instance_uid: str) -> str:
    """Name of a study's file under `current`: no UID reaches a path."""
    return f"{hashlib.sha256(study_instance_uid.encode()).hexdigest()[:32]}.json"


def current_report(folder: Path, study_instance_uid: str) -> CurrentReport | None:
    """The report that stands for a study, or None."""
    try:
        return CurrentReport.model_validate_json(
            (folder / current_name(study_instance_uid)).read_bytes()
        )
    except (FileNotFoundError, ValidationError):
        return None
