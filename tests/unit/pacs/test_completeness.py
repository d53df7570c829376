"""When a study goes to the jobs: after the quiet period, by count, and again when it grew."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.errors import AcuityError
from service.jobs.content import ContentTooLargeError
from service.jobs.job import QueueFullError
from service.logs import Pseudonyms
from service.pacs.completeness import SETTLED_S, Watch
from service.pacs.receiving import ReceiveFolder, digest_of
from tests.unit.pacs.conftest import Receive
from tests.unit.pacs.stand_ins import STUDY, RememberingJobs, instances


@dataclass
class Clock:
    """The file system's time, moved forward by hand."""

    ahead_s: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(folder: ReceiveFolder, jobs: RememberingJobs, clock: Clock) -> Watch:
    return new_watch(folder, jobs, clock)


def new_watch(folder: ReceiveFolder, jobs: RememberingJobs, clock: Callable[[], float]) -> Watch:
    return Watch(folder, jobs, quiet_s=60, keep_s=3600, pseudonyms=Pseudonyms(b"test"), clock=clock)


def test_a_study_waits_for_the_quiet_period(
    watch: Watch, jobs: RememberingJobs, clock: Clock, receive: Receive
) -> None:
    receive(*instances(3))
    assert watch.sweep() == 0
    clock.ahead_s = 59
    assert watch.sweep() == 0
    clock.ahead_s = 61
    assert watch.sweep() == 1
    assert [len(files) for files in jobs.submitted] == [3]
    assert watch.sweep() == 0


def test_the_expected_count_makes_it_complete_at_once(
    watch: Watch, jobs: RememberingJobs, clock: Clock, receive: Receive, folder: ReceiveFolder
) -> None:
    folder.expect(STUDY, 3)
    receive(*instances(3)[:2])
    clock.ahead_s = 1
    assert watch.sweep() == 0
    receive(*instances(3)[2:])
    clock.ahead_s = SETTLED_S + 0.1
    assert watch.sweep() == 1
    assert len(jobs.submitted[0]) == 3


def test_a_study_that_is_being_pulled_waits_for_its_last_series(
    watch: Watch, jobs: RememberingJobs, clock: Clock, receive: Receive, folder: ReceiveFolder
) -> None:
    with folder.pulling(STUDY):
        receive(*instances(2))
        clock.ahead_s = 61
        assert watch.sweep() == 0
        receive(*instances(2, series="another"))
    clock.ahead_s = 122
    assert watch.sweep() == 1
    assert [len(files) for files in jobs.submitted] == [4]


def test_a_late_slice_makes_one_more_job_of_all_that_is_here(
    watch: Watch, jobs: RememberingJobs, clock: Clock, receive: Receive
) -> None:
    sent = instances(4)
    receive(*sent[:3])
    clock.ahead_s = 61
    watch.sweep()
    time.sleep(0.02)
    receive(sent[3])
    clock.ahead_s = 0
    assert watch.sweep() == 0
    clock.ahead_s = 61
    assert watch.sweep() == 1
    assert [len(files) for files in jobs.submitted] == [3, 4]
    assert jobs.submitted[0] < jobs.submitted[1]


def test_a_resend_makes_no_job_even_after_a_restart(
    watch: Watch, folder: ReceiveFolder, jobs: RememberingJobs, clock: Clock, receive: Receive
) -> None:
    receive(*instances(3))
    clock.ahead_s = 61
    watch.sweep()
    receive(*instances(3))
    clock.ahead_s = 200
    assert watch.sweep() == 0
    assert new_watch(folder, jobs, clock).sweep() == 0
    assert len(jobs.submitted) == 1


def test_what_was_received_before_a_crash_is_submitted_after_it(
    folder: ReceiveFolder, jobs: RememberingJobs, clock: Clock, receive: Receive
) -> None:
    receive(*instances(2))
    clock.ahead_s = 61
    assert new_watch(folder, jobs, clock).sweep() == 1


@pytest.mark.parametrize("fault", [QueueFullError("full"), AcuityError("full disk")])
def test_a_study_that_finds_no_room_waits(
    watch: Watch,
    jobs: RememberingJobs,
    clock: Clock,
    receive: Receive,
    tmp_path: Path,
    fault: AcuityError,
) -> None:
    receive(*instances(2))
    clock.ahead_s = 61
    jobs.fault = fault
    assert watch.sweep() == 0
    assert list((tmp_path / "uploads").iterdir()) == []
    jobs.fault = None
    assert watch.sweep() == 1


def test_a_study_too_large_for_any_job_is_not_tried_again(
    watch: Watch, folder: ReceiveFolder, jobs: RememberingJobs, clock: Clock, receive: Receive
) -> None:
    receive(*instances(2))
    clock.ahead_s = 61
    jobs.fault = ContentTooLargeError("too large")
    assert watch.sweep() == 0
    jobs.fault = None
    assert watch.sweep() == 0
    submission = folder.submission(digest_of(STUDY))
    assert submission is not None
    assert (submission.job_id, submission.code) == (None, "content_too_large")


def test_old_studies_go_and_are_still_known(
    watch: Watch, folder: ReceiveFolder, jobs: RememberingJobs, clock: Clock, receive: Receive
) -> None:
    receive(*instances(2))
    clock.ahead_s = 61
    watch.sweep()
    clock.ahead_s = 3700
    watch.sweep()
    assert list(folder.studies()) == []
    assert len(folder.instances(STUDY)) == 2
    assert len(jobs.submitted) == 1


def test_a_study_never_submitted_is_never_removed(
    watch: Watch, folder: ReceiveFolder, jobs: RememberingJobs, clock: Clock, receive: Receive
) -> None:
    receive(*instances(2))
    jobs.fault = QueueFullError("full")
    clock.ahead_s = 10_000
    watch.sweep()
    assert len(list(folder.studies())) == 1


def test_the_jobs_get_links_not_copies(
    watch: Watch,
    jobs: RememberingJobs,
    clock: Clock,
    receive: Receive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receive(*instances(2))
    linked: list[int] = []
    submit = jobs.submit

    def looking(upload: Path) -> object:
        linked.extend(path.stat().st_nlink for path in upload.iterdir())
        return submit(upload)

    monkeypatch.setattr(jobs, "submit", looking)
    clock.ahead_s = 61
    watch.sweep()
    assert linked == [2, 2]
