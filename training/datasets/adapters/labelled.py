"""A site's own labels: DICOM studies under a folder and a CSV file with a line for each level.

The CSV needs a column `level` and one that says which study: `study_instance_uid`, or `folder`
with a path below the root. `reader` and `series_instance_uid` may be there, and any label column
of the manifest. Answers may be written as people write them (yes, no, 1, 0, ?, unsure).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from models.anatomy import LEVELS
from service.logs import Pseudonyms
from training.datasets.adapted import Adapted
from training.datasets.dicom_studies import DicomStudy, Studies, open_studies
from training.datasets.errors import LabelTableError
from training.datasets.rows import LABEL_COLUMNS, LabelRow
from training.datasets.split import SplitRule

_STUDY_COLUMNS: Final = ("study_instance_uid", "folder")
_OTHER_COLUMNS: Final = ("level", "series_instance_uid", "reader")
KNOWN: Final = (*_STUDY_COLUMNS, *_OTHER_COLUMNS, *LABEL_COLUMNS)

_CALLS: Final = {
    **dict.fromkeys(("present", "yes", "y", "true", "1", "positive", "+"), "present"),
    **dict.fromkeys(("absent", "no", "n", "false", "0", "negative", "-"), "absent"),
    **dict.fromkeys(("indeterminate", "unsure", "uncertain", "equivocal", "?"), "indeterminate"),
}
_FLAGS: Final = {
    word: call == "present" for word, call in _CALLS.items() if call != "indeterminate"
}
_CALL_COLUMNS: Final = ("edema", "fracture")


@dataclass(frozen=True, slots=True)
class LabelledSource:
    """Where a site's labels lie.

    Attributes:
        root: Folder with the studies.
        table: The CSV file.
        rule: Splits patients.
        keys: Hides patient IDs.
        reader: For lines without one.
    """

    root: Path
    table: Path
    rule: SplitRule
    keys: Pseudonyms
    reader: str = "site"


def labelled_rows(source: LabelledSource) -> Adapted:
    """Rows of every line whose study is there.

    Raises:
        LabelTableError: A column is missing or unknown, or a value is not understood.
    """
    lines = _read(source.table)
    adapted = Adapted()
    with open_studies(source.root, adapted) as studies:
        folders = {study.folder: study for study in studies.by_uid.values()}
        for number, line in enumerate(lines, start=2):
            study = _study_of(line, source, studies, folders)
            if study is None:
                adapted.skip(f"line {number}", "study_missing")
            else:
                adapted.rows.append(_row(line, number, study, studies, source))
    return adapted


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            lines = [{k: (v or "").strip() for k, v in line.items() if k} for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelTableError("the table of labels cannot be read as CSV") from error
    columns = list(reader.fieldnames or ())
    if "level" not in columns or not set(_STUDY_COLUMNS) & set(columns):
        raise LabelTableError("columns missing: level, and one of study_instance_uid, folder")
    for name in columns:
        if name not in KNOWN:
            close = get_close_matches(name, KNOWN, 1)
            hint = f"; is it {close[0]}?" if close else ""
            raise LabelTableError(f"column {name!r} is not known{hint}")
    if not set(columns) & set(LABEL_COLUMNS):
        raise LabelTableError(f"no label column; they are {', '.join(LABEL_COLUMNS)}")
    if not lines:
        raise LabelTableError("the table of labels has no lines")
    return lines


def _study_of(
    line: Mapping[str, str],
    source: LabelledSource,
    studies: Studies,
    folders: Mapping[Path, DicomStudy],
) -> DicomStudy | None:
    uid = line.get("study_instance_uid", "")
    if uid:
        return studies.by_uid.get(uid)
    wanted = (source.root / line.get("folder", "")).resolve()
    inside = [study for folder, study in folders.items() if folder.is_relative_to(wanted)]
    return inside[0] if len(inside) == 1 else None


def _row(
    line: Mapping[str, str],
    number: int,
    study: DicomStudy,
    studies: Studies,
    source: LabelledSource,
) -> LabelRow:
    key = source.keys.of(study.patient_id or study.study_instance_uid)
    level = line["level"].upper()
    if level not in LEVELS:
        raise LabelTableError(f"line {number}, level: not a level's name")
    values = studies.columns(study, line.get("series_instance_uid", "")) | {
        "source": "labelled_folder",
        "patient_key": key,
        "split": source.rule.of(key),
        "level": level,
        "reader": line.get("reader") or source.reader,
    }
    for name in LABEL_COLUMNS:
        if line.get(name):
            values[name] = _value(name, line[name], number)
    try:
        return LabelRow.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        column = ".".join(str(part) for part in first["loc"])
        raise LabelTableError(f"line {number}, {column}: {first['msg']}") from error


def _value(name: str, text: str, number: int) -> Any:  # noqa: ANN401  one of many label types
    word = text.lower()
    table: Mapping[str, Any] = _CALLS if name in _CALL_COLUMNS else {}
    if name.startswith("mimic_"):
        table = _FLAGS
    if not table:
        return word.replace(" ", "_")
    if word not in table:
        raise LabelTableError(f"line {number}, {name}: say one of {', '.join(sorted(table))}")
    return table[word]
