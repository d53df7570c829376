"""Pulls: promised once, seen to the end, and looked for once more when asked for meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from service.jobs.database import METADATA, connect
from service.logs import Pseudonyms
from service.pacs.archives import ArchiveError, SeriesEntry
from service.pacs.multipart import Part
from service.pacs.receiving import ReceiveFolder
from service.pacs.retrieval import Retrievals, RetrievalState
from service.pacs.tables import RETRIEVALS, DurableQueue
from tests import builders
from tests.unit.pacs.stand_ins import STUDY, instances


@dataclass
class Held:
    """An archive that holds series of two instances each."""

    series: list[str] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None
    pulled: list[str] = field(default_factory=list)
    down: bool = False

    def series_of(self, _study_uid: str) -> tuple[SeriesEntry, ...]:
        if self.down:
            raise ArchiveError("away")
        return tuple(SeriesEntry(name, 2) for name in self.series)

    def instances_of(self, _study_uid: str, series_uid: str) -> tuple[str, ...]:
        return tuple(each.SOPInstanceUID for each in instances(2, series=series_uid))

    def pull_series(self, _study_uid: str, series_uid: str, folder: Path) -> tuple[Part, ...]:
        self.pulled.append(series_uid)
        self.meanwhile()
        parts = []
        for number, each in enumerate(instances(2, series=series_uid)):
            parts.append(Part(folder / str(number), "application/dicom"))
            parts[-1].path.write_bytes(builders.to_bytes(each))
        return tuple(parts)


@dataclass
class Clock:
    now: float = 1e9

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def archive() -> Held:
    return Held(["first"])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def retrievals(
    tmp_path: Path, folder: ReceiveFolder, archive: Held, clock: Clock
) -> Iterator[Retrievals]:
    engine = connect(f"sqlite:///{tmp_path / 'acuity.sqlite'}")
    METADATA.create_all(engine)
    queue = DurableQueue(engine, RETRIEVALS)
    yield Retrievals(queue, {"pacs": archive}, folder, Pseudonyms(b"test"), clock)
    engine.dispose()


def test_a_series_that_came_during_the_pull_is_pulled_too(
    retrievals: Retrievals, archive: Held, folder: ReceiveFolder
) -> None:
    asked = retrievals.request(STUDY, complete=False)

    def hook() -> None:
        archive.meanwhile = lambda: None
        archive.series.append("second")
        retrievals.request(STUDY, complete=False)

    archive.meanwhile = hook
    while retrievals.work():
        pass
    assert archive.pulled == ["first", "second"]
    assert len(folder.held(STUDY)) == 4
    done = retrievals.get(asked.retrieval_id)
    assert done is not None
    assert (done.state, done.instances) == (RetrievalState.RECEIVED, 4)


def test_only_a_study_that_is_whole_is_read_at_once(
    retrievals: Retrievals, folder: ReceiveFolder
) -> None:
    retrievals.request(STUDY, complete=False)
    retrievals.work()
    (study,) = folder.studies()
    assert folder.expected(study.key) is None
    retrievals.request(STUDY, complete=True)
    retrievals.work()
    assert folder.expected(study.key) == 2


def test_what_is_here_is_not_pulled_again_for_a_router(
    retrievals: Retrievals, archive: Held
) -> None:
    for complete in (False, False, True):
        retrievals.request(STUDY, complete=complete)
        while retrievals.work():
            pass
    assert archive.pulled == ["first", "first"]


def test_an_archive_that_is_away_is_asked_again(
    retrievals: Retrievals, archive: Held, clock: Clock
) -> None:
    asked = retrievals.request(STUDY)
    archive.down = True
    assert retrievals.work()
    assert not retrievals.work()
    waiting = retrievals.get(asked.retrieval_id)
    assert waiting is not None
    assert (waiting.state, waiting.code) == (RetrievalState.QUEUED, "archive_unavailable")
    archive.down = False
    clock.now += 3
    assert retrievals.work()
    done = retrievals.get(asked.retrieval_id)
    assert done is not None
    assert done.state is RetrievalState.RECEIVED
