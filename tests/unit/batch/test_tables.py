"""A row per level with every field of the report, the same in CSV and Parquet, and documented."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from service.batch.columns import Kind, all_columns, names_in, rows_of
from service.batch.figures import NOT_SAID, Figures
from service.batch.journal import WHOLE_FILE, FoundFile, StudyState
from service.batch.summary import SUMMARY, write_summary
from service.batch.tables import (
    REFUSED_CSV,
    RESULTS_CSV,
    RESULTS_PARQUET,
    STUDIES_CSV,
    write_tables,
)
from service.batch.workplace import Workplace, open_workplace
from service.jobs.work import outcome_of
from service.report.document import StudyReport
from service.report.json_writer import from_json, to_json

DOCS = Path(__file__).parents[3] / "docs" / "batch.md"
SAMPLE = Path(__file__).parent / "report.json"


@pytest.fixture(scope="module")
def report() -> StudyReport:
    """A whole report, as the product wrote it of a synthetic study."""
    return from_json(SAMPLE.read_bytes())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    with open_workplace(tmp_path / "out") as opened:
        yield opened


def add(place: Workplace, name: str, report: StudyReport | None, code: str = "timeout") -> None:
    """A study that has come to its end."""
    place.journal.add_file(FoundFile(name.encode(), WHOLE_FILE, name, 1, 1, study=name), 1)
    place.journal.expect(name, "fingerprint")
    if report is None:
        outcome = {"reason": {"code": code, "message": "It took too long."}, "stages_ms": {}}
        place.journal.ended(name, StudyState.FAILED, None, outcome)
        return
    folder = place.out / name
    folder.mkdir()
    (folder / "report.json").write_bytes(to_json(report))
    outcome = outcome_of(report).model_dump(mode="json")
    place.journal.ended(name, StudyState.REPORTED, name, outcome)


def write(place: Workplace, *, hidden: bool = False) -> Figures:
    figures = Figures()
    write_tables(
        place,
        (lambda uid: f"new-{uid}") if hidden else str,
        hide_files=hidden,
        on_report=figures.add_report,
    )
    figures.add_studies(place.journal)
    return figures


def lines(place: Workplace, name: str) -> list[dict[str, str]]:
    with (place.out / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_value_of_a_report_has_a_column(report: StudyReport) -> None:
    columns = {column.name: column.kind for column in all_columns(names_in(report))}
    rows = list(rows_of("folder", report))
    assert len(rows) == len(report.levels)
    types = {
        Kind.TEXT: str, Kind.INTEGER: int, Kind.REAL: (int, float), Kind.BOOLEAN: bool,
    }  # fmt: skip
    for row in rows:
        for name, value in row.items():
            assert name in columns
            assert value is None or isinstance(value, types[columns[name]]), name


def test_no_number_of_a_report_is_lost(report: StudyReport) -> None:
    def numbers(value: object) -> Iterator[float]:
        if isinstance(value, dict):
            for part in value.values():
                yield from numbers(part)
        elif isinstance(value, list):
            for part in value:
                yield from numbers(part)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield float(value)

    for level, row in zip(report.levels, rows_of("folder", report), strict=True):
        written = {float(x) for x in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", json.dumps(row))}
        missing = [x for x in numbers(level.model_dump(mode="json")) if x not in written]
        assert not missing


def test_csv_and_parquet_say_the_same(place: Workplace, report: StudyReport) -> None:
    add(place, "1.2", report)
    add(place, "1.1", report)
    write(place)
    table = pq.read_table(place.out / RESULTS_PARQUET)
    rows = lines(place, RESULTS_CSV)
    assert table.num_rows == len(rows) == 2 * len(report.levels)
    assert table.column_names == list(rows[0])
    for typed, text in zip(table.to_pylist(), rows, strict=True):
        for name, value in typed.items():
            shown = "" if value is None else str(value)
            assert text[name] == (shown.lower() if isinstance(value, bool) else shown), name
    assert [row["folder"] for row in rows] == ["1.1"] * len(report.levels) + ["1.2"] * len(
        report.levels
    )
    first = table.to_pylist()[0]
    assert first["level"] == report.levels[0].level
    assert first["level_number"] == 1
    assert isinstance(first["in_distribution"], bool)
    assert isinstance(first["edema_probability"], float)


def test_a_csv_read_by_the_types_of_its_columns_is_the_parquet(
    place: Workplace, report: StudyReport
) -> None:
    add(place, "1.1", report)
    write(place)
    table = pq.read_table(place.out / RESULTS_PARQUET)
    types = {
        Kind.TEXT: pa.string(), Kind.INTEGER: pa.int64(), Kind.REAL: pa.float64(),
        Kind.BOOLEAN: pa.bool_(),
    }  # fmt: skip
    columns = all_columns(names_in(report))
    assert table.schema.equals(pa.schema([(one.name, types[one.kind]) for one in columns]))
    assert {one.kind for one in columns} == set(Kind)
    told = pa_csv.ConvertOptions(
        column_types=table.schema, null_values=[""], strings_can_be_null=True
    )
    read = pa_csv.read_csv(place.out / RESULTS_CSV, convert_options=told)
    # A list without a code is "" in Parquet; CSV has one way to say that and null.
    assert _without_empty_texts(read).equals(_without_empty_texts(table))
    assert table["level"].null_count < table.num_rows


def _without_empty_texts(table: pa.Table) -> pa.Table:
    columns = [
        pc.if_else(pc.equal(column, ""), None, column) if column.type == pa.string() else column
        for column in table.columns
    ]
    return pa.table(columns, table.schema)


def test_tables_of_the_same_studies_are_the_same_bytes(tmp_path: Path, report: StudyReport) -> None:
    slower = report.provenance.model_copy(update={"timings_ms": {"ingest": 9000.0}})
    made = []
    for name, names, given in (
        ("a", ("1.1", "1.2"), report),
        ("b", ("1.2", "1.1"), report.model_copy(update={"provenance": slower})),
    ):
        with open_workplace(tmp_path / name) as place:
            for study in names:
                add(place, study, given)
            write(place)
            made.append(
                [(place.out / table).read_bytes() for table in (RESULTS_CSV, RESULTS_PARQUET)]
            )
    assert made[0] == made[1]


def test_failed_studies_and_refused_files_are_listed(place: Workplace, report: StudyReport) -> None:
    add(place, "1.1", report)
    add(place, "1.2", None)
    found = FoundFile(b"x/Doe^Jane.txt", WHOLE_FILE, "x/Doe^Jane.txt", 1, 1)
    place.journal.add_file(replace(found, code="not_dicom", reason="the file is not DICOM"), 1)
    write(place)
    good, bad = sorted(lines(place, STUDIES_CSV), key=lambda line: line["study_instance_uid"])
    assert (good["state"], good["levels"]) == ("reported", str(len(report.levels)))
    assert float(good["ingest_ms"]) > 0
    assert (bad["state"], bad["code"], bad["folder"]) == ("failed", "timeout", "")
    assert lines(place, REFUSED_CSV) == [
        {"file": "x/Doe^Jane.txt", "code": "not_dicom", "reason": "the file is not DICOM"}
    ]
    write(place, hidden=True)
    assert b"Doe" not in (place.out / REFUSED_CSV).read_bytes()
    assert {line["study_instance_uid"] for line in lines(place, STUDIES_CSV)} == {
        "new-1.1", "new-1.2",
    }  # fmt: skip


def test_a_batch_without_a_report_has_tables_with_their_columns(place: Workplace) -> None:
    write(place)
    assert lines(place, RESULTS_CSV) == []
    assert pq.read_table(place.out / RESULTS_PARQUET).num_rows == 0
    assert "edema_call" in pq.read_schema(place.out / RESULTS_PARQUET).names


def test_figures_count_what_reports_say(place: Workplace, report: StudyReport) -> None:
    add(place, "1.1", report)
    add(place, "1.2", report)
    add(place, "1.3", None)
    figures = write(place)
    assert figures.states[StudyState.REPORTED] == 2
    assert figures.levels == 2 * len(report.levels)
    said = [level.edema.call.value if level.edema else NOT_SAID for level in report.levels]
    assert figures.calls["edema"] == {call: 2 * said.count(call) for call in set(said)}
    assert all(sum(counted.values()) == figures.levels for counted in figures.calls.values())
    assert figures.study_codes == {("failed", "timeout"): 1}
    times = figures.stage_times()
    assert sum(each.share for each in times) == pytest.approx(1.0)
    assert times[0].share == max(each.share for each in times)
    assert len(figures.slowest) == 2


def test_the_summary_escapes_and_links(place: Workplace, report: StudyReport) -> None:
    add(place, "1.1", report)
    add(place, "1.2", None, code="<script>")
    write_summary(place, write(place), datetime(2026, 1, 2, 3, 4, tzinfo=UTC), str, pages=True)
    page = (place.out / SUMMARY).read_text()
    assert 'href="1.1/report.html"' in page
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    for name in (RESULTS_CSV, RESULTS_PARQUET, STUDIES_CSV, REFUSED_CSV):
        assert f'href="{name}"' in page
    assert "default-src 'none'" in page or "default-src &#x27;none&#x27;" in page


def test_an_empty_batch_has_a_summary(place: Workplace) -> None:
    write_summary(place, write(place), datetime.now(UTC), str, pages=True)
    assert "studies found" in (place.out / SUMMARY).read_text()


def test_every_column_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    told = set(re.findall(r"`([a-z_0-9]+)`", text))
    families = tuple(re.findall(r"`([a-z_0-9]+)<[a-z]+>`", text))
    columns = {column.name for column in all_columns(())}
    assert {name for name in columns - told if not name.startswith(families)} == set()
