"""Put the jobs of one process together from settings."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from importlib.metadata import version
from itertools import count
from pathlib import Path
from subprocess import Popen
from typing import IO, TYPE_CHECKING, Final
from uuid import uuid4

from models.errors import BundleError
from models.registry import resolve
from service.jobs.job import Jobs
from service.jobs.process import Runner, WorkerProcess
from service.logs import Pseudonyms
from service.settings import Settings

if TYPE_CHECKING:
    from service.jobs.durable import DurableJobs
    from service.jobs.keys import ApiKeys


def open_jobs(settings: Settings, work_dir: Path, launched: Popen[str] | None = None) -> Jobs:
    """Make the jobs of one process; its tables are made or brought up to date.

    Args:
        settings: Of this installation.
        work_dir: Where uploads and results lie; shared by every worker on the same database.
        launched: The first worker, where it was launched ahead (`service.jobs.launch`); it gets
            its settings here. The jobs end it when they close.
    """
    settings = settings.model_copy(update={"work_dir": work_dir})
    # The worker gets its settings before anything slow is imported: it opens its bundles meanwhile.
    runner = WorkerProcess(settings, launched=launched)
    return jobs_around(runner, settings, work_dir)


def jobs_around(
    runner: Runner, settings: Settings, work_dir: Path, at_once: int = 1
) -> DurableJobs:
    """Make the jobs of one process around what reads studies.

    Args:
        runner: Closed by the jobs when they close.
        settings: Of this installation.
        work_dir: As of `open_jobs`.
        at_once: As of `service.jobs.workqueue.DbosQueue`; with more than 1, the runner's `run` may
            come from as many threads.
    """
    from service.ingest.safety import Limits  # noqa: PLC0415
    from service.jobs.database import connect, database_url, migrate  # noqa: PLC0415
    from service.jobs.durable import DurableJobs, JobPolicy  # noqa: PLC0415
    from service.jobs.folders import JobFolders  # noqa: PLC0415
    from service.jobs.records import JobRecords  # noqa: PLC0415
    from service.jobs.workqueue import DbosQueue  # noqa: PLC0415

    url = database_url(settings.database, work_dir)
    engine = connect(url)
    migrate(engine)
    queue_url = url if settings.database else f"sqlite:///{work_dir / 'queue.sqlite'}"
    return DurableJobs(
        records=JobRecords(engine),
        queue=DbosQueue(engine, queue_url, worker_id(work_dir), at_once),
        folders=JobFolders(work_dir, settings.min_free_mb << 20, settings.keep_studies_days),
        runner=runner,
        policy=JobPolicy(
            engine=engine_of(settings),
            max_queued=settings.max_queued,
            max_bytes=settings.max_upload_mb << 20,
            retention_days=settings.retention_days,
            limits=Limits(**settings.limits.model_dump(exclude_none=True)),
            give_up_s=settings.delivery_give_up_h * 3600 if settings.targets else None,
        ),
        pseudonyms=Pseudonyms.from_settings(settings),
    )


def open_keys(settings: Settings, work_dir: Path) -> ApiKeys:
    """The keys of an installation; its tables are made or brought up to date.

    Args:
        settings: Of this installation.
        work_dir: As of `open_jobs`.
    """
    from service.jobs.database import connect, database_url, migrate  # noqa: PLC0415
    from service.jobs.keys import ApiKeys  # noqa: PLC0415

    engine = connect(database_url(settings.database, work_dir))
    migrate(engine)
    return ApiKeys(engine)


_HELD: Final[list[IO[str]]] = []
"""Locks of worker ids, held until the process ends however it ends."""


def worker_id(work_dir: Path) -> str:
    """Name of this worker: the first one kept in the work folder that no living process has.

    After a crash the next process takes the same name, and with it what was left undone.
    """
    # A name per machine: not every network folder knows locks of other machines.
    folder = work_dir / "workers" / (socket.gethostname() or "unnamed")
    folder.mkdir(parents=True, exist_ok=True)
    for number in count():
        file = (folder / f"{number}").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _HELD.append(file)
        file.seek(0)
        name = file.read().strip()
        if not name:
            name = uuid4().hex
            file.write(name)
            file.flush()
            os.fsync(file.fileno())
        return name
    raise AssertionError("count() does not end")


def engine_of(settings: Settings) -> str:
    """Name what reads a study: software version, bundle digests, settings that change reports."""
    return " ".join(
        [
            f"vertebral-acuity {version('vertebral-acuity')}",
            _digest_of(settings.localiser_bundle, settings.bundle_dir),
            _digest_of(settings.scorer_bundle, settings.bundle_dir),
            *_changes_of(settings),
        ]
    )


def _changes_of(settings: Settings) -> Iterator[str]:
    """What of the settings changes a report, where it is not as shipped."""
    for part in (settings.limits, settings.stacks):
        changed = part.model_dump_json(exclude_none=True)
        if changed != "{}":
            yield changed


def _digest_of(name: str, bundle_dir: Path | None) -> str:
    try:
        return resolve(name, bundle_dir=bundle_dir).sha256
    except BundleError as error:
        # The worker says so when it opens its bundles; a failed job is tried again later anyway.
        return error.code
