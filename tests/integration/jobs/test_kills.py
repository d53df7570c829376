"""Processes killed at random moments: no study is lost, none is read into two reports.

The short form of `tests/soak/test_many_kills.py`: an inference worker without networks.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from service.jobs.database import connect
from service.jobs.folders import JobFolders
from service.jobs.records import JobRecords
from service.jobs.upkeep import STALE_S
from tests.integration.jobs.installation import Plan, Study, disturb, installed, stand_in
from tests.integration.jobs.results import files_of, received_at, undisturbed

READING_S = 0.5


def studies(count: int) -> list[Study]:
    return [
        {f"{part}.dat": f"1.2.840.{number}\npart {part} of {number}".encode() for part in range(3)}
        for number in range(1, count + 1)
    ]


def test_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    sent = studies(6)
    plan = Plan(kills=12, longest_s=5.0, seed=11, patience_s=300)
    with installed(stand_in("serve", READING_S), work_dir) as installation:
        kills = disturb(installation, sent, plan)
        jobs = installation.jobs()
    assert sum(kills.values()) == plan.kills
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert sorted(job["study_instance_uid"] for job in jobs) == [
        f"1.2.840.{number}" for number in range(1, 7)
    ]
    reports = {path.name: path for path in (work_dir / "studies").iterdir()}
    reports = {name: path for name, path in reports.items() if not name.startswith(".")}
    assert set(reports) == {job["job_id"] for job in jobs}
    engine = connect(f"sqlite:///{work_dir / 'acuity.sqlite'}")
    # What was being sent when its taker was killed belongs to no job, and goes once it is stale.
    JobFolders(work_dir).tidy(JobRecords(engine).uploads(), STALE_S, time.time() + 2 * STALE_S)
    assert list((work_dir / "uploads").iterdir()) == []
    sources = {}
    for job in jobs:
        source = tmp_path / "sources" / job["job_id"]
        source.mkdir(parents=True)
        study = sent[int(job["study_instance_uid"].rpartition(".")[2]) - 1]
        # The service names files by their place in the request.
        for place, (name, content) in enumerate(study.items(), 1):
            (source / f"{place:05d}-{name}").write_bytes(content)
        sources[job["job_id"]] = (source, received_at(engine, job["job_id"]))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    reader = (sys.executable, "-m", "tests.integration.jobs.reader", "0")
    calm = undisturbed(reader, sources, scratch)
    assert {name: files_of(path) for name, path in reports.items()} == calm
