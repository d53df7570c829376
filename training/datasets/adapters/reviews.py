"""Reviews that the service keeps: what a reader verified or corrected, with the images.

The layout is that of docs/review.md: one folder a review, with `review.json`, `report.json`, the
study and the label map under the corrected names. A verified report is the reader's word on every
level of it; what stands there as indeterminate is no answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from models.findings import Call
from service.logs import Pseudonyms
from training.datasets.adapted import Adapted
from training.datasets.dicom_studies import DicomStudy, Studies, open_studies
from training.datasets.digests import file_digest
from training.datasets.errors import LabelTableError, SourceLayoutError
from training.datasets.rows import NOT_SCORED, LabelRow
from training.datasets.split import SplitRule

REVIEW: Final = "review.json"
REPORT: Final = "report.json"
MASK: Final = "vertebrae.nii.gz"
SCHEMA: Final = "1.0"


@dataclass(frozen=True, slots=True)
class ReviewSource:
    """Where reviews lie.

    Attributes:
        root: The service's folder of reviews.
        rule: Splits patients.
        keys: Hides patient IDs and readers' names.
    """

    root: Path
    rule: SplitRule
    keys: Pseudonyms


@dataclass(frozen=True, slots=True)
class _Review:
    folder: Path
    document: Mapping[str, Any]


def review_rows(source: ReviewSource) -> Adapted:
    """Rows of every level of the last review of each study.

    Raises:
        SourceLayoutError: There is no review, or one is of another version.
        LabelTableError: A report says something that the manifest cannot hold.
    """
    adapted = Adapted()
    for review in _last_of_each_chain(source.root, adapted):
        what = review.folder.name
        if review.document["decision"] == "reject":
            adapted.skip(what, "rejected")
            continue
        with open_studies(_images(review.folder), adapted) as studies:
            study = studies.by_uid.get(review.document["study_instance_uid"])
            if study is None:
                adapted.skip(what, "study_missing")
            else:
                _add(review, study, studies, source, adapted)
    return adapted


def _last_of_each_chain(root: Path, adapted: Adapted) -> list[_Review]:
    """Finished reviews by id; one that a later one went on from is left out."""
    found: dict[str, _Review] = {}
    for path in sorted(root.glob(f"*/{REVIEW}")):
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.get("schema_version") != SCHEMA:
            raise SourceLayoutError(f"a review is not of schema {SCHEMA}")
        if not (path.parent / REPORT).is_file():
            adapted.skip(path.parent.name, "unfinished")
            continue
        found[document["review_id"]] = _Review(path.parent, document)
    if not found:
        raise SourceLayoutError("no finished review below the folder")
    earlier = {review.document["job_id"] for review in found.values()}
    for name in sorted(earlier & found.keys()):
        adapted.skip(found[name].folder.name, "superseded")
    return [review for name, review in found.items() if name not in earlier]


def _images(folder: Path) -> Path:
    """The study's files, or the one archive that holds them."""
    entries = list((folder / "study").iterdir()) if (folder / "study").is_dir() else []
    if len(entries) == 1 and entries[0].suffix.lower() == ".zip":
        return entries[0]
    return folder / "study"


def _add(
    review: _Review, study: DicomStudy, studies: Studies, source: ReviewSource, adapted: Adapted
) -> None:
    report = json.loads((review.folder / REPORT).read_text(encoding="utf-8"))
    key = source.keys.of(study.patient_id or study.study_instance_uid)
    mask = review.folder / MASK
    common = studies.columns(study, report["reference_series_uid"] or "") | {
        "source": "review",
        "patient_key": key,
        "split": source.rule.of(key),
        "reader": source.keys.of(review.document["reader"]["name"]),
    }
    if mask.is_file():
        common |= {"mask_path": str(mask.resolve()), "mask_sha256": file_digest(mask)}
    for position, level in enumerate(report["levels"], start=1):
        if level["level"] == NOT_SCORED:
            continue
        if level["coverage"] != "complete":
            adapted.skip(
                f"{review.folder.name} body {level['label_value']}",
                "level_cut_by_the_field_of_view",
            )
            continue
        try:
            adapted.rows.append(LabelRow.model_validate(common | _level(level, position)))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            column = ".".join(str(part) for part in first["loc"])
            raise LabelTableError(f"{review.folder.name}, {column}: {first['msg']}") from error


def _level(level: Mapping[str, Any], position: int) -> dict[str, Any]:
    left, posterior, superior = level["centroid_lps_mm"]
    edema, fracture = level["edema"] or {}, level["fracture"] or {}
    absent = fracture.get("call") == Call.ABSENT
    return {
        "level": level["level"],
        "position": position,
        "mask_value": level["label_value"],
        "left_mm": left,
        "posterior_mm": posterior,
        "superior_mm": superior,
        "edema": edema.get("call"),
        "fracture": fracture.get("call"),
        "shape": "none" if absent else fracture.get("shape"),
        "genant": fracture.get("genant_grade"),
        "acuity": (level["acuity"] or {}).get("call"),
        "etiology": (level["etiology"] or {}).get("call"),
    }
