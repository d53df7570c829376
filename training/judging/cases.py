"""Judged levels: what is true of a level beside what a model said of it.

One row a labelled level, found or not. Columns are arrays of equal length, kept as Parquet, so that
figures can be made again and two models compared without running a network.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.durable import write_durably
from models.findings import Acuity, Call, Etiology
from training.datasets.rows import Labels
from training.judging.errors import CasesUnreadableError, DifferentCasesError

SCHEMA: Final = "1"

TASKS: Final = ("edema", "fracture", "unhealed", "pathological")
"""Questions that are answered with a call."""

WITHHELD: Final = "withheld"
"""The call of a level that the model did not find, or of which it said nothing."""

CALLS: Final = (*(str(call) for call in Call), WITHHELD)

FACTS: Final = ("grade", "sequences", "field", "thickness", "vendor", "sex", "age")
"""What subgroups are made of."""

UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Judged:
    """Levels in the order they were read.

    Attributes:
        patient, study, level: (n,) text.
        found: (n,) whether the model found the body.
        named: (n,) whether it gave it the right name.
        truth: Task to (n,) 1, 0, or NaN where the question is not asked.
        logit: Task to (n,) raw output, NaN where not found or withheld.
        probability: Task to (n,) calibrated, NaN likewise.
        call: Task to (n,) one of `CALLS`.
        etiology_set: (n,) conformal set, members joined by "+", "" where not given.
        group: (n,) conformal group, "" where not found.
        facts: Name to (n,) stratum.
    """

    patient: NDArray[np.str_]
    study: NDArray[np.str_]
    level: NDArray[np.str_]
    found: NDArray[np.bool_]
    named: NDArray[np.bool_]
    truth: Mapping[str, NDArray[np.float64]]
    logit: Mapping[str, NDArray[np.float64]]
    probability: Mapping[str, NDArray[np.float64]]
    call: Mapping[str, NDArray[np.str_]]
    etiology_set: NDArray[np.str_]
    group: NDArray[np.str_]
    facts: Mapping[str, NDArray[np.str_]]

    def __len__(self) -> int:
        return len(self.level)

    def taken(self, chosen: NDArray[Any]) -> Judged:
        """Some of the levels."""
        values: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            values[field.name] = (
                {name: column[chosen] for name, column in value.items()}
                if isinstance(value, Mapping)
                else value[chosen]
            )
        return Judged(**values)

    def asked(self, task: str, *, answered: bool) -> NDArray[np.bool_]:
        """(n,) levels where a task has a truth, and, if asked for, a probability."""
        asked = np.isfinite(self.truth[task])
        return asked & np.isfinite(self.probability[task]) if answered else asked


def joined(parts: Sequence[Judged]) -> Judged:
    """Levels of several, in order."""
    values: dict[str, Any] = {}
    for field in fields(Judged):
        columns = [getattr(part, field.name) for part in parts]
        values[field.name] = (
            {name: np.concatenate([one[name] for one in columns]) for name in columns[0]}
            if isinstance(columns[0], Mapping)
            else np.concatenate(columns)
        )
    return Judged(**values)


def truth_of(labels: Labels) -> dict[str, float]:
    """Truth by task from the labels of a level; NaN where nothing certain was said."""
    yes_or_no = {Call.PRESENT: 1.0, Call.ABSENT: 0.0}
    unhealed = {Acuity.UNHEALED: 1.0, Acuity.HEALED: 0.0, Acuity.NO_FRACTURE: 0.0}
    etiology = {Etiology.PATHOLOGICAL: 1.0, Etiology.BENIGN: 0.0}
    unsaid = float("nan")
    return {
        "edema": yes_or_no.get(labels.edema, unsaid) if labels.edema else unsaid,
        "fracture": yes_or_no.get(labels.fracture, unsaid) if labels.fracture else unsaid,
        "unhealed": unhealed.get(labels.acuity, unsaid) if labels.acuity else unsaid,
        "pathological": etiology.get(labels.etiology, unsaid) if labels.etiology else unsaid,
    }


def gathered(rows: Sequence[Mapping[str, Any]]) -> Judged:
    """Columns from one mapping a level, whose keys are the fields of `Judged`."""

    def texts(name: str) -> NDArray[np.str_]:
        return np.array([row[name] for row in rows], dtype=np.str_)

    def by_task(name: str) -> dict[str, NDArray[np.float64]]:
        return {task: np.array([row[name][task] for row in rows], float) for task in TASKS}

    return Judged(
        patient=texts("patient"),
        study=texts("study"),
        level=texts("level"),
        found=np.array([row["found"] for row in rows], bool),
        named=np.array([row["named"] for row in rows], bool),
        truth=by_task("truth"),
        logit=by_task("logit"),
        probability=by_task("probability"),
        call={task: np.array([row["call"][task] for row in rows], np.str_) for task in TASKS},
        etiology_set=texts("etiology_set"),
        group=texts("group"),
        facts={name: np.array([row["facts"][name] for row in rows], np.str_) for name in FACTS},
    )


def save_judged(path: Path, judged: Judged, about: Mapping[str, Any]) -> None:
    """Write judged levels as Parquet with a JSON note of where they come from."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = pa.table({name: pa.array(column.tolist()) for name, column in _flat(judged).items()})
    note = {"schema": SCHEMA, "about": json.dumps(dict(about), sort_keys=True)}
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(note), sink)
    write_durably(path, sink.getvalue())


def load_judged(path: Path) -> tuple[Judged, dict[str, Any]]:
    """Read what `save_judged` wrote.

    Raises:
        CasesUnreadableError: It is damaged, or of another version.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.read_table(path)
        note = {
            key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()
        }
        if note.get("schema") != SCHEMA:
            raise CasesUnreadableError("the judged levels are of another version")
        columns = {name: table[name].to_pylist() for name in table.column_names}
        return _unflat(columns), json.loads(note["about"])
    except (pa.ArrowException, OSError, KeyError) as error:
        raise CasesUnreadableError("the file of judged levels cannot be read") from error


def _flat(judged: Judged) -> dict[str, NDArray[Any]]:
    flat: dict[str, NDArray[Any]] = {}
    for field in fields(judged):
        value = getattr(judged, field.name)
        if isinstance(value, Mapping):
            flat |= {f"{field.name}.{name}": column for name, column in value.items()}
        else:
            flat[field.name] = value
    return flat


def _unflat(columns: Mapping[str, list[Any]]) -> Judged:
    kinds = {"found": bool, "named": bool, "truth": float, "logit": float, "probability": float}
    values: dict[str, Any] = {}
    for name, column in columns.items():
        outer, _, inner = name.partition(".")
        array = np.array(column, dtype=kinds.get(outer, np.str_))
        if inner:
            values.setdefault(outer, {})[inner] = array
        else:
            values[outer] = array
    return Judged(**values)


def same_cases(first: Judged, second: Judged) -> None:
    """Check that two results speak of the same levels with the same truth.

    Raises:
        DifferentCasesError: They do not.
    """
    alike = len(first) == len(second) and all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("patient", "study", "level")
    )
    if not alike or not all(
        np.array_equal(first.truth[task], second.truth[task], equal_nan=True) for task in TASKS
    ):
        raise DifferentCasesError("the two results are not of the same levels and labels")
