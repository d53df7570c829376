"""When a study that came in pieces has come to rest, the jobs get all of it, once.

A study is complete when nothing new of it came for the quiet period, or when as many instances are
here as were announced. What comes later makes it complete again with everything that is here, so
that the jobs see the larger study and can let its report supersede the earlier one. A re-send of
what is here changes nothing and starts nothing.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog

from models.errors import AcuityError
from service.jobs.content import ContentTooLargeError, InvalidArchiveError
from service.jobs.job import Jobs
from service.logs import Pseudonyms
from service.pacs.receiving import ReceivedStudy, ReceiveFolder, Submission

log = structlog.get_logger()

SETTLED_S: Final = 0.1
"""Age of a change before its study is listed: two changes in one tick of the file system's clock
could not be told apart."""

REFUSED_FOR_GOOD: Final = (ContentTooLargeError, InvalidArchiveError)
"""What sending the same study again will not change."""


class Watch:
    """Looks at the receive folder again and again; one process at a time does.

    Args:
        folder: What was received.
        jobs: Where complete studies go.
        quiet_s: The quiet period.
        keep_s: How long a study's files stay after its last change.
        pseudonyms: For logs.
        clock: The file system's time in seconds.
    """

    def __init__(
        self,
        folder: ReceiveFolder,
        jobs: Jobs,
        *,
        quiet_s: float,
        keep_s: float,
        pseudonyms: Pseudonyms,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._jobs = jobs
        self._quiet_s = quiet_s
        self._keep_s = keep_s
        self._pseudonyms = pseudonyms
        self._clock = clock
        self._submitted_ns: dict[str, int] = {}

    def sweep(self) -> int:
        """Submit every study that is complete, and remove what is old and done.

        Returns:
            How many studies were given to the jobs.
        """
        submitted = 0
        for study in tuple(self._folder.studies()):
            if self._submitted(study):
                if study.quiet_s(self._clock()) > self._keep_s and self._folder.remove(study):
                    self._submitted_ns.pop(study.key, None)
            elif self._complete(study):
                submitted += self._submit(study)
        return submitted

    def _submitted(self, study: ReceivedStudy) -> bool:
        if study.key not in self._submitted_ns:
            submission = self._folder.submission(study.key)
            self._submitted_ns[study.key] = submission.changed_ns if submission else 0
        return self._submitted_ns[study.key] == study.changed_ns

    def _complete(self, study: ReceivedStudy) -> bool:
        if self._folder.is_pulled(study.key):
            return False
        quiet_s = study.quiet_s(self._clock())
        if quiet_s >= self._quiet_s:
            return True
        expected = self._folder.expected(study.key)
        if expected is None or quiet_s < SETTLED_S:
            return False
        return len(self._folder.files(study)) >= expected

    def _submit(self, study: ReceivedStudy) -> bool:
        files = self._folder.files(study)
        if not files:  # a folder made for an instance whose move was never finished
            return False
        code: str | None = None
        job_id: str | None = None
        try:
            job_id = self._hand_over(files)
        except REFUSED_FOR_GOOD as error:
            code = error.code
        except (AcuityError, OSError) as error:
            # The queue or the disk is full: the study stays as it is and is tried again.
            reason = error.code if isinstance(error, AcuityError) else "storage"
            log.warning("study_waits", study=self._pseudonyms.of(study.key), code=reason)
            return False
        before = self._folder.submission(study.key)
        known = {path.stem for path in files} | set(before.instances if before else ())
        self._folder.note_submission(
            study.key,
            Submission(
                changed_ns=study.changed_ns,
                instances=tuple(sorted(known)),
                job_id=job_id,
                code=code,
            ),
        )
        self._submitted_ns[study.key] = study.changed_ns
        log.info(
            "study_complete",
            study=self._pseudonyms.of(study.key),
            files=len(files),
            job=job_id,
            code=code,
        )
        return job_id is not None

    def _hand_over(self, files: Iterable[Path]) -> str:
        upload = self._jobs.new_upload()
        taken = False
        try:
            for path in files:
                _link(path, upload / path.name)
            job = self._jobs.submit(upload)
            taken = True
        finally:
            if not taken:
                self._jobs.discard_upload(upload)
        return job.job_id


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; received files are replaced, never written to again."""
    try:
        os.link(source, target)
    except OSError:  # a file system without links, or another one than the uploads'
        shutil.copyfile(source, target)
