"""The inference worker: a process of its own that holds the networks and runs one study at a time.

Started as `python -m service.jobs.worker`. It reads one line of JSON settings, then one request per
line, and answers in lines of `Message`. When its standard input ends it leaves, so it never
outlives the service.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from models.errors import AcuityError
from service import logs
from service.jobs.job import JobReason, JobState, Outcome
from service.settings import Settings

if TYPE_CHECKING:
    from service.pipeline import Stages


class Request(BaseModel):
    """Run the study at `source` and leave the results in the empty folder `results`.

    Attributes:
        created: When the study came, in seconds since the epoch.
        current: Where the reports that stand are noted; None for a report on its own.
        options: Where it is noted what to write; None for everything.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Path
    results: Path
    created: float
    current: Path | None = None
    options: Path | None = None


class Message(BaseModel):
    """One line from the worker; exactly one field is set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ready: bool | None = None
    broken: JobReason | None = None
    stage: str | None = None
    outcome: Outcome | None = None


def main() -> None:
    """Serve requests until standard input ends."""
    # Whatever a library prints must not come between the lines of the protocol.
    channel = logs.claim_standard_output()

    def send(message: Message) -> None:
        channel.write(message.model_dump_json(exclude_none=True) + "\n")
        channel.flush()

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

    for line in sys.stdin:
        request = Request.model_validate_json(line)
        send(Message(outcome=_run(request, stages, lambda stage: send(Message(stage=stage)))))


def _open(settings: Settings) -> Stages:
    from service.pipeline import open_stages  # noqa: PLC0415

    return open_stages(settings)


def _run(request: Request, stages: Stages, on_stage: Callable[[str], None]) -> Outcome:
    from service.jobs.work import Filing, work_on  # noqa: PLC0415

    filing = Filing(datetime.fromtimestamp(request.created, UTC), request.current)
    try:
        return work_on(request.source, request.results, stages, on_stage, filing)
    except Exception as error:  # noqa: BLE001  the worker's border: one study never ends it
        return Outcome(state=JobState.FAILED, reason=_reason(error))


def _reason(error: Exception) -> JobReason:
    # Our own messages hold no patient data. A foreign one may quote the file; its type may not.
    if isinstance(error, AcuityError):
        reason = JobReason(code=error.code, message=str(error))
    else:
        name = type(error).__name__
        reason = JobReason(code="internal", message=f"the study could not be read ({name})")
    import structlog  # noqa: PLC0415

    log = structlog.get_logger()
    log.error("worker_failed", code=reason.code, error=type(error).__name__)
    return reason


if __name__ == "__main__":
    main()
