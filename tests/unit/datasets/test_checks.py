from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("scipy", reason="needs the [train] extra")

from models.findings import Call
from tests.unit.datasets.made import row, write_study
from training.datasets.__main__ import main
from training.datasets.agreement import consensus, reader_agreement
from training.datasets.checks import CheckReport, check_manifest
from training.datasets.digests import study_digest
from training.datasets.errors import ManifestChecksError
from training.datasets.manifest import Manifest, write_manifest
from training.datasets.rows import LabelRow

pytestmark = pytest.mark.train


def checked(*rows: LabelRow, folder: Path = Path(), files: bool = False) -> CheckReport:
    return check_manifest(Manifest(rows, folder), files=files)


def codes(report: CheckReport) -> set[str]:
    return {finding.code for finding in report.findings}


def chain(*levels: str, **changes: object) -> list[LabelRow]:
    return [row(level=name, position=i, **changes) for i, name in enumerate(levels, start=1)]


def test_a_sound_manifest_has_no_findings() -> None:
    report = checked(*chain("T11", "T12", "L1", "L2"))
    assert report.findings == ()
    report.require_sound()


def test_a_patient_in_two_splits_leaks() -> None:
    report = checked(row(), row(split="test", study_instance_uid="9", pixel_sha256="2" * 64))
    assert codes(report) == {"leaking_patient"}
    with pytest.raises(ManifestChecksError, match=r"leaking_patient.*rows 1, 2"):
        report.require_sound()


def test_a_study_in_two_splits_leaks_whatever_patient_it_is_said_to_be_of() -> None:
    other = row(patient_key="p2", split="test", level="L3", pixel_sha256="2" * 64)
    report = checked(row(), row(study_instance_uid="9", pixel_sha256="3" * 64), other)
    assert codes(report) == {"leaking_study"}
    with pytest.raises(ManifestChecksError, match=r"leaking_study: 1 study.*rows 1, 3"):
        report.require_sound()
    inside = checked(row(), other.model_copy(update={"split": row().split}))
    inside.require_sound()


def test_a_leaking_study_is_refused_by_the_command(tmp_path: Path) -> None:
    write_study(tmp_path / "a", "a")
    sound = {"study_path": "a", "study_sha256": study_digest(tmp_path / "a")}
    rows = [row(**sound), row(**sound, patient_key="p2", split="test", pixel_sha256="2" * 64)]
    path = tmp_path / "manifest.csv"
    write_manifest(path, rows)
    with pytest.raises(ManifestChecksError, match="leaking_study"):
        main(["check", str(path)])
    write_manifest(path, rows[:1])
    main(["check", str(path)])


def test_a_copied_study_under_another_patient_leaks_by_its_pixels() -> None:
    copy = {"patient_key": "p2", "study_instance_uid": "9"}
    assert "leaking_pixels" in codes(checked(row(), row(**copy, split="test")))
    inside = checked(row(), row(**copy))
    assert codes(inside) == {"copied_study"}
    inside.require_sound()


@pytest.mark.parametrize(
    "levels",
    [
        ("L1", "L2", "L3", "L4", "L5", "S1"),
        ("T11", "L1"),  # eleven thoracic vertebrae
        ("T12", "T13", "L1"),
        ("L4", "S1"),  # four lumbar
        ("L5", "L6", "S1"),
    ],
)
def test_chains_that_there_are(levels: tuple[str, ...]) -> None:
    assert checked(*chain(*levels)).findings == ()


@pytest.mark.parametrize(
    "levels", [("L1", "L3"), ("L2", "L1"), ("L2", "L2"), ("T10", "L1"), ("L3", "S1")]
)
def test_chains_that_cannot_be(levels: tuple[str, ...]) -> None:
    report = checked(*chain(*levels))
    assert "impossible_chain" in codes(report)
    assert report.errors


def test_levels_that_were_left_out_may_be_missing_from_a_chain() -> None:
    rows = (row(level="L1", position=3), row(level="L4", position=6))
    assert checked(*rows).findings == ()
    wrong = (row(level="L1", position=3), row(level="L4", position=5))
    assert codes(checked(*wrong)) == {"impossible_chain"}


@pytest.mark.parametrize(
    "labels",
    [
        {"acuity": "unhealed", "fracture": "absent"},
        {"acuity": "unhealed", "edema": "absent"},
        {"acuity": "healed", "fracture": "absent"},
        {"acuity": "no_fracture", "fracture": "present"},
        {"shape": "wedge", "fracture": "absent"},
        {"extent": 0.4, "edema": "absent"},
        {"extent": 0.0, "edema": "present"},
        {"etiology": "not_applicable", "edema": "present"},
        {"etiology": "benign", "edema": "absent", "fracture": "absent"},
    ],
)
def test_labels_that_contradict_each_other(labels: dict[str, Any]) -> None:
    report = checked(row(**labels))
    assert codes(report) == {"impossible_labels"}
    with pytest.raises(ManifestChecksError):
        report.require_sound()


def test_labels_that_go_together() -> None:
    report = checked(
        row(acuity="unhealed", fracture="present", edema="present", shape="wedge", extent=0.4,
            etiology="benign", genant=2, height_loss_percent=30.0),
        row(level="L3", acuity="healed", fracture="present", edema="absent", extent=0.01),
        row(level="L4", etiology="pathological", fracture="absent", edema="absent"),
    )  # fmt: skip
    assert report.findings == ()


def test_a_grade_far_from_the_height_loss_is_doubtful() -> None:
    report = checked(row(fracture="present", genant=3, height_loss_percent=5.0))
    assert codes(report) == {"doubtful_grade"}
    report.require_sound()


def test_edema_beside_a_healed_fracture_is_doubtful() -> None:
    report = checked(row(acuity="healed", fracture="present", edema="present"))
    assert codes(report) == {"doubtful_healing"}
    report.require_sound()


def test_one_reader_says_two_things_of_a_level() -> None:
    assert "repeated_row" in codes(checked(row(edema="present"), row(edema="absent")))


def test_readers_who_differ_are_reported_with_kappa() -> None:
    levels = ("T12", "L1", "L2", "L3", "L4", "L5")
    first = ["present", "present", "absent", "absent", "absent", "absent"]
    second = ["present", "absent", "absent", "absent", "absent", "absent"]
    rows = [
        row(level=level, reader=name, edema=call)
        for name, calls in (("a", first), ("b", second))
        for level, call in zip(levels, calls, strict=True)
    ]
    report = checked(*rows)
    assert codes(report) == {"reader_conflict"}
    (found,) = report.agreement
    assert (found.column, found.readers, found.conflicts) == ("edema", ("a", "b"), 1)
    # Agreement 5/6, by chance (2/6 * 1/6 + 4/6 * 5/6) = 22/36.
    assert found.kappa.value == pytest.approx((5 / 6 - 22 / 36) / (1 - 22 / 36))


def test_ordered_grades_are_weighted() -> None:
    rows = [
        row(level=level, reader=name, genant=grade)
        for name, grades in (("a", (0, 1, 2, 3)), ("b", (0, 1, 3, 3)))
        for level, grade in zip(("L1", "L2", "L3", "L4"), grades, strict=True)
    ]
    (found,) = reader_agreement(rows)
    # One step apart once in four; by chance (0+1+3+3 + 1+0+2+2 + 2+1+1+1 + 3+2+0+0) / 16 steps.
    assert found.kappa.value == pytest.approx(1 - (1 / 4) / (22 / 16))
    assert found.kappa.standard_error is None


def test_the_majority_is_taught_and_a_tie_is_left_open() -> None:
    votes = {"a": "present", "b": "present", "c": "absent"}
    rows = [row(reader=name, edema=call) for name, call in votes.items()]
    rows.append(row(level="L3", reader="a", edema="present", extent=0.2))
    rows.append(row(level="L3", reader="b", edema="absent", extent=0.4))
    found = {key[1]: labels for key, (_, labels) in consensus(rows).items()}
    assert found["L2"].edema is Call.PRESENT
    assert found["L3"].edema is None
    assert found["L3"].extent == pytest.approx(0.3)


def test_files_that_are_gone_or_changed(tmp_path: Path) -> None:
    write_study(tmp_path / "a", "a")
    sound = row(study_path="a", study_sha256=study_digest(tmp_path / "a"))
    assert checked(sound, folder=tmp_path, files=True).findings == ()
    gone = row(study_path="b", study_instance_uid="9", patient_key="q", pixel_sha256="2" * 64)
    report = checked(sound, gone, folder=tmp_path, files=True)
    assert [(f.code, f.rows) for f in report.findings] == [("file_missing", (2,))]
    (tmp_path / "a" / "0000.dcm").write_bytes(b"other")
    assert codes(checked(sound, folder=tmp_path, files=True)) == {"file_changed"}
