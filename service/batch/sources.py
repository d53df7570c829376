"""A study's files as one folder or one archive, which a job can read.

A folder or archive that holds nothing else is read where it lies. Otherwise the study's files are
brought together in a folder of their own: as hard links where the file system allows, which cost
nothing, else as copies. Such a folder appears whole or not at all and is never changed, so a job
that was interrupted finds it again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from uuid import uuid4

from service.batch.discovery import ARCHIVE_MEMBERS, Root
from service.batch.journal import WHOLE_FILE, FoundFile, Journal
from service.ingest.refusals import RefusedError
from service.ingest.safety import Budget, Limits, unpack_zip


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the studies of a batch are read from.

    Attributes:
        root: What was walked.
        journal: What was found there.
        gathered: Folder for studies that have to be brought together.
        limits: Of reading one study.
    """

    root: Root
    journal: Journal
    gathered: Path
    limits: Limits

    def of(self, study: str, fingerprint: str) -> Path:
        """Folder or archive with the files of a study.

        Args:
            study: Study Instance UID as found.
            fingerprint: Names the folder, where one has to be made.

        Raises:
            RefusedError: An archive that was whole before cannot be read any more.
            OSError: A file is gone, or the disk is full.
        """
        files = list(self.journal.files_of(study))
        return self._where_it_lies(study, files) or self._gather(files, fingerprint)

    def release(self, fingerprint: str) -> None:
        """Remove the folder that was made for a study, if one was."""
        shutil.rmtree(self.gathered / fingerprint, ignore_errors=True)

    def release_all_but(self, fingerprints: Container[str]) -> None:
        """Remove what a process that was killed has left behind."""
        for path in self.gathered.iterdir():
            if path.name not in fingerprints:
                shutil.rmtree(path, ignore_errors=True)

    def _where_it_lies(self, study: str, files: Sequence[FoundFile]) -> Path | None:
        paths = {file.path for file in files}
        if all(file.member != WHOLE_FILE for file in files) and len(paths) == 1:
            archive = paths.pop()
            others = self.journal.archive_holds_others(archive, study)
            return None if others else self.root.path(archive)
        if self.root.only is not None:  # nothing is known of the files around it
            return None
        folder = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120
        if self.journal.holds_others(folder, study):
            return None
        return self.root.path(folder)

    def _gather(self, files: Sequence[FoundFile], fingerprint: str) -> Path:
        folder = self.gathered / fingerprint
        if folder.exists():
            return folder
        part = self.gathered / f".{uuid4().hex}.part"
        try:
            for path, members in groupby(files, lambda file: file.path):
                here = part / os.fsdecode(path)
                numbers = {file.member for file in members}
                if numbers == {WHOLE_FILE}:
                    here.parent.mkdir(parents=True, exist_ok=True)
                    link_or_copy(self.root.path(path).resolve(), here)
                else:
                    here.mkdir(parents=True)
                    self._unpack(self.root.path(path), numbers, here)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return folder

    def _unpack(self, archive: Path, numbers: set[int], folder: Path) -> None:
        budget = Budget(self.limits.total_bytes)
        limits = replace(self.limits, files=ARCHIVE_MEMBERS)
        for member in unpack_zip(archive, folder, limits, budget, numbers):
            if isinstance(member.outcome, RefusedError):
                raise member.outcome


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, on another file system or where that is forbidden a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
