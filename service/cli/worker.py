"""`acuity worker`: another reader of studies for a service, on this machine or a further one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from models.errors import AcuityError


class NotSharedError(AcuityError):
    """A worker has nothing to work on without the database and folder of a service."""

    code = "not_shared"
    exit_code: ClassVar[int] = 2


def worker(
    database: Annotated[
        str | None, typer.Option(help="URL of the service's PostgreSQL; ACUITY_DATABASE.")
    ] = None,
    work_dir: Annotated[
        Path | None, typer.Option(help="The service's work folder; ACUITY_WORK_DIR.")
    ] = None,
) -> None:
    """Read studies that a service has taken, until told to stop.

    It shares the service's PostgreSQL and its work folder, and takes over what another worker that
    died has left undone. Everything else is set as for `acuity serve`.
    """
    from service.jobs.launch import launched  # noqa: PLC0415

    with launched() as process:
        from service.cli.configuration import load_settings  # noqa: PLC0415

        settings = load_settings(database=database, work_dir=work_dir)
        if settings.database is None or not settings.database.startswith("postgres"):
            raise NotSharedError("set --database to the URL of the service's PostgreSQL")
        if settings.work_dir is None or not settings.work_dir.is_dir():
            raise NotSharedError("set --work-dir to the service's work folder")
        import signal  # noqa: PLC0415
        import threading  # noqa: PLC0415

        from service import logs  # noqa: PLC0415
        from service.jobs.opening import open_jobs  # noqa: PLC0415

        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        logs.configure(settings)
        jobs = open_jobs(settings, settings.work_dir.resolve(), process)
        jobs.start()
        sys.stdout.write("reading studies\n")
        sys.stdout.flush()
        try:
            stop.wait()
        finally:
            jobs.close()
