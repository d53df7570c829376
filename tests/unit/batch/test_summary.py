"""Every part of summary.html, over a batch whose figures were worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.findings import Acuity, Call, Etiology
from service.batch.figures import Figures
from service.batch.journal import WHOLE_FILE, FoundFile, StudyState
from service.batch.summary import write_summary
from service.batch.tables import write_tables
from service.batch.workplace import Workplace, open_workplace
from service.jobs.work import outcome_of
from service.report.document import LevelReport, StudyReport
from service.report.json_writer import from_json, to_json
from tests.unit.batch.summaries import Page

SAMPLE = from_json((Path(__file__).parent / "report.json").read_bytes())
HEALTHY, BROKEN, SACRUM = SAMPLE.levels


def level(like: LevelReport, name: str | None, **calls: object) -> LevelReport:
    """A level of this name with other calls."""
    parts = {
        question: getattr(like, question).model_copy(update={"call": call})
        for question, call in calls.items()
    }
    return like.model_copy(update={"level": name, **parts})


def report(uid: str, levels: tuple[LevelReport, ...], **stages_ms: float) -> StudyReport:
    """A report of a study, without files refused or calls withheld."""
    return SAMPLE.model_copy(
        update={
            "study": SAMPLE.study.model_copy(update={"study_instance_uid": uid}),
            "levels": levels,
            "abstentions": (),
            "files": SAMPLE.files.model_copy(update={"refused": ()}),
            "provenance": SAMPLE.provenance.model_copy(update={"timings_ms": stages_ms}),
        }
    )


def first() -> StudyReport:
    """L1 healthy, L2 with everything, an unnamed one in doubt, S1 of which nothing is said."""
    in_doubt = level(
        HEALTHY, None, edema=Call.INDETERMINATE, acuity=Acuity.INDETERMINATE,
        etiology=Etiology.INDETERMINATE,
    )  # fmt: skip
    read = report(
        "1.1",
        (level(HEALTHY, "L1"), level(BROKEN, "L2"), in_doubt, SACRUM),
        ingest=1000.0, localise=2000.0, score=3000.0,
    )  # fmt: skip
    files = SAMPLE.files.model_copy(update={"refused": SAMPLE.files.refused[:2]})
    return read.model_copy(update={"abstentions": SAMPLE.abstentions[:1], "files": files})


def second() -> StudyReport:
    """L1 and L2 with a benign fracture that has not healed."""
    benign = {"etiology": Etiology.BENIGN}
    levels = (level(BROKEN, "L1", **benign), level(BROKEN, "L2", **benign))
    return report("1.2", levels, ingest=4000.0, localise=4000.0, score=6000.0)


def end(place: Workplace, uid: str, state: StudyState, outcome: Mapping[str, object]) -> None:
    """A study that has come to its end."""
    place.journal.add_file(FoundFile(uid.encode(), WHOLE_FILE, uid, 1, 1, study=uid), 1)
    place.journal.expect(uid, "fingerprint")
    folder = uid if state is StudyState.REPORTED else None
    place.journal.ended(uid, state, folder, dict(outcome))


def refused(code: str) -> dict[str, object]:
    return {"reason": {"code": code, "message": "Because."}, "stages_ms": {"ingest": 500.0}}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Two studies reported, three refused, one failed, one that waits, three files of no study."""
    with open_workplace(tmp_path_factory.mktemp("summary") / "out") as place:
        for read in (first(), second()):
            uid = read.study.study_instance_uid
            (place.out / uid).mkdir()
            (place.out / uid / "report.json").write_bytes(to_json(read))
            end(place, uid, StudyState.REPORTED, outcome_of(read).model_dump(mode="json"))
        for uid, code in (("1.3", "no_usable_series"), ("1.4", "no_usable_series"), ("1.5", "a<b")):
            end(place, uid, StudyState.REFUSED, refused(code))
        end(place, "1.6", StudyState.FAILED, refused("timeout"))
        place.journal.add_file(FoundFile(b"7", WHOLE_FILE, "7", 1, 1, study="1.7"), 1)
        place.journal.expect("1.7", "fingerprint")
        for name, code in (("x", "not_dicom"), ("y", "not_dicom"), ("z", "encrypted")):
            file = FoundFile(name.encode(), WHOLE_FILE, name, 1, 1, code=code, reason="Because.")
            place.journal.add_file(file, 1)
        figures = Figures()
        write_tables(place, str, hide_files=False, on_report=figures.add_report)
        figures.add_studies(place.journal)
        made = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
        write_summary(place, figures, made, lambda uid: f"name of {uid}", pages=False)
        return Page.of(place.out)


def test_counts(page: Page) -> None:
    assert page.tiles == {
        "studies found": "7",
        "reported": "2",
        "refused": "3",
        "failed": "1",
        "still waiting": "1",
        "levels": "6",
        "files of no study": "3",
    }


def test_refusals_by_code_the_most_frequent_first(page: Page) -> None:
    _, *rows = page.tables["Refused, failed, withheld"]
    assert rows == [
        ["study", "refused", "no_usable_series", "2"],
        ["study", "failed", "timeout", "1"],
        ["study", "refused", "a<b", "1"],
        ["file", "of no study", "not_dicom", "2"],
        ["file", "of no study", "encrypted", "1"],
        ["file", "of a study", "role_not_recognised", "2"],
        ["study", "withheld", "sacrum_not_scored", "1"],
    ]


def test_how_calls_are_distributed(page: Page) -> None:
    assert page.legends == {
        "Edema": ["present 3", "absent 1", "indeterminate 1", "not said 1"],
        "Fracture": ["present 3", "absent 2", "not said 1"],
        "Acuity": ["unhealed 3", "no fracture 1", "indeterminate 1", "not said 1"],
        "Etiology": ["benign 2", "pathological 1", "indeterminate 1", "not applicable 1",
                     "not said 1"],
    }  # fmt: skip
    assert page.widths["Edema"] == pytest.approx([50.0, 16.67, 16.67, 16.67])
    assert page.widths["Fracture"] == pytest.approx([50.0, 33.33, 16.67])


def test_calls_by_level_from_the_top_down(page: Page) -> None:
    assert page.tables["By level"] == [
        ["Level", "Seen", "Edema", "Fracture", "Unhealed", "Pathological"],
        ["L1", "2", "1", "1", "1", "0"],
        ["L2", "2", "2", "2", "2", "1"],
        ["S1", "1", "0", "0", "0", "0"],
        ["unnamed", "1", "0", "0", "0", "0"],
    ]


def test_the_slowest_stages_and_studies_first(page: Page) -> None:
    stages = page.table("Where the time goes")
    # Of 22 s in all: 9 s of scoring, 7 s of ingest (four that were refused or failed: 0.5 s each).
    assert [(row["Stage"], row["Median ms"], row["Longest ms"]) for row in stages] == [
        ("score", "4,500", "6,000"),
        ("ingest", "500", "4,000"),
        ("localise", "3,000", "4,000"),
    ]
    assert page.tables["Slowest studies"] == [
        ["Study", "Seconds"], ["1.2", "14.00"], ["1.1", "6.00"],
    ]  # fmt: skip


def test_every_study_has_its_line(page: Page) -> None:
    _, *rows = page.tables["Studies"]
    assert sorted(rows) == [
        ["1.1", "reported", "4", "L2", "L2", "L2", "", "6.00"],
        ["1.2", "reported", "2", "L1 L2", "L1 L2", "", "", "14.00"],
        ["name of 1.3", "refused", "", "", "", "", "no_usable_series", "0.50"],
        ["name of 1.4", "refused", "", "", "", "", "no_usable_series", "0.50"],
        ["name of 1.5", "refused", "", "", "", "", "a<b", "0.50"],
        ["name of 1.6", "failed", "", "", "", "", "timeout", "0.50"],
        ["name of 1.7", "waiting", "", "", "", "", "", ""],
    ]
