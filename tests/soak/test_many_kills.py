"""200 kill -9 over 20 studies, with the real service and its networks. Run by `make soak`."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path

import pytest
from pydicom import dcmread

from service.jobs.database import connect
from service.jobs.folders import JobFolders
from service.jobs.launch import COMMAND
from service.jobs.records import JobRecords
from service.jobs.upkeep import STALE_S
from tests.integration.jobs.installation import Plan, Study, disturb, installed
from tests.integration.jobs.results import files_of, received_at, undisturbed
from tests.integration.jobs.variants import variants

pytestmark = pytest.mark.soak

SERVE = [sys.executable, "-m", "service.cli", "serve"]
STUDIES = 20
KILLS = 200


def test_two_hundred_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    sent = list(variants(STUDIES))
    assert all(sent)
    minutes = os.environ.get("ACUITY_SOAK_MINUTES")
    plan = Plan(
        kills=KILLS,
        longest_s=4.0,
        seed=20,
        patience_s=1800,
        wait_share=0.15,
        most_s=float(minutes) * 60 if minutes else None,
    )
    start = time.monotonic()
    with installed(SERVE, work_dir) as installation:
        kills = disturb(installation, sent, plan)
        jobs = installation.jobs()
    took = time.monotonic() - start
    reports = {
        path.name: path
        for path in (work_dir / "studies").iterdir()
        if not path.name.startswith(".")
    }
    engine = connect(f"sqlite:///{work_dir / 'acuity.sqlite'}")
    sources = {}
    for job in jobs:
        source = tmp_path / "sources" / job["job_id"]
        source.mkdir(parents=True)
        study = next(one for one in sent if _uid(one) == job["study_instance_uid"])
        for place, (name, content) in enumerate(study.items(), 1):
            (source / f"{place:05d}-{name}").write_bytes(content)
        sources[job["job_id"]] = (source, received_at(engine, job["job_id"]))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    calm = undisturbed(COMMAND, sources, scratch)
    equal = [name for name, path in reports.items() if files_of(path) == calm.get(name)]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{sum(kills.values())} kills in {took:.0f} s "
            f"({', '.join(f'{what} {count}' for what, count in sorted(kills.items()))}), "
            f"{installation.starts} starts; {STUDIES} studies, {len(jobs)} jobs, "
            f"{sum(job['state'] == 'succeeded' for job in jobs)} succeeded, "
            f"{len(reports)} reports, {len(equal)} equal to undisturbed ones\n"
        )
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert len({job["study_instance_uid"] for job in jobs}) == len(jobs) == STUDIES
    assert set(reports) == {job["job_id"] for job in jobs} == set(equal)
    # What was being sent when its taker was killed belongs to no job, and goes once it is stale.
    JobFolders(work_dir).tidy(JobRecords(engine).uploads(), STALE_S, time.time() + 2 * STALE_S)
    assert list((work_dir / "uploads").iterdir()) == []


def _uid(study: Study) -> str:
    first = dcmread(io.BytesIO(next(iter(study.values()))), stop_before_pixels=True)
    return str(first.StudyInstanceUID)
