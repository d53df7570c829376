"""A batch with studies of every kind of end: the others are read, and the summary says it all."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import pytest

from service.batch.journal import StudyState
from service.batch.run import run_batch
from service.batch.tables import RESULTS_CSV, STUDIES_CSV
from service.report.outputs import Format
from service.settings import Settings
from tests.batch_made import (
    DIES,
    NAMES,
    RAISES,
    Silent,
    asked_for,
    stand_in_jobs,
    study,
    write_studies,
)
from tests.builders import uid, write_all
from tests.unit.batch.summaries import Page

STUDIES = 10
REFUSED = 2  # every fifth


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_study_that_breaks_its_reader_does_not_stop_the_others(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    brightest = {1: RAISES, 2: DIES}
    for number in range(5):
        write_all(study(number, brightest.get(number, 0)), root / str(number))
    progress = Silent()
    counts = run_batch(asked_for(root, out), Settings(), progress, stand_in_jobs())
    assert counts[StudyState.REPORTED] == 3
    assert counts[StudyState.FAILED] == 2
    assert progress.done == 5
    ends = {line["study_instance_uid"]: line for line in lines(out / STUDIES_CSV)}
    codes = {number: ends[uid(f"batch {number}")]["code"] for number in range(5)}
    assert codes == {0: "", 1: "internal", 2: "worker_died", 3: "", 4: ""}
    read = Counter(line["study_instance_uid"] for line in lines(out / RESULTS_CSV))
    assert read == {uid(f"batch {number}"): len(NAMES) for number in (0, 3, 4)}


@pytest.mark.parametrize(
    ("formats", "name"), [((), "report.json"), ((Format.HTML,), "report.html")]
)
def test_the_summary_of_a_batch_says_what_is_there_and_leads_to_it(
    tmp_path: Path, formats: tuple[Format, ...], name: str
) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    write_studies(root, STUDIES)
    (root / "letter.txt").write_text("no image")
    run_batch(asked_for(root, out, 2, *formats), Settings(), Silent(), stand_in_jobs())
    page = Page.of(out)
    told = ("studies found", "reported", "refused", "failed", "levels", "files of no study")
    levels = (STUDIES - REFUSED) * len(NAMES)
    expected = (STUDIES, STUDIES - REFUSED, REFUSED, 0, levels, 1)
    assert tuple(int(page.tiles[each]) for each in told) == expected
    codes = {tuple(row[:3]): int(row[3]) for row in page.tables["Refused, failed, withheld"][1:]}
    assert codes["study", "refused", "no_usable_series"] == REFUSED
    assert codes["file", "of no study", "not_dicom"] == 1
    rows = lines(out / RESULTS_CSV)
    for question in ("edema", "fracture", "acuity", "etiology"):
        calls = Counter(row[f"{question}_call"].replace("_", " ") for row in rows)
        assert set(page.legends[question.capitalize()]) == {
            f"{call} {count}" for call, count in calls.items()
        }
    studies = {line["folder"]: line for line in lines(out / STUDIES_CSV)}
    assert len(studies) == STUDIES
    for folder, seconds in page.tables["Slowest studies"][1:]:
        stages = ("ingest_ms", "localise_ms", "score_ms")
        taken = sum(float(studies[folder][stage] or 0) for stage in stages) / 1000
        assert float(seconds) >= taken - 0.01
    assert {f"{folder}/{name}" for folder in studies} <= set(page.links)
    for link in page.links:
        assert (out / unquote(link)).is_file(), link
