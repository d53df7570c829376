"""Studies go through the queue a few at a time; one that fails never stops the others."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.errors import AcuityError
from service.batch.discovery import Root, discover
from service.batch.driver import Driver, expect_studies
from service.batch.journal import StudyState
from service.batch.sources import Sources
from service.batch.workplace import (
    BatchInUseError,
    OtherBatchError,
    Workplace,
    agreed_options,
    open_workplace,
)
from service.deidentify.identities import Identities
from service.ingest.safety import Limits
from service.jobs.job import Job, JobReason, JobState, Outcome
from service.report.outputs import Format
from tests.builders import uid, write_all
from tests.unit.batch.test_discovery import stack


class TooLargeError(AcuityError):
    code = "content_too_large"


@dataclass
class StandInJobs:
    """A queue whose jobs end as they are told to, by the name of their study's folder."""

    work_dir: Path
    ends: dict[str, JobState] = field(default_factory=dict)
    raises: dict[str, Exception] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    submitted: list[str] = field(default_factory=list)
    most_open: int = 0
    patience: int = 2

    def submit_folder(self, folder: Path, batch: str) -> Job:
        name = sorted(path.name for path in folder.rglob("*.dcm"))[0]
        name = folder.name if folder.parent.name == "root" else name
        if name in self.raises:
            raise self.raises[name]
        self.submitted.append(name)
        job = Job(
            job_id=name, state=JobState.QUEUED, received_at=datetime.now(UTC), files=1, batch=batch
        )
        self.jobs[name] = job
        self.most_open = max(self.most_open, sum(not j.state.final for j in self.jobs.values()))
        return job

    def get(self, job_id: str) -> Job | None:
        return self.jobs.get(job_id)

    def ended(self, job_ids: Collection[str]) -> tuple[Job, ...]:
        self.patience -= 1
        if self.patience > 0:
            return ()
        self.patience = 2
        for job_id in job_ids:
            self.jobs[job_id] = self._end(self.jobs[job_id])
        return tuple(self.jobs[job_id] for job_id in job_ids)

    def results(self, job_id: str) -> Path:
        return self.work_dir / "studies" / job_id

    def _end(self, job: Job) -> Job:
        state = self.ends.get(job.job_id, JobState.SUCCEEDED)
        reason = None if state is JobState.SUCCEEDED else JobReason(code="why", message="Because.")
        if state.reported:
            results = self.work_dir / "studies" / job.job_id
            results.mkdir(parents=True, exist_ok=True)
            (results / "report.json").write_text(job.job_id)
            (results / "image-0001.dcm").write_text("an image")
        return job.model_copy(
            update={"state": state, "outcome": Outcome(state=state, reason=reason)}
        )


@dataclass
class Made:
    """A batch over three studies in folders a, b and c."""

    place: Workplace
    root: Path
    jobs: StandInJobs

    def run(
        self, ahead: int = 8, engine: str = "e1", identities: Identities | None = None
    ) -> list[str]:
        """Find and read; the studies that were submitted this time."""
        self.jobs.submitted.clear()
        root = Root.of(self.root, self.place.out)
        journal = self.place.journal
        discover(root, journal, Limits(), lambda _files: None)
        expect_studies(journal, engine)
        sources = Sources(root, journal, self.place.gathered, Limits())
        Driver(self.place, sources, self.jobs, ahead, identities).run()
        return sorted(self.jobs.submitted)

    def states(self) -> dict[str, str]:
        names = {uid(name): name for name in "abcd"}
        return {names[study.study]: study.state.value for study in self.place.journal.studies()}


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    for name in "abc":
        write_all(stack(name), tmp_path / "root" / name)
    with open_workplace(tmp_path / "out") as place:
        yield Made(place, tmp_path / "root", StandInJobs(place.work_dir))


def test_every_study_is_read_once_and_has_its_folder(made: Made) -> None:
    assert made.run() == ["a", "b", "c"]
    assert made.states() == dict.fromkeys("abc", "reported")
    for name in "abc":
        folder = made.place.out / uid(name)
        assert (folder / "report.json").read_text() == name
        assert (folder / "dicom" / "0001.dcm").read_text() == "an image"
    assert made.run() == []


def test_a_failed_study_does_not_stop_the_others_and_is_tried_again(made: Made) -> None:
    made.jobs.ends = {"a": JobState.FAILED, "b": JobState.REFUSED}
    assert made.run() == ["a", "b", "c"]
    assert made.states() == {"a": "failed", "b": "refused", "c": "reported"}
    assert not (made.place.out / uid("a")).exists()
    made.jobs.ends = {}
    assert made.run() == ["a"]
    assert made.states() == {"a": "reported", "b": "refused", "c": "reported"}


@pytest.mark.parametrize(
    ("error", "code"),
    [(TooLargeError("too large"), "content_too_large"), (OSError(5, "gone"), "storage")],
)
def test_a_study_that_cannot_be_submitted_fails_alone(
    made: Made, error: Exception, code: str
) -> None:
    made.jobs.raises = {"b": error}
    assert made.run() == ["a", "c"]
    assert made.states() == {"a": "reported", "b": "failed", "c": "reported"}
    study = made.place.journal.study(uid("b"))
    assert study is not None
    assert study.outcome["reason"]["code"] == code


def test_no_more_are_under_way_than_asked(made: Made) -> None:
    made.run(ahead=2)
    assert made.jobs.most_open == 2


def test_a_job_of_an_interrupted_run_is_found_again(made: Made) -> None:
    made.jobs.ended = lambda _ids: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        made.run(ahead=3)
    del made.jobs.ended
    before = set(made.jobs.jobs)
    assert before
    again = made.run()
    assert not before & set(again)
    assert made.states() == dict.fromkeys("abc", "reported")


def test_new_and_changed_studies_are_read_and_vanished_ones_kept(made: Made) -> None:
    made.run()
    write_all(stack("d"), made.root / "d")
    write_all(stack("a", slices=4), made.root / "a")
    shutil.rmtree(made.root / "b")
    assert made.run() == ["a", "d"]
    assert made.states() == dict.fromkeys("abcd", "reported")
    assert (made.place.out / uid("b")).is_dir(), "a drive that is not mounted must cost no results"


def test_a_study_that_went_before_it_was_read_is_forgotten(made: Made) -> None:
    made.jobs.ends = {"b": JobState.FAILED}
    made.run()
    shutil.rmtree(made.root / "b")
    made.run()
    assert made.states() == {"a": "reported", "c": "reported"}


def test_what_a_killed_process_gathered_goes(made: Made) -> None:
    (made.place.gathered / "of a study that is final").mkdir()
    (made.place.gathered / ".half.part").mkdir()
    made.run()
    assert list(made.place.gathered.iterdir()) == []


def test_another_engine_reads_again(made: Made) -> None:
    made.run(engine="one")
    assert made.run(engine="two") == ["a", "b", "c"]


def test_results_that_are_gone_fail_the_study(made: Made) -> None:
    made.jobs.results = lambda _id: made.root / "nowhere"  # type: ignore[method-assign]
    made.run()
    assert set(made.states().values()) == {"failed"}


def test_folders_have_new_names_where_identity_goes(made: Made) -> None:
    identities = Identities(b"key")
    made.run(identities=identities)
    assert (made.place.out / identities.uid(uid("a"))).is_dir()
    assert not (made.place.out / uid("a")).exists()


def test_gathered_studies_go_when_they_are_read(made: Made) -> None:
    write_all(stack("a", "more"), made.root / "elsewhere")
    made.run()
    assert made.states()["a"] == "reported"
    assert list(made.place.gathered.iterdir()) == []


def test_two_processes_do_not_share_a_batch(tmp_path: Path) -> None:
    with open_workplace(tmp_path), pytest.raises(BatchInUseError), open_workplace(tmp_path):
        pass
    with open_workplace(tmp_path) as place:
        assert place.journal.counts()[StudyState.FOUND] == 0


def test_a_batch_keeps_its_options(tmp_path: Path) -> None:
    formats = frozenset({Format.JSON})
    with open_workplace(tmp_path) as place:
        first = agreed_options(place.journal, tmp_path / "r", formats, deidentify=True)
        batch = place.batch
    with open_workplace(tmp_path) as place:
        assert place.batch == batch
        assert agreed_options(place.journal, tmp_path / "r", formats, deidentify=True) == first
        assert first.deidentify_key is not None
        with pytest.raises(OtherBatchError, match="deidentify"):
            agreed_options(place.journal, tmp_path / "r", formats, deidentify=False)
        with pytest.raises(OtherBatchError, match="--formats"):
            agreed_options(place.journal, tmp_path / "r", frozenset(Format), deidentify=True)
        with pytest.raises(OtherBatchError, match="ROOT"):
            agreed_options(place.journal, tmp_path / "q", formats, deidentify=True)
