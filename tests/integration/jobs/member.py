"""One process of an installation whose inference worker is `reader.py`.

Run as `python -m tests.integration.jobs.member serve|work SECONDS`, with the usual ACUITY_
settings.
"""

from __future__ import annotations

import socket
import sys
import threading

import uvicorn

from service import logs
from service.api.app import create_app
from service.jobs.opening import jobs_around
from service.jobs.process import WorkerProcess
from service.settings import Settings


def main() -> None:
    role, seconds = sys.argv[1:]
    settings = Settings()
    assert settings.work_dir is not None
    logs.configure(settings)
    command = (sys.executable, "-m", "tests.integration.jobs.reader", seconds)
    jobs = jobs_around(WorkerProcess(settings, command), settings, settings.work_dir)
    if role == "work":
        jobs.start()
        threading.Event().wait()
    with socket.create_server(("127.0.0.1", settings.port)) as listener:
        app = create_app(settings, jobs)
        uvicorn.Server(uvicorn.Config(app, log_config=None)).run(sockets=[listener])


if __name__ == "__main__":
    main()
