"""The manifest on disk: the same rows as Parquet or as CSV, by the file's suffix.

Parquet is the one to keep; CSV is for eyes and spreadsheets. In CSV an empty cell is `None`.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from models.durable import write_durably
from training.datasets.errors import (
    ManifestColumnError,
    ManifestMissingError,
    ManifestUnreadableError,
    ManifestValueError,
    NewerManifestError,
)
from training.datasets.rows import COLUMNS, LABEL_COLUMNS, MANIFEST_SCHEMA, REQUIRED, LabelRow

_TOLD: Final = 5
"""How many wrong values an error names."""

_TEXT_COLUMNS: Final = frozenset({"series_instance_uid", "weak_labels", "source_labels"})
"""Columns in which an empty text is a value."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Rows and the folder that their paths start from."""

    rows: tuple[LabelRow, ...]
    folder: Path

    def study_path(self, row: LabelRow) -> Path:
        """Where the study of a row lies."""
        return self.folder / row.study_path

    def mask_path(self, row: LabelRow) -> Path | None:
        """Where the mask of a row lies, None where it has none."""
        return None if row.mask_path is None else self.folder / row.mask_path


def read_manifest(path: Path, require: Sequence[str] = ()) -> Manifest:
    """Read a manifest; nothing of the studies is opened.

    Args:
        path: A `.parquet` or `.csv` file.
        require: Label columns that a task needs: each must have a value in some row.

    Raises:
        ManifestMissingError: There is no such file.
        ManifestUnreadableError: It is not such a table, or it has no rows.
        NewerManifestError: A newer version wrote it.
        ManifestColumnError: A column is missing, unknown, or required and empty.
        ManifestValueError: Values that their columns cannot hold; the first few are named.
    """
    if not path.is_file():
        raise ManifestMissingError("there is no manifest at the path given")
    columns, records = _read_csv(path) if _is_csv(path) else _read_parquet(path)
    _check_version(columns, records)
    _check_columns(columns)
    manifest = Manifest(_parsed(records), path.parent)
    for name in require:
        if name not in LABEL_COLUMNS:
            raise ManifestColumnError(f"{name} is not a label column; they are {LABEL_COLUMNS}")
        if all(getattr(row, name) is None for row in manifest.rows):
            raise ManifestColumnError(f"column {name} is needed and holds no label")
    return manifest


def write_manifest(path: Path, rows: Iterable[LabelRow]) -> Manifest:
    """Write rows; the file appears whole or not at all.

    Args:
        path: A `.parquet` or `.csv` file in an existing folder.
        rows: Absolute paths in them are written relative to the manifest; relative ones are kept.

    Returns:
        What `read_manifest` will give.

    Raises:
        ManifestUnreadableError: There is no row, or the suffix is another one.
    """
    placed = tuple(_relative_to(path.parent, row) for row in rows)
    if not placed:
        raise ManifestUnreadableError("a manifest without rows is not written")
    dumped = (row.model_dump(mode="json") for row in placed)
    records = [{name: values[name] for name in COLUMNS} for values in dumped]
    write_durably(path, _csv_bytes(records) if _is_csv(path) else _parquet_bytes(records))
    return Manifest(placed, path.parent)


def _is_csv(path: Path) -> bool:
    if path.suffix not in (".csv", ".parquet"):
        raise ManifestUnreadableError("a manifest is a .parquet or a .csv file")
    return path.suffix == ".csv"


def _relative_to(folder: Path, row: LabelRow) -> LabelRow:
    def moved(text: str | None) -> str | None:
        if text is None or not Path(text).is_absolute():
            return text
        return Path(os.path.relpath(text, folder.resolve())).as_posix()

    paths = {"study_path": moved(row.study_path), "mask_path": moved(row.mask_path)}
    return row.model_copy(update=paths)


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    try:
        # A spreadsheet's byte order mark is not part of the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            records = [
                {
                    name: value if value or name in _TEXT_COLUMNS else None
                    for name, value in record.items()
                }
                for record in reader
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestUnreadableError("the CSV file cannot be read") from error
    for line, record in enumerate(records, start=2):
        # Superfluous cells come under the key None, missing ones as the value None.
        if None in record:
            raise ManifestUnreadableError(f"line {line} has more cells than there are columns")
    return list(reader.fieldnames or ()), records


def _read_parquet(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    import pyarrow as pa  # noqa: PLC0415  40 MB that --help need not pay for
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ManifestUnreadableError("the Parquet file is damaged or cut short") from error
    return list(table.column_names), table.to_pylist()


def _csv_bytes(records: Sequence[Mapping[str, object]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue().encode()


def _parquet_bytes(records: Sequence[Mapping[str, object]]) -> bytes:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    kinds = {"int": pa.int32(), "float": pa.float64(), "bool": pa.bool_(), "text": pa.string()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in COLUMN_KINDS.items()])
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(records), schema=schema), sink)
    return sink.getvalue()


def _kind_of(name: str) -> str:
    hint = str(LabelRow.model_fields[name].annotation)
    for kind in ("bool", "float", "int"):
        if kind in hint:
            return kind
    return "text"


COLUMN_KINDS: Final = {name: _kind_of(name) for name in COLUMNS}
"""Column to "int", "float", "bool" or "text": how Parquet stores it."""


def _check_version(columns: Sequence[str], records: Sequence[Mapping[str, object]]) -> None:
    if "manifest_schema" not in columns:
        raise ManifestColumnError("column manifest_schema is missing: this is not a manifest")
    if not records:
        raise ManifestUnreadableError("the manifest has no rows")
    versions = {str(record["manifest_schema"]) for record in records}
    newer = sorted(v for v in versions if v.isdecimal() and int(v) > int(MANIFEST_SCHEMA))
    if newer:
        raise NewerManifestError(
            f"the manifest has schema {newer[-1]}, this version reads {MANIFEST_SCHEMA}; "
            "update vertebral-acuity"
        )


def _check_columns(columns: Sequence[str]) -> None:
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    missing = [name for name in REQUIRED if name not in columns]
    if missing or repeated:
        said = [f"missing: {', '.join(missing)}"] if missing else []
        said += [f"given twice: {', '.join(repeated)}"] if repeated else []
        raise ManifestColumnError(f"columns {'; '.join(said)}")
    for name in columns:
        if name not in COLUMNS:
            close = get_close_matches(name, COLUMNS, 1)
            hint = f"; is it {close[0]}?" if close else ""
            raise ManifestColumnError(f"column {name!r} is not known{hint}")


def _parsed(records: Sequence[Mapping[str, object]]) -> tuple[LabelRow, ...]:
    rows, wrong = [], []
    for number, record in enumerate(records, start=1):
        try:
            rows.append(LabelRow.model_validate(record))
        except ValidationError as error:
            for one in error.errors(include_input=False, include_url=False):
                column = ".".join(str(part) for part in one["loc"]) or "row"
                wrong.append(f"row {number}, {column}: {one['msg']}")
    if wrong:
        more = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
        raise ManifestValueError("; ".join(wrong[:_TOLD]) + more)
    return tuple(rows)
