"""Reviews in the layout of docs/review.md."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("SimpleITK", reason="needs the [train] extra")

from tests.builders import uid
from tests.unit.datasets.made import KEYS, blocks, write_nifti, write_study
from training.datasets.adapters.reviews import ReviewSource, review_rows
from training.datasets.checks import check_manifest
from training.datasets.errors import SourceLayoutError
from training.datasets.manifest import write_manifest
from training.datasets.split import SplitRule

pytestmark = pytest.mark.train


def level(name: str, value: int, height: float, **changes: object) -> dict[str, object]:
    plain: dict[str, object] = {
        "level": name,
        "label_value": value,
        "coverage": "complete",
        "centroid_lps_mm": [0.0, 1.0, height],
        "edema": {"call": "absent", "probability": 0.02},
        "fracture": {"call": "absent", "shape": "none", "genant_grade": 0},
        "acuity": {"call": "no_fracture"},
        "etiology": {"call": "not_applicable"},
    }
    return plain | changes


LEVELS = [
    level("T12", 19, 90.0, coverage="partial"),
    level("L1", 20, 60.0),
    level(
        "L2",
        21,
        30.0,
        edema={"call": "present"},
        fracture={"call": "present", "shape": "wedge", "genant_grade": 2},
        acuity={"call": "unhealed"},
        etiology={"call": "benign"},
    ),
    level("S1", 26, -60.0, edema=None, fracture=None, acuity=None, etiology=None),
]


def write_review(
    root: Path, name: str, study: str, *, job: str = "job", packed: bool = False, **changes: object
) -> Path:
    """A review of a small study, as the service keeps it."""
    folder = root / name
    write_study(folder / "study", study, seed=len(name))
    if packed:
        files = sorted((folder / "study").iterdir())
        with zipfile.ZipFile(folder / "study" / "study.zip", "w") as archive:
            for file in files:
                archive.write(file, file.name)
                file.unlink()
    document = {
        "schema_version": "1.0",
        "review_id": name,
        "job_id": job,
        "study_instance_uid": uid(study),
        "reviewed_at": "2026-01-01T00:00:00Z",
        "decision": "verify",
        "reader": {"name": "Muster^Anna", "organization": "Radiology"},
    }
    (folder / "review.json").write_text(json.dumps(document | changes))
    report = {"reference_series_uid": uid(study, "series"), "levels": LEVELS}
    (folder / "report.json").write_text(json.dumps(report))
    write_nifti(folder / "vertebrae.nii.gz", blocks([20, 21], (5, 24, 20)))
    return folder


def source(root: Path) -> ReviewSource:
    return ReviewSource(root, SplitRule(), KEYS)


@pytest.mark.parametrize("packed", [False, True])
def test_a_verified_report_is_the_readers_word(tmp_path: Path, packed: bool) -> None:
    write_review(tmp_path, "r1", "one", packed=packed)
    adapted = review_rows(source(tmp_path))
    first, second = adapted.rows
    assert (first.level, first.edema, first.fracture, first.acuity) == (
        "L1", "absent", "absent", "no_fracture",
    )  # fmt: skip
    assert (second.edema, second.shape, second.genant, second.acuity, second.etiology) == (
        "present", "wedge", 2, "unhealed", "benign",
    )  # fmt: skip
    assert (second.mask_value, second.position) == (21, 3)
    assert adapted.skipped_by_code == {"level_cut_by_the_field_of_view": 1}
    assert "Muster" not in first.model_dump_json()
    assert first.study_path.endswith("study.zip" if packed else "study")
    assert check_manifest(write_manifest(tmp_path / "m.parquet", adapted.rows)).findings == ()


def test_the_last_of_a_chain_counts_and_the_rest_is_accounted_for(tmp_path: Path) -> None:
    write_review(tmp_path, "r1", "one")
    write_review(tmp_path, "r2", "one", job="r1")
    write_review(tmp_path, "r3", "three", decision="reject")
    (write_review(tmp_path, "r4", "four") / "report.json").unlink()
    adapted = review_rows(source(tmp_path))
    assert {row.study_path.split("/")[-2] for row in adapted.rows} == {"r2"}
    assert adapted.skipped_by_code == {
        "level_cut_by_the_field_of_view": 1, "rejected": 1, "superseded": 1, "unfinished": 1,
    }  # fmt: skip


def test_reviews_of_another_version_and_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(SourceLayoutError, match="no finished review"):
        review_rows(source(tmp_path))
    write_review(tmp_path, "r1", "one", schema_version="2.0")
    with pytest.raises(SourceLayoutError, match="not of schema"):
        review_rows(source(tmp_path))
