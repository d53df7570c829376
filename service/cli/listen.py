"""`acuity listen`: studies in by DICOM, as scanners, workstations and routers send them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from models.errors import AcuityError

if TYPE_CHECKING:
    from subprocess import Popen

    from service.settings import Settings


class OpenListenerError(AcuityError):
    """Refuses to take associations from other machines without a list of AE titles."""

    code = "no_calling_aes"
    exit_code: ClassVar[int] = 2


class NoWorkDirError(AcuityError):
    """Refuses to acknowledge studies into a folder that will be gone."""

    code = "no_work_dir"
    exit_code: ClassVar[int] = 2


def listen(
    host: Annotated[str | None, typer.Option(help="Address to bind; 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind, 0 for a free one; 11112.")] = None,
    ae_title: Annotated[str | None, typer.Option(help="Our AE title; ACUITY.")] = None,
) -> None:
    """Take studies by C-STORE and read each once it is complete.

    ACUITY_WORK_DIR must be set: what is acknowledged is kept there. Other machines are served only
    when ACUITY_LISTENER__CALLING_AES lists the AE titles that may send.
    """
    from service.jobs.launch import launched  # noqa: PLC0415

    with launched() as worker:
        from service.api.hosts import is_loopback  # noqa: PLC0415
        from service.cli.configuration import load_settings  # noqa: PLC0415

        settings = load_settings()
        given = {"host": host, "port": port, "ae_title": ae_title}
        options = {name: value for name, value in given.items() if value is not None}
        listener = {**settings.listener.model_dump(), **options}
        settings = load_settings(**{**dict(settings), "listener": listener})
        if settings.work_dir is None:
            raise NoWorkDirError("set ACUITY_WORK_DIR to a folder that lasts")
        if not settings.listener.calling_aes and not is_loopback(settings.listener.host):
            raise OpenListenerError("set ACUITY_LISTENER__CALLING_AES to take other machines")
        settings.work_dir.mkdir(parents=True, exist_ok=True)
        _run(settings, settings.work_dir.resolve(), worker)


def _run(settings: Settings, work_dir: Path, worker: Popen[str]) -> None:
    import signal  # noqa: PLC0415
    import threading  # noqa: PLC0415

    from service import logs  # noqa: PLC0415
    from service.jobs.opening import open_jobs  # noqa: PLC0415

    logs.configure(settings)
    jobs = open_jobs(settings, work_dir, worker)

    # After the worker has its settings.
    from service.audit import open_trail  # noqa: PLC0415
    from service.logs import Pseudonyms  # noqa: PLC0415
    from service.pacs.gateway import Gateway  # noqa: PLC0415
    from service.pacs.listener import Listener  # noqa: PLC0415

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    gateway = Gateway(settings, work_dir, jobs)
    trail = open_trail(settings, work_dir)
    pseudonyms = Pseudonyms.from_settings(settings)
    listener = Listener(settings.listener, gateway.folder, pseudonyms, trail)
    jobs.start()
    try:
        gateway.start()
        listener.start()
        sys.stdout.write(f"{settings.listener.ae_title}@{settings.listener.host}:{listener.port}\n")
        sys.stdout.flush()
        stopping.wait()
    finally:
        listener.close()
        gateway.close()
        jobs.close()
        trail.close()
