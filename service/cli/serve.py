"""`acuity serve`: the REST interface and its page."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    import socket
    from subprocess import Popen

    from service.settings import Settings

GRACE_S: Final = 5
"""Seconds that open requests get when the service is told to stop."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind; 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind, 0 for a free one; 8000.")] = None,
) -> None:
    """Serve the REST interface and the page at /.

    Other machines are served only when there is a key (`acuity keys`, ACUITY_API_KEYS) or an
    identity provider (ACUITY_OIDC).
    """
    # First of all the worker: its imports take as long as all of ours, and run beside them.
    from service.jobs.launch import launched  # noqa: PLC0415

    with launched() as worker:
        # Bound before the slow imports: a port that is taken is said at once.
        from service.api.hosts import OpenHostError, is_loopback  # noqa: PLC0415
        from service.cli.configuration import load_settings  # noqa: PLC0415

        settings = load_settings(host=host, port=port)
        with _bound(settings) as listener, _work_dir(settings) as work_dir:
            if not is_loopback(settings.host) and not _authenticates(settings, work_dir):
                raise OpenHostError(
                    "make a key with `acuity keys create` to serve other machines than this one"
                )
            _run(settings, listener, work_dir, worker)


def _run(settings: Settings, listener: socket.socket, work_dir: Path, worker: Popen[str]) -> None:
    import signal  # noqa: PLC0415

    from service import logs  # noqa: PLC0415
    from service.jobs.opening import open_jobs  # noqa: PLC0415

    logs.configure(settings)
    jobs = open_jobs(settings, work_dir, worker)

    # After the worker has its settings.
    import uvicorn  # noqa: PLC0415

    from service.api.app import create_app  # noqa: PLC0415
    from service.audit import open_trail  # noqa: PLC0415
    from service.jobs.opening import open_keys  # noqa: PLC0415
    from service.pacs.gateway import Gateway  # noqa: PLC0415

    address, port = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    config = uvicorn.Config(
        create_app(
            settings,
            jobs,
            Gateway(settings, work_dir, jobs),
            open_keys(settings, work_dir),
            open_trail(settings, work_dir),
        ),
        log_config=None,
        # Paths hold Study Instance UIDs; what is worth knowing is in /metrics.
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        # One connection more, so that health is answered while all others are taken.
        limit_concurrency=settings.max_connections + 1,
        **_tls(settings),
    )
    scheme = "http" if settings.tls is None else "https"
    sys.stdout.write(f"{scheme}://{shown}:{port}\n")
    sys.stdout.flush()
    # uvicorn hands a signal on once it has stopped; the work folder is to be left tidy then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    uvicorn.Server(config).run(sockets=[listener])


def _authenticates(settings: Settings, work_dir: Path) -> bool:
    if settings.api_keys or settings.oidc is not None:
        return True
    from service.jobs.opening import open_keys  # noqa: PLC0415

    return open_keys(settings, work_dir).exist()


def _tls(settings: Settings) -> dict[str, Any]:
    """Arguments of uvicorn's configuration."""
    import ssl  # noqa: PLC0415

    tls = settings.tls
    if tls is None:
        return {}
    password = tls.key_password.get_secret_value() if tls.key_password else None
    asked = {} if tls.client_ca is None else {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    return {
        "ssl_certfile": str(tls.certificate),
        "ssl_keyfile": str(tls.key),
        "ssl_keyfile_password": password,
        "ssl_ca_certs": str(tls.client_ca) if tls.client_ca else None,
        **asked,
    }


@contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    import socket  # noqa: PLC0415

    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.create_server((settings.host, settings.port), family=family) as listener:
        yield listener


@contextmanager
def _work_dir(settings: Settings) -> Iterator[Path]:
    if settings.work_dir is not None:
        settings.work_dir.mkdir(parents=True, exist_ok=True)
        yield settings.work_dir.resolve()
        return
    from tempfile import TemporaryDirectory  # noqa: PLC0415

    with TemporaryDirectory(prefix="acuity-") as folder:
        yield Path(folder)
