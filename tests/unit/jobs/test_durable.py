"""Jobs over a database and a folder: taken once, ended once, superseded, cut off, removed."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from service.ingest.records import Ingested
from service.jobs.database import DISPATCHED, JOBS, OUTBOX, WaitState
from service.jobs.durable import DurableJobs
from service.jobs.folders import DiskFullError, current_report
from service.jobs.job import Job, JobState, Outcome, QueueFullError
from service.jobs.performing import MOST_CRASHES, MOST_DEATHS
from service.jobs.work import Filing, work_on
from service.jobs.worker import Request
from tests.integration.jobs.results import files_of
from tests.jobs_made import jobs_in
from tests.stages_made import STAGES, STUDY_UID, read

WAIT_S = 30.0


def reading(source: Path) -> Ingested:
    """As many files used as there are, of the study that the first names."""
    files = [path for path in source.iterdir() if path.is_file()]
    uid = min(files).read_text().splitlines()[0]
    return replace(read(source), study_instance_uid=uid)


@dataclass
class Runner:
    """Reads in the jobs' thread; `before` may cut a run off by returning its outcome."""

    before: Callable[[Request], Outcome | None] = lambda _request: None
    runs: int = 0
    ready: bool = True

    def start(self) -> None: ...

    def close(self) -> None: ...

    def run(self, request: Request, on_stage: Callable[[str], None]) -> Outcome:
        self.runs += 1
        cut_off = self.before(request)
        if cut_off is not None:
            return cut_off
        filing = Filing(
            datetime.fromtimestamp(request.created, UTC), request.current, request.job_id
        )
        stages = replace(STAGES, read=reading)
        return work_on(request.source, request.results, stages, on_stage, filing)


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture
def jobs(tmp_path: Path, runner: Runner) -> Iterator[DurableJobs]:
    made = jobs_in(tmp_path, runner)
    made.start()
    yield made
    made.close()


def hand_in(jobs: DurableJobs, *parts: str, uid: str = STUDY_UID) -> Job:
    upload = jobs.new_upload()
    for number, part in enumerate(parts):
        (upload / f"{number}.dat").write_text(f"{uid}\n{part}")
    return jobs.submit(upload)


def ended(jobs: DurableJobs, job_id: str) -> Job:
    deadline = time.monotonic() + WAIT_S
    while True:
        job = jobs.get(job_id)
        assert job is not None
        if job.state.final:
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.01)


def status(jobs: DurableJobs, job_id: str) -> str:
    report = json.loads((jobs.results(job_id) / "report.json").read_bytes())
    return str(report["status"])


def test_the_same_content_is_one_job(jobs: DurableJobs, runner: Runner, tmp_path: Path) -> None:
    first = hand_in(jobs, "a", "b")
    ended(jobs, first.job_id)
    assert hand_in(jobs, "a", "b").job_id == first.job_id
    assert runner.runs == 1
    assert list((tmp_path / "uploads").iterdir()) == []


def test_whoever_waits_for_a_job_is_told_that_it_was_read(
    jobs: DurableJobs, runner: Runner
) -> None:
    going, told, other = threading.Event(), threading.Event(), threading.Event()

    def hold(_request: Request) -> None:
        going.wait(WAIT_S)

    runner.before = hold
    job = hand_in(jobs, "a")
    with jobs.awaited(job.job_id, told.set), jobs.awaited("another", other.set):
        assert not told.wait(0.1)
        going.set()
        assert told.wait(WAIT_S)
        found = jobs.get(job.job_id)
    assert found is not None
    assert found.state.final
    assert not other.is_set()


def test_nobody_is_told_who_waits_no_more(jobs: DurableJobs) -> None:
    told = threading.Event()
    with jobs.awaited("job", told.set), jobs.awaited("job", lambda: None):
        pass
    jobs._endings.tell("job")
    assert not told.is_set()


def test_a_late_slice_supersedes(jobs: DurableJobs) -> None:
    early = ended(jobs, hand_in(jobs, "a").job_id)
    late = ended(jobs, hand_in(jobs, "a", "b").job_id)
    found = jobs.get(early.job_id)
    assert found is not None
    assert (found.superseded_by, late.supersedes) == (late.job_id, early.job_id)
    assert (status(jobs, early.job_id), status(jobs, late.job_id)) == ("superseded", "preliminary")
    newest = jobs.newest_of(STUDY_UID)
    assert newest is not None
    assert newest.job_id == late.job_id
    assert late.outcome is not None
    assert early.outcome is not None
    assert late.outcome.supersedes == early.outcome.content_key


def test_fewer_files_do_not_supersede(jobs: DurableJobs) -> None:
    whole = ended(jobs, hand_in(jobs, "a", "b").job_id)
    part = ended(jobs, hand_in(jobs, "a").job_id)
    assert part.superseded_by == whole.job_id
    assert part.outcome is not None
    assert part.outcome.supersedes == ""
    assert status(jobs, part.job_id) == "superseded"


def test_a_report_put_in_place_meanwhile_is_seen(
    jobs: DurableJobs, runner: Runner, tmp_path: Path
) -> None:
    """Another worker ends a job of the same study while this one reads."""
    other = jobs_in(tmp_path, Runner())
    other.start()
    early: list[Job] = []

    def meanwhile(_request: Request) -> None:
        if not early:
            early.append(ended(other, hand_in(other, "a").job_id))

    # The second installation's queue knows nothing of the job that the first runs.
    runner.before = meanwhile
    late = ended(jobs, hand_in(jobs, "a", "b").job_id)
    other.close()
    assert runner.runs >= 1
    assert late.supersedes == early[0].job_id
    assert late.outcome is not None
    assert early[0].outcome is not None
    assert late.outcome.supersedes == early[0].outcome.content_key


def test_a_run_done_over_after_publishing_leaves_the_same(
    jobs: DurableJobs, tmp_path: Path
) -> None:
    """Killed between the files and the record: done over, it supersedes what it did before."""
    early = ended(jobs, hand_in(jobs, "a").job_id)
    late = hand_in(jobs, "a", "b")
    ended(jobs, late.job_id)
    before = files_of(jobs.results(late.job_id))
    engine = jobs._records.engine
    source = tmp_path / "uploads" / "again"
    source.mkdir()
    for number, part in enumerate("ab"):
        (source / f"{number}.dat").write_text(f"{STUDY_UID}\n{part}")
    with engine.begin() as connection:
        connection.execute(
            JOBS.update()
            .where(JOBS.c.job_id == late.job_id)
            .values(state="running", attempt=2, outcome=None, source="uploads/again", upload=None)
        )
        connection.execute(
            JOBS.update().where(JOBS.c.job_id == early.job_id).values(superseded_by=None)
        )
    jobs._upkeep.requeue()
    again = ended(jobs, late.job_id)
    assert again.supersedes == early.job_id
    assert files_of(jobs.results(late.job_id)) == before


@pytest.mark.parametrize(
    ("code", "runs"), [("worker_died", MOST_CRASHES), ("worker_killed", MOST_DEATHS + 1)]
)
def test_a_study_that_ends_workers_is_given_up(
    jobs: DurableJobs, runner: Runner, code: str, runs: int
) -> None:
    runner.before = lambda _request: Outcome.failed(code, "ended")
    job = ended(jobs, hand_in(jobs, "a").job_id)
    assert job.state is JobState.FAILED
    assert runner.runs in (runs, runs - 1)


def test_a_worker_killed_twice_costs_nothing(jobs: DurableJobs, runner: Runner) -> None:
    runner.before = lambda _request: (
        Outcome.failed("worker_killed", "ended") if runner.runs < 3 else None
    )
    assert ended(jobs, hand_in(jobs, "a").job_id).state is JobState.SUCCEEDED
    assert runner.runs == 3


def test_a_full_disk_fails_nothing(jobs: DurableJobs, runner: Runner) -> None:
    runner.before = lambda _request: (
        Outcome.failed("disk_full", "no room") if runner.runs < 2 else None
    )
    assert ended(jobs, hand_in(jobs, "a").job_id).state is JobState.SUCCEEDED


def test_what_was_written_down_and_not_queued_is_read(tmp_path: Path, runner: Runner) -> None:
    first = jobs_in(tmp_path, runner)
    first._folders.open()
    job = hand_in(first, "a")  # its queue was never started
    second = jobs_in(tmp_path, runner)
    second.start()
    assert ended(second, job.job_id).state is JobState.SUCCEEDED
    second.close()


def test_a_failed_study_sent_again_is_tried_again(jobs: DurableJobs, runner: Runner) -> None:
    runner.before = lambda _request: (
        Outcome.failed("timeout", "too long") if runner.runs < 2 else None
    )
    job = hand_in(jobs, "a")
    assert ended(jobs, job.job_id).state is JobState.FAILED
    assert hand_in(jobs, "a").job_id == job.job_id
    assert ended(jobs, job.job_id).state is JobState.SUCCEEDED


def test_at_the_watermark_nothing_is_taken(tmp_path: Path, runner: Runner) -> None:
    full = jobs_in(tmp_path, runner, min_free_bytes=1 << 60)
    full._folders.open()
    with pytest.raises(DiskFullError):
        full.new_upload()
    assert list((tmp_path / "uploads").iterdir()) == []
    assert not full.readiness().checks["disk"]


def test_a_body_that_would_fill_the_disk_is_not_taken(jobs: DurableJobs, tmp_path: Path) -> None:
    jobs.check_room(1)
    with pytest.raises(DiskFullError):
        jobs.check_room(shutil.disk_usage(tmp_path).free + (1 << 30))


def test_a_full_queue_sends_away(tmp_path: Path, runner: Runner) -> None:
    small = jobs_in(tmp_path, runner, max_queued=1)
    small._folders.open()
    hand_in(small, "a")
    with pytest.raises(QueueFullError):
        hand_in(small, "b")


def test_retention_removes_what_is_old_enough(jobs: DurableJobs, tmp_path: Path) -> None:
    job = ended(jobs, hand_in(jobs, "a").job_id)
    jobs._upkeep.retire((datetime.now(UTC) - timedelta(days=1)).timestamp())
    assert jobs.get(job.job_id) is not None
    jobs._upkeep.retire((datetime.now(UTC) + timedelta(days=1)).timestamp())
    assert jobs.get(job.job_id) is None
    assert not jobs.results(job.job_id).exists()
    assert current_report(tmp_path / "current", STUDY_UID) is None
    # Sent again it is read again.
    assert ended(jobs, hand_in(jobs, "a").job_id).state is JobState.SUCCEEDED


LATER = timedelta(days=1)


def owe(jobs: DurableJobs, job_id: str, state: WaitState, target: str = "pacs") -> None:
    """Write a delivery of a job down, as the outbox does."""
    row = {"id": f"{job_id}-{target}", "state": state, "attempts": 1, "created_at": 0.0,
           "next_at": 0.0, "target": target, "job_id": job_id, "payload": ""}  # fmt: skip
    with jobs._records.engine.begin() as connection:
        connection.execute(insert(OUTBOX), row)
        if target == "pacs":
            connection.execute(insert(DISPATCHED), {"job_id": job_id, "dispatched_at": 0.0})


def turn(jobs: DurableJobs, state: WaitState) -> None:
    """Let every delivery come to an end."""
    with jobs._records.engine.begin() as connection:
        connection.execute(update(OUTBOX).values(state=state))


@pytest.mark.parametrize("end", [WaitState.DONE, WaitState.FAILED])
def test_retention_waits_for_deliveries(jobs: DurableJobs, end: WaitState) -> None:
    job = ended(jobs, hand_in(jobs, "a").job_id)
    owe(jobs, job.job_id, WaitState.DONE, "other")
    owe(jobs, job.job_id, WaitState.WAITING)
    jobs._upkeep.retire((datetime.now(UTC) + LATER).timestamp())
    assert jobs.get(job.job_id) is not None
    assert (jobs.results(job.job_id) / "report.json").is_file()
    turn(jobs, end)
    jobs._upkeep.retire((datetime.now(UTC) + LATER).timestamp())
    assert jobs.get(job.job_id) is None


def test_retention_waits_until_deliveries_are_written_down(tmp_path: Path, runner: Runner) -> None:
    jobs = jobs_in(tmp_path, runner, give_up_s=3600.0)
    jobs.start()
    try:
        job = ended(jobs, hand_in(jobs, "a").job_id)
        jobs._upkeep.retire(time.time() + 60)
        assert jobs.get(job.job_id) is not None
        owe(jobs, job.job_id, WaitState.DONE)
        jobs._upkeep.retire(time.time() + 60)
        assert jobs.get(job.job_id) is None
        # What nobody would deliver any more is not kept for ever.
        job = ended(jobs, hand_in(jobs, "b").job_id)
        jobs._upkeep.retire(time.time() + 3660)
        assert jobs.get(job.job_id) is None
    finally:
        jobs.close()


def test_deliveries_of_a_removed_study_are_given_up(jobs: DurableJobs) -> None:
    job = ended(jobs, hand_in(jobs, "a").job_id)
    owe(jobs, job.job_id, WaitState.DONE, "other")
    owe(jobs, job.job_id, WaitState.WAITING)
    assert jobs.deliveries() == {"waiting": 1, "done": 1, "failed": 0}
    assert jobs.remove_study(STUDY_UID) == 1
    assert jobs.deliveries() == {"waiting": 0, "done": 1, "failed": 1}


def test_a_removed_study_leaves_nothing(jobs: DurableJobs, tmp_path: Path) -> None:
    first = ended(jobs, hand_in(jobs, "a").job_id)
    second = ended(jobs, hand_in(jobs, "a", "b").job_id)
    other = ended(jobs, hand_in(jobs, "c", uid="1.2.4").job_id)
    assert jobs.remove_study(STUDY_UID) == 2
    assert [job.job_id for job in jobs.listing()] == [other.job_id]
    assert not jobs.results(first.job_id).exists()
    assert not jobs.results(second.job_id).exists()
    assert [path.name for path in (tmp_path / "studies").iterdir()] == [other.job_id]
    assert current_report(tmp_path / "current", STUDY_UID) is None
    assert current_report(tmp_path / "current", "1.2.4") is not None


def test_tallies_count_each_job_once(jobs: DurableJobs) -> None:
    for part in "abc":
        ended(jobs, hand_in(jobs, part, uid=f"1.2.{part.encode()[0]}").job_id)
    hand_in(jobs, "a", uid=f"1.2.{b'a'[0]}")
    counts = {(tally.name, tally.label): tally.count for tally in jobs.tallies()}
    assert counts["outcomes", "succeeded"] == 3
    assert counts["calls", "edema/present"] == 3
    ingested = [label for name, label in counts if (name, label[:7]) == ("stages", "ingest/")]
    assert sum(counts["stages", label] for label in ingested) == 3
