"""The inference worker: a process of its own that holds the networks and runs one study at a time.

Started as `python -m service.jobs.worker`. It reads one line of JSON settings, then one request per
line, and answers in lines of `Message`. When its standard input ends it leaves, so it never
outlives the service.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict

from models.errors import AcuityError
from service import logs
from service.jobs.job import JobReason, JobState, Outcome
from service.settings import Settings

if TYPE_CHECKING:
    from service.jobs.work import Writing
    from service.pipeline import Stages


ORPHANED_S: Final = 1.0
"""How often the worker looks whether the service that started it is still there."""

YIELDING: Final = 10
"""How far the worker stands back (nice) for whoever waits for an answer: senders, a health check. A
study takes a second or more anyway."""

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
DISK_FULL: Final = "disk_full"


class Request(BaseModel):
    """Run the study at `source` and leave the results in the empty folder `results`.

    Attributes:
        created: When the study came, in seconds since the epoch.
        current: Where the reports that stand are noted; None for a report on its own.
        options: Where it is noted what to write; None for everything.
        job_id: Of the job that is run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Path
    results: Path
    created: float
    current: Path | None = None
    options: Path | None = None
    job_id: str = ""


class Message(BaseModel):
    """One line from the worker; exactly one field is set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ready: bool | None = None
    broken: JobReason | None = None
    stage: str | None = None
    outcome: Outcome | None = None


def main() -> None:
    """Serve requests until standard input ends."""
    _leave_with(os.getppid())
    os.nice(YIELDING)
    # Whatever a library prints must not come between the lines of the protocol.
    channel = logs.claim_standard_output()

    def send(message: Message) -> None:
        try:
            channel.write(message.model_dump_json(exclude_none=True) + "\n")
            channel.flush()
        except BrokenPipeError:
            os._exit(0)  # the service is gone, and with it whoever would want to know

    line = sys.stdin.readline()
    if not line:
        return  # the service gave up before it had its settings
    settings = Settings.model_validate_json(line)
    try:
        stages = _open(settings)
    except AcuityError as error:
        logs.configure(settings)
        send(Message(broken=_reason(error)))
        return
    send(Message(ready=True))
    # What no one waits for before the worker is ready: logs, and the modules that write reports.
    logs.configure(settings)
    import service.jobs.work  # noqa: F401, PLC0415
    from service.jobs.serving import Serving  # noqa: PLC0415

    serving = Serving(settings, stages)
    for line in sys.stdin:
        request = Request.model_validate_json(line)
        stages = serving.current()
        send(
            Message(
                outcome=_run(request, settings, stages, lambda stage: send(Message(stage=stage)))
            )
        )


def _leave_with(service: int) -> None:
    """End with the service, also in the middle of a study: nobody would take the result."""

    def watch() -> None:
        while os.getppid() == service:
            time.sleep(ORPHANED_S)
        # With the decoders that it started; the service gave it a session of its own.
        os.killpg(os.getpgrp(), signal.SIGKILL)

    if os.getpgrp() == os.getpid():
        threading.Thread(target=watch, name="watch-service", daemon=True).start()


def _open(settings: Settings) -> Stages:
    from service.pipeline import open_stages  # noqa: PLC0415

    return open_stages(settings)


def _run(
    request: Request, settings: Settings, stages: Stages, on_stage: Callable[[str], None]
) -> Outcome:
    from service.jobs.reviewing import review_on  # noqa: PLC0415
    from service.jobs.reviews import is_review  # noqa: PLC0415
    from service.jobs.work import Filing, work_on  # noqa: PLC0415

    filing = Filing(datetime.fromtimestamp(request.created, UTC), request.current, request.job_id)
    try:
        if is_review(request.source, request.current):
            return review_on(request.source, request.results, stages, on_stage, filing)
        writing = _writing(request.options, settings)
        return work_on(request.source, request.results, stages, on_stage, filing, writing)
    except Exception as error:  # noqa: BLE001  the worker's border: one study never ends it
        return Outcome(state=JobState.FAILED, reason=_reason(error))


def _writing(options: Path | None, settings: Settings) -> Writing:
    from service.jobs.work import Writing  # noqa: PLC0415

    if options is None:
        return Writing()
    from service.deidentify.export import Deidentification  # noqa: PLC0415
    from service.deidentify.identities import Identities  # noqa: PLC0415
    from service.ingest.safety import Limits  # noqa: PLC0415
    from service.jobs.batches import read_options  # noqa: PLC0415

    wanted = read_options(options)
    if wanted.deidentify_key is None:
        return Writing(wanted.formats)
    return Writing(
        wanted.formats,
        Deidentification(
            Identities(bytes.fromhex(wanted.deidentify_key)),
            Limits(**settings.limits.model_dump(exclude_none=True)),
            settings.work_dir,
        ),
    )


def _reason(error: Exception) -> JobReason:
    # Our own messages hold no patient data. A foreign one may quote the file; its type may not.
    if isinstance(error, AcuityError):
        reason = JobReason(code=error.code, message=str(error))
    elif isinstance(error, OSError) and error.errno in FULL:
        reason = JobReason(code=DISK_FULL, message="the disk has no room for the result")
    else:
        name = type(error).__name__
        reason = JobReason(code="internal", message=f"the study could not be read ({name})")
    import structlog  # noqa: PLC0415

    log = structlog.get_logger()
    log.error("worker_failed", code=reason.code, error=type(error).__name__)
    return reason


if __name__ == "__main__":
    main()
