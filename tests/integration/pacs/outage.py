"""An archive that goes away while results wait for it, and what it has once it is back."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

from sqlalchemy import select

from service.jobs.database import OUTBOX
from service.pacs.gateway import Gateway
from service.settings import Settings
from tests import builders
from tests.integration.pacs.peers import Orthanc, free_port, orthanc, until
from tests.unit.pacs.stand_ins import RememberingJobs, own

OBJECTS = 2
BEFORE, DURING = "b" * 32, ("d" * 32, "e" * 32)
PATIENCE_S = 400.0
"""More than the longest wait between two tries after an outage of two minutes."""


def results_after(tmp_path: Path, seconds: float) -> Counter[str]:
    """Let the archive be away for so long, killed without a word, while reports come.

    One report is delivered before, two come while it is away; half of the time our own side is
    stopped as well. Results go by STOW-RS and by C-STORE.

    Returns:
        How often each delivery was tried until it was done, by `<target>/<job>`.
    """
    port, dicom_port = free_port(), free_port()
    targets = {
        "web": {"kind": "stow", "url": f"http://127.0.0.1:{port}/dicom-web", "timeout_s": 5},
        "dimse": {
            "kind": "cstore",
            "host": "127.0.0.1",
            "port": dicom_port,
            "ae_title": "ORTHANC",
            "timeout_s": 5,
        },
    }
    # Of what is sent by both ways, and again after an answer that was lost, it keeps the first.
    archive = {"port": port, "DicomPort": dicom_port, "OverwriteInstances": False}
    settings = Settings(work_dir=tmp_path, targets=targets)
    jobs = RememberingJobs(tmp_path)
    gateway = Gateway(settings, tmp_path, jobs)
    gateway.start()
    try:
        with orthanc(tmp_path / "archive", **archive) as peer:
            _report(jobs, BEFORE)
            until(lambda: _states(gateway) == {"done": 2})
            assert len(peer.get("/instances")) == OBJECTS
        gone = time.monotonic()
        for job_id in DURING:
            _report(jobs, job_id)
        until(lambda: _states(gateway) == {"done": 2, "waiting": 4})
        time.sleep(seconds / 2)
        gateway.close()
        time.sleep(max(0.0, gone + seconds - time.monotonic()))
        gateway = Gateway(settings, tmp_path, jobs)
        gateway.start()
        with orthanc(tmp_path / "archive", **archive) as peer:
            until(lambda: _states(gateway) == {"done": 6}, PATIENCE_S)
            _check_once(peer)
    finally:
        gateway.close()
    with gateway._engine.connect() as connection:
        rows = connection.execute(select(OUTBOX)).all()
    return Counter({f"{row.target}/{row.job_id}": row.attempts for row in rows})


def _check_once(peer: Orthanc) -> None:
    """Every object is there, and none came as a new one twice."""
    assert len(peer.get("/instances")) == OBJECTS * 3
    changes = json.dumps(peer.get("/changes?limit=1000"))
    assert changes.count('"NewInstance"') == OBJECTS * 3


def _report(jobs: RememberingJobs, job_id: str) -> None:
    folder = jobs.results(job_id)
    folder.mkdir(parents=True)
    objects = builders.classic_stack(builders.ramp(OBJECTS, 32, 32), series=f"result {job_id}")
    for index, each in enumerate(objects):
        (folder / f"object-{index}.dcm").write_bytes(builders.to_bytes(own(each)))
    jobs.finish(job_id)


def _states(gateway: Gateway) -> dict[str, int]:
    with gateway._engine.connect() as connection:
        return dict(Counter(str(state) for state in connection.scalars(select(OUTBOX.c.state))))
