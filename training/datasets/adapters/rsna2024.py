"""RSNA 2024 lumbar spine degenerative classification: gradings of discs on DICOM studies.

Layout as published (kaggle.com/competitions/rsna-2024-lumbar-spine-degenerative-classification):

    train.csv                       study_id, <condition>_<l1_l2 ... l5_s1>: Normal/Mild, ...
    train_label_coordinates.csv     study_id, series_id, instance_number, condition, level, x, y
    train_series_descriptions.csv   study_id, series_id, series_description
    train_images/<study_id>/<series_id>/<instance>.dcm

Nothing is said of edema or fractures. What it gives is names: a reader has counted the discs, so
the body between two graded discs has its name. Gradings and the places of the spinal canal at the
discs (patient LPS mm) are kept in `source_labels`.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.anatomy import LUMBAR
from service.ingest.records import InstanceRecord
from service.logs import Pseudonyms
from training.datasets.adapted import Adapted
from training.datasets.dicom_studies import DicomStudy, Studies, open_studies
from training.datasets.errors import LabelTableError, SourceLayoutError
from training.datasets.rows import LabelRow
from training.datasets.split import SplitRule

CONDITIONS: Final = (
    "spinal_canal_stenosis",
    "left_neural_foraminal_narrowing", "right_neural_foraminal_narrowing",
    "left_subarticular_stenosis", "right_subarticular_stenosis",
)  # fmt: skip
DISCS: Final = ("l1_l2", "l2_l3", "l3_l4", "l4_l5", "l5_s1")
SEVERITIES: Final = ("Normal/Mild", "Moderate", "Severe")

_TABLES: Final = {
    "train.csv": ("study_id", *(f"{name}_{disc}" for name in CONDITIONS for disc in DISCS)),
    "train_label_coordinates.csv": (
        "study_id", "series_id", "instance_number", "condition", "level", "x", "y",
    ),
    "train_series_descriptions.csv": ("study_id", "series_id", "series_description"),
}  # fmt: skip

_CANAL: Final = "Spinal Canal Stenosis"
_SAGITTAL: Final = "sagittal"

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class RsnaSource:
    """Where the data set lies.

    Attributes:
        root: Its folder.
        rule: Splits patients; every study is one.
        keys: Hides the study numbers.
    """

    root: Path
    rule: SplitRule
    keys: Pseudonyms


@dataclass(frozen=True, slots=True)
class _Tables:
    gradings: Mapping[str, Mapping[str, str]]
    coordinates: Mapping[str, list[Mapping[str, str]]]
    descriptions: Mapping[tuple[str, str], str]


def rsna_rows(source: RsnaSource) -> Adapted:
    """Rows L1 to L5 of every study whose images are there.

    Raises:
        SourceLayoutError: Images or one of the tables are not there.
        LabelTableError: A table lacks a column, or holds a grade that there is not.
    """
    images = source.root / "train_images"
    if not images.is_dir():
        raise SourceLayoutError("the data set has the folder train_images")
    tables = _read_tables(source.root)
    adapted = Adapted()
    with open_studies(images, adapted) as studies:
        by_folder = {study.folder.name: study for study in studies.by_uid.values()}
        # A study of one series has that series' folder for its smallest one.
        by_folder |= {study.folder.parent.name: study for study in studies.by_uid.values()}
        for name, gradings in tables.gradings.items():
            study = by_folder.get(name)
            if study is None:
                adapted.skip(f"train_images/{name}", "study_missing")
            else:
                adapted.rows.extend(_rows(name, gradings, study, studies, (tables, source)))
    return adapted


def _rows(
    name: str,
    gradings: Mapping[str, str],
    study: DicomStudy,
    studies: Studies,
    given: tuple[_Tables, RsnaSource],
) -> list[LabelRow]:
    tables, source = given
    key = source.keys.of(name)
    canal = _canal_points(name, study, tables)
    common = studies.columns(study, "") | {
        "source": "rsna2024",
        "patient_key": key,
        "split": source.rule.of(key),
        "reader": "rsna2024",
    }
    rows = []
    for position, level in enumerate(LUMBAR, start=1):
        beside = {
            "above": DISCS[position - 2] if position > 1 else "",
            "below": DISCS[position - 1],
        }
        told = {
            f"disc_{side}": _disc(disc, gradings, canal) for side, disc in beside.items() if disc
        }
        place = {
            "level": level,
            "position": position,
            "source_labels": json.dumps(told, sort_keys=True),
        }
        rows.append(LabelRow.model_validate(common | place))
    return rows


def _disc(disc: str, gradings: Mapping[str, str], canal: Mapping[str, Point]) -> dict[str, Any]:
    told: dict[str, Any] = {"disc": disc}
    told |= {name: gradings[f"{name}_{disc}"] or None for name in CONDITIONS}
    if disc in canal:
        told["canal_lps_mm"] = canal[disc]
    return told


def _canal_points(name: str, study: DicomStudy, tables: _Tables) -> dict[str, Point]:
    """Disc to the canal's place beside it, from the sagittal series it was marked on."""
    records = {(record.path.parent.name, record.path.stem): record for record in study.records}
    points = {}
    for mark in tables.coordinates.get(name, ()):
        described = tables.descriptions.get((name, mark["series_id"]), "")
        record = records.get((mark["series_id"], mark["instance_number"]))
        if mark["condition"] != _CANAL or _SAGITTAL not in described.lower() or record is None:
            continue
        point = _to_lps(record, float(mark["x"]), float(mark["y"]))
        if point is not None:
            points[mark["level"].lower().replace("/", "_")] = point
    return points


def _to_lps(record: InstanceRecord, column: float, row: float) -> Point | None:
    """Patient position of a pixel (PS3.3 C.7.6.2.1.1); None without a place in the header."""
    frame = record.frames[0]
    if frame.position is None or frame.orientation is None or frame.pixel_spacing is None:
        return None
    between_rows, between_columns = frame.pixel_spacing
    along_row, along_column = frame.orientation[:3], frame.orientation[3:]
    left, posterior, superior = (
        round(start + right * between_columns * column + down * between_rows * row, 2)
        for start, right, down in zip(frame.position, along_row, along_column, strict=True)
    )
    return left, posterior, superior


def _read_tables(root: Path) -> _Tables:
    read = {name: _table(root / name, columns) for name, columns in _TABLES.items()}
    for number, line in enumerate(read["train.csv"], start=2):
        for column, value in line.items():
            if column != "study_id" and value not in (*SEVERITIES, ""):
                raise LabelTableError(f"train.csv, line {number}, {column}: not a grade")
    coordinates: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for line in read["train_label_coordinates.csv"]:
        coordinates[line["study_id"]].append(line)
    return _Tables(
        gradings={line["study_id"]: line for line in read["train.csv"]},
        coordinates=coordinates,
        descriptions={
            (line["study_id"], line["series_id"]): line["series_description"]
            for line in read["train_series_descriptions.csv"]
        },
    )


def _table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.is_file():
        raise SourceLayoutError(f"the data set has {path.name}")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise LabelTableError(f"{path.name}: columns missing: {', '.join(missing)}")
        return [{name: (line[name] or "").strip() for name in columns} for line in reader]
