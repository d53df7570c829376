"""The tables of a batch, made study by study, so that a large one takes no more memory.

results.csv, results.parquet   a row per level
studies.csv                    a row per study, with its outcome and how long its stages took
refused_files.csv              a row per file that is of no study

Only `studies.csv` holds times: the other tables are the same bytes whenever they are made of the
same studies.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from models.durable import settle, write_back
from service.batch.columns import Column, Kind, Row, Value, all_columns, names_in, rows_of
from service.batch.journal import Journal, StudyRow, StudyState
from service.batch.workplace import Workplace
from service.report.document import StudyReport
from service.report.json_writer import from_json

if TYPE_CHECKING:
    import pyarrow as pa

RESULTS_CSV: Final = "results.csv"
RESULTS_PARQUET: Final = "results.parquet"
STUDIES_CSV: Final = "studies.csv"
REFUSED_CSV: Final = "refused_files.csv"

REPORT: Final = "report.json"
ROW_GROUP: Final = 4096
"""Rows of a group of the Parquet file: what is held in memory."""

STUDY_FIELDS: Final = (
    "folder", "study_instance_uid", "state", "code", "message", "levels", "edema", "unhealed",
    "healed", "pathological", "abstentions", "files_used",
)  # fmt: skip
STAGES: Final = ("ingest", "localise", "score", "geometry")


class _Writer(Protocol):
    def writerow(self, row: Iterable[str], /) -> object: ...


Name = Callable[[str], str]
"""Gives a study's UID as it may be written."""


def write_tables(
    place: Workplace, name: Name, *, hide_files: bool, on_report: Callable[[StudyReport], None]
) -> None:
    """Write every table of a batch, each whole or not at all.

    Args:
        place: Where the batch lives.
        name: For UIDs of studies.
        hide_files: Whether names of files are left out, for they may name a patient.
        on_report: Given every report on the way.

    Raises:
        OSError: The folder cannot be written.
    """
    columns = all_columns(column for _, report in _reports(place) for column in names_in(report))
    with (
        _csv(place, RESULTS_CSV, [column.name for column in columns]) as add_line,
        _parquet(place, RESULTS_PARQUET, columns) as add_row,
    ):
        for folder, report in _reports(place):
            on_report(report)
            for row in rows_of(folder, report):
                add_line([row.get(column.name) for column in columns])
                add_row(row)
    header = [*STUDY_FIELDS, *(f"{stage}_ms" for stage in STAGES)]
    with _csv(place, STUDIES_CSV, header) as add_line:
        for study in place.journal.studies():
            add_line(_study_line(study, name))
    with _csv(place, REFUSED_CSV, ["file", "code", "reason"]) as add_line:
        for line in _refused_lines(place.journal, hide_files=hide_files):
            add_line(line)


def _reports(place: Workplace) -> Iterator[tuple[str, StudyReport]]:
    """Result folders and their reports, by name."""
    for study in place.journal.studies():
        if study.folder is not None:
            yield study.folder, from_json((place.out / study.folder / REPORT).read_bytes())


def _study_line(study: StudyRow, name: Name) -> list[Value]:
    outcome = study.outcome
    reason: Mapping[str, str] = outcome.get("reason") or {}
    summary: Mapping[str, Any] = outcome.get("summary") or {}
    stages: Mapping[str, float] = outcome.get("stages_ms") or {}
    listed = ("edema", "unhealed", "healed", "pathological", "abstentions")
    return [
        study.folder,
        name(study.study),
        # An interrupted batch also has studies that wait.
        "waiting" if study.state is StudyState.FOUND else study.state.value,
        reason.get("code"),
        reason.get("message"),
        summary.get("levels", 0),
        *(";".join(summary.get(field, ())) for field in listed),
        outcome.get("files_used", 0),
        *(_rounded(stages.get(stage)) for stage in STAGES),
    ]


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)


def _refused_lines(journal: Journal, *, hide_files: bool) -> Iterator[list[Value]]:
    for number, file in enumerate(journal.files_of_none(), start=1):
        shown = f"file-{number:06d}" if hide_files else file.name
        yield [shown, file.code or "", file.reason or ""]


@contextmanager
def _table(place: Workplace, name: str) -> Iterator[Path]:
    """A path that becomes the table once everything inside went well."""
    part = place.scratch / f"{name}.part"
    try:
        yield part
        write_back(part)
        part.replace(place.out / name)
        settle([place.out / name])
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _csv(
    place: Workplace, name: str, header: Sequence[str]
) -> Iterator[Callable[[Sequence[Value]], None]]:
    with (
        _table(place, name) as path,
        path.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        yield lambda values: _write_line(writer, values)


def _write_line(writer: _Writer, values: Sequence[Value]) -> None:
    writer.writerow([_written(value) for value in values])


@contextmanager
def _parquet(
    place: Workplace, name: str, columns: Sequence[Column]
) -> Iterator[Callable[[Row], None]]:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    kinds: Mapping[Kind, pa.DataType] = {
        Kind.TEXT: pa.string(),
        Kind.INTEGER: pa.int64(),
        Kind.REAL: pa.float64(),
        Kind.BOOLEAN: pa.bool_(),
    }
    schema = pa.schema([(column.name, kinds[column.kind]) for column in columns])
    held: list[Row] = []
    with (
        _table(place, name) as path,
        parquet.ParquetWriter(path, schema, compression="zstd") as writer,
    ):

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(held, schema))
            held.clear()

        def add(row: Row) -> None:
            held.append(row)
            if len(held) == ROW_GROUP:
                flush()

        yield add
        if held:
            flush()


def _written(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)
