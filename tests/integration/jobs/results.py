"""What jobs left, compared with what the same studies leave when nothing disturbs them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine, select

from service.jobs.database import JOBS
from service.jobs.process import WorkerProcess
from service.jobs.worker import Request
from service.settings import Settings


def files_of(folder: Path) -> dict[str, bytes]:
    """Files of a report; how long it took is left out, for that is never the same twice."""
    found = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    report = json.loads(found["report.json"])
    report["provenance"]["timings_ms"] = {}
    found["report.json"] = json.dumps(report).encode()
    found["report.html"] = re.sub(rb"\d+ ms", b"", found["report.html"])
    return found


def received_at(engine: Engine, job_id: str) -> float:
    with engine.connect() as connection:
        found = connection.execute(select(JOBS.c.received_at).where(JOBS.c.job_id == job_id))
        return float(found.scalar_one())


def undisturbed(
    command: Sequence[str], sources: dict[str, tuple[Path, float]], scratch: Path
) -> dict[str, dict[str, bytes]]:
    """Read studies one after another in one worker that nobody kills.

    Args:
        command: Starts the worker.
        sources: Of each job: its study, and when it was received.
        scratch: Empty folder.
    """
    runner = WorkerProcess(Settings(work_dir=scratch), command)
    left: dict[str, dict[str, bytes]] = {}
    current = scratch / "current"
    current.mkdir()
    runner.start()
    try:
        for job_id, (source, created) in sources.items():
            results = scratch / f"results-{job_id}"
            results.mkdir()
            outcome = runner.run(
                Request(
                    source=source,
                    results=results,
                    created=created,
                    current=current,
                    job_id=job_id,
                ),
                lambda _stage: None,
            )
            assert outcome.state.reported, outcome
            left[job_id] = files_of(results)
    finally:
        runner.close()
    return left
