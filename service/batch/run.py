"""A batch from beginning to end: find, read, gather."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Final, Protocol

from models.errors import AcuityError
from models.registry import resolve, verify
from service.batch.discovery import Root, discover
from service.batch.driver import BatchJobs, Driver, expect_studies
from service.batch.figures import Figures
from service.batch.journal import StudyState
from service.batch.sources import Sources
from service.batch.summary import write_summary
from service.batch.tables import Name, write_tables
from service.batch.workers import local_jobs, shared_jobs
from service.batch.workplace import Workplace, agreed_options, open_workplace
from service.deidentify.identities import Identities
from service.ingest.safety import Limits
from service.jobs.batches import BatchOptions, options_path, write_options
from service.jobs.opening import engine_of
from service.report.outputs import Format
from service.settings import Settings

AHEAD_PER_WORKER: Final = 4
AHEAD: Final = 32
"""Studies submitted and not fetched yet, at most: enough for workers on other machines, too."""


class OutIsRootError(AcuityError):
    """Results must not lie among what is read."""

    code = "out_is_root"
    exit_code: ClassVar[int] = 2


class NoSharedFolderError(AcuityError):
    """A shared queue needs a shared folder: workers elsewhere write into it."""

    code = "no_work_dir"
    exit_code: ClassVar[int] = 2


class InterruptedBatchError(AcuityError):
    """The batch was stopped before its end; the same command goes on."""

    code = "interrupted"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asked for.

    Attributes:
        root: Folder, archive or DICOMDIR.
        out: Folder of the results.
        workers: Studies read at the same time on this machine.
        formats: What each study's folder receives; the report in JSON always.
        deidentify: Whether nothing that is written may say whose a study is.
    """

    root: Path
    out: Path
    workers: int
    formats: frozenset[Format]
    deidentify: bool


class Progress(Protocol):
    """Told how far a batch is."""

    def looked(self, files: int) -> None:
        """So many files were met so far."""

    def begin(self, total: int, done: int) -> None:
        """So many studies there are; so many of them were read by an earlier run."""

    def study(self, state: StudyState) -> None:
        """One more study is final."""


OpenJobs = Callable[[Settings, Path, int], AbstractContextManager[BatchJobs]]
"""Opens the jobs of a batch in a work folder, with so many workers, for as long as the block."""


def run_batch(
    asked: Asked, settings: Settings, progress: Progress, open_jobs: OpenJobs | None = None
) -> dict[StudyState, int]:
    """Find every study below a folder and read those that are not read yet.

    Args:
        asked: What is wanted.
        settings: Of this installation; `database` set shares the queue of other machines.
        progress: Told how far it is.
        open_jobs: In place of the workers that read studies.

    Returns:
        How many studies stand where.

    Raises:
        BundleError: A bundle is missing or damaged; nothing was begun.
        OutIsRootError, OtherBatchError, BatchInUseError: `out` cannot take this batch.
        NoSharedFolderError: There is a shared database and no shared folder.
        InterruptedBatchError: Stopped by the user; what is there is in the tables.
        OSError: `out` cannot be written.
    """
    _work_dir(settings)
    for name in (settings.localiser_bundle, settings.scorer_bundle):
        verify(resolve(name, bundle_dir=settings.bundle_dir))
    root = Root.of(asked.root, asked.out)
    if asked.out.resolve() == root.folder:
        raise OutIsRootError("--out must be another folder than the one that is read")
    formats = asked.formats | {Format.JSON}
    with open_workplace(asked.out) as place:
        options = agreed_options(
            place.journal, asked.root.resolve(), formats, deidentify=asked.deidentify
        )
        limits = Limits(**settings.limits.model_dump(exclude_none=True))
        try:
            discover(root, place.journal, limits, progress.looked)
            expect_studies(place.journal, engine_of(settings))
            counts = place.journal.counts()
            progress.begin(sum(counts.values()), _final(counts))
            if counts[StudyState.FOUND]:
                _read(asked, settings, place, options, progress, open_jobs)
        except KeyboardInterrupt as error:
            _gather(place, options)
            raise InterruptedBatchError("stopped; the same command goes on from here") from error
        _gather(place, options)
        return place.journal.counts()


def _read(
    asked: Asked,
    settings: Settings,
    place: Workplace,
    options: BatchOptions,
    progress: Progress,
    open_jobs: OpenJobs | None,
) -> None:
    """Start workers and take every study that is not final through them."""
    work_dir = _work_dir(settings) or place.work_dir
    write_options(options_path(work_dir, place.batch), options)
    opening: OpenJobs = open_jobs or (shared_jobs if settings.database else local_jobs)
    limits = Limits(**settings.limits.model_dump(exclude_none=True))
    sources = Sources(Root.of(asked.root, asked.out), place.journal, place.gathered, limits)
    with opening(settings, work_dir, asked.workers) as jobs:
        Driver(
            place,
            sources,
            jobs,
            max(AHEAD, AHEAD_PER_WORKER * asked.workers),
            _identities(options),
            progress.study,
        ).run()


def _work_dir(settings: Settings) -> Path | None:
    """The folder shared with other machines, None for a batch by itself."""
    if settings.database is None:
        return None
    if settings.work_dir is None:
        raise NoSharedFolderError("with a database, set ACUITY_WORK_DIR to its workers' folder")
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    return settings.work_dir.resolve()


def _final(counts: dict[StudyState, int]) -> int:
    return sum(count for state, count in counts.items() if state is not StudyState.FOUND)


def _identities(options: BatchOptions) -> Identities | None:
    key = options.deidentify_key
    return None if key is None else Identities(bytes.fromhex(key))


def _gather(place: Workplace, options: BatchOptions) -> None:
    """Write tables and summary of all that is there."""
    identities = _identities(options)
    name: Name = identities.uid if identities is not None else str
    figures = Figures()
    write_tables(
        place,
        name,
        hide_files=identities is not None,
        on_report=figures.add_report,
    )
    figures.add_studies(place.journal)
    write_summary(place, figures, datetime.now(UTC), name, pages=Format.HTML in options.formats)
