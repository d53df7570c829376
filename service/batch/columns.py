"""A report as rows of a table: one row per level, one column per field.

The columns follow from the report's own schema, so a field that is added to a report becomes a
column by itself. Nested names are joined by `_`; a point in mm becomes three columns ending in
`_x`, `_y` and `_z`; codes in a list are joined by `;`; what has a structure of its own (other
possible names of a level, outlines) is JSON. Features and mimics have a column for every name that
occurs in the batch.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from service.report.document import FeatureReport, LevelReport, StudyReport

Value = str | int | float | bool | None
Row = dict[str, Value]

AXES: Final = ("x", "y", "z")


class Kind(StrEnum):
    """Type of a column."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `results.csv` and `results.parquet`."""

    name: str
    kind: Kind


STUDY_COLUMNS: Final = (
    Column("folder", Kind.TEXT),
    Column("study_instance_uid", Kind.TEXT),
    Column("schema_version", Kind.TEXT),
    Column("status", Kind.TEXT),
    Column("anchor", Kind.TEXT),
    Column("reference_series_uid", Kind.TEXT),
    Column("roles_used", Kind.TEXT),
    Column("files_used", Kind.INTEGER),
    Column("files_refused", Kind.INTEGER),
    Column("abstentions", Kind.TEXT),
    Column("software", Kind.TEXT),
    Column("bundles", Kind.TEXT),
    Column("device", Kind.TEXT),
    Column("level_number", Kind.INTEGER),
)
"""Of the study, repeated on each of its rows; `level_number` counts from cranial, from 1."""

_NAMED: Final = frozenset({"features", "mimics"})


def rows_of(folder: str, report: StudyReport) -> Iterator[Row]:
    """The rows of a report, cranial to caudal; none when it has no levels."""
    study = _study_values(folder, report)
    for number, level in enumerate(report.levels, start=1):
        yield {**study, "level_number": number, **_level_values(level)}


def names_in(report: StudyReport) -> Iterator[Column]:
    """The columns that a report has beside the ones that every report has."""
    for level in report.levels:
        for name in level.features:
            for part, field in FeatureReport.model_fields.items():
                yield Column(f"features_{name}_{part}", _kind_of(_plain(field.annotation)))
        for name in level.mimics:
            yield Column(f"mimics_{name}", Kind.REAL)


def all_columns(named: Iterable[Column]) -> tuple[Column, ...]:
    """Every column of a table, in order.

    Args:
        named: Those of `names_in` of every report in the table.
    """
    return (*STUDY_COLUMNS, *_level_columns(), *sorted(set(named), key=lambda one: one.name))


def _study_values(folder: str, report: StudyReport) -> Row:
    made = report.provenance
    return {
        "folder": folder,
        "study_instance_uid": report.study.study_instance_uid,
        "schema_version": report.schema_version,
        "status": report.status.value,
        "anchor": report.anchor.value,
        "reference_series_uid": report.reference_series_uid,
        "roles_used": _joined(series.role for series in report.series if series.used),
        "files_used": report.files.used,
        "files_refused": len(report.files.refused),
        "abstentions": _joined(dict.fromkeys(item.code for item in report.abstentions)),
        "software": made.software,
        "bundles": _joined(f"{bundle.name} {bundle.version}" for bundle in made.bundles),
        "device": made.device,
    }


def _level_values(level: LevelReport) -> Row:
    values: Row = {}
    for name in LevelReport.model_fields:
        if name not in _NAMED:
            _flatten(name, getattr(level, name), values)
    for feature, report in level.features.items():
        _flatten(f"features_{feature}", report, values)
    for mimic, probability in level.mimics.items():
        values[f"mimics_{mimic}"] = probability
    return values


def _flatten(name: str, value: object, values: Row) -> None:
    if isinstance(value, BaseModel):
        for part in type(value).model_fields:
            _flatten(f"{name}_{part}", getattr(value, part), values)
    elif isinstance(value, tuple) and name.endswith("_lps_mm") and _is_triple(value):
        for axis, part in zip(AXES, value, strict=True):
            values[f"{name}_{axis}"] = part
    elif isinstance(value, StrEnum):
        values[name] = value.value
    elif isinstance(value, tuple):
        values[name] = _joined(value) if _are_codes(value) else _json(value)
    elif isinstance(value, Mapping):
        values[name] = _json(value)
    elif isinstance(value, (str, int, float)):
        values[name] = value
    elif value is not None:  # what is null has no value in its columns, however many they are
        raise TypeError(f"{name} has no column for a {type(value).__name__}")


def _is_triple(value: tuple[object, ...]) -> bool:
    return len(value) == len(AXES) and all(isinstance(part, (int, float)) for part in value)


def _are_codes(value: tuple[object, ...]) -> bool:
    return all(isinstance(part, (str, int)) for part in value)


def _joined(parts: Iterable[object]) -> str:
    return ";".join(part.value if isinstance(part, StrEnum) else str(part) for part in parts)


def _json(value: Any) -> str:  # noqa: ANN401  whatever a report holds
    return json.dumps(value, default=_as_json, sort_keys=True, separators=(",", ":"))


def _as_json(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)


@lru_cache(maxsize=1)
def _level_columns() -> tuple[Column, ...]:
    columns: list[Column] = []
    for name, field in LevelReport.model_fields.items():
        if name not in _NAMED:
            columns += _columns_of(name, field.annotation)
    return tuple(columns)


def _columns_of(name: str, annotation: object) -> Iterator[Column]:
    plain = _plain(annotation)
    if isinstance(plain, type) and issubclass(plain, BaseModel):
        for part, field in plain.model_fields.items():
            yield from _columns_of(f"{name}_{part}", field.annotation)
    elif name.endswith("_lps_mm") and get_origin(plain) is tuple and len(get_args(plain)) == 3:
        yield from (Column(f"{name}_{axis}", Kind.REAL) for axis in AXES)
    else:
        yield Column(name, _kind_of(plain))


def _plain(annotation: object) -> object:
    """A type without constraints and without None."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            annotation = next(part for part in get_args(annotation) if part is not type(None))
        else:
            return annotation


def _kind_of(plain: object) -> Kind:
    if get_origin(plain) is Literal:
        plain = type(get_args(plain)[0])
    kinds = {bool: Kind.BOOLEAN, int: Kind.INTEGER, float: Kind.REAL}
    return kinds.get(plain, Kind.TEXT) if isinstance(plain, type) else Kind.TEXT
