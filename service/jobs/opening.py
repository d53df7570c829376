"""Put the jobs of one process together from settings."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from subprocess import Popen

from models.errors import BundleError
from models.registry import resolve
from service.jobs.job import Jobs
from service.jobs.local import LocalJobs
from service.jobs.process import WorkerProcess
from service.jobs.store import JobFolders
from service.logs import Pseudonyms
from service.settings import Settings


def open_jobs(settings: Settings, work_dir: Path, launched: Popen[str] | None = None) -> Jobs:
    """Make the jobs of one process; nothing is started or written yet.

    Args:
        settings: Of this installation.
        work_dir: Where uploads and results lie.
        launched: The first worker, where it was launched ahead (`service.jobs.launch`); it gets
            its settings here. The jobs end it when they close.
    """
    settings = settings.model_copy(update={"work_dir": work_dir})
    return LocalJobs(
        folders=JobFolders(work_dir),
        runner=WorkerProcess(settings, launched=launched),
        engine=engine_of(settings),
        max_queued=settings.max_queued,
        max_bytes=settings.max_upload_mb << 20,
        pseudonyms=Pseudonyms.from_settings(settings),
    )


def engine_of(settings: Settings) -> str:
    """Name what reads a study: software version and bundle digests."""
    return " ".join(
        [
            f"vertebral-acuity {version('vertebral-acuity')}",
            _digest_of(settings.localiser_bundle, settings.bundle_dir),
            _digest_of(settings.scorer_bundle, settings.bundle_dir),
        ]
    )


def _digest_of(name: str, bundle_dir: Path | None) -> str:
    try:
        return resolve(name, bundle_dir=bundle_dir).sha256
    except BundleError as error:
        # The worker says so when it opens its bundles; a failed job is tried again later anyway.
        return error.code
