"""A verified report: what was found comes back from disk, the reader's word changes it."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from models.findings import Acuity, Call, LevelFindings, Localisation, Scores, Vertebra
from models.morphometry.morphometry import with_geometry
from models.volume import Role
from service.report.corrections import ReviewError
from service.report.document import Status
from service.report.findings_file import FINDINGS, FindingsError, read_npz, to_npz
from service.report.html import to_html
from service.report.json_writer import from_json, to_json
from service.report.nifti import vertebrae_nifti
from service.report.result import StudyResult
from service.report.review import ReviewRecord
from service.report.verified import REJECTED, verified
from tests.unit.report import made


def record(**values: object) -> ReviewRecord:
    return ReviewRecord.model_validate(
        {
            "reader": {"name": "Reader^Anna", "organization": "Site"},
            "report": "b" * 32,
            "review_id": "a" * 32,
            "job_id": "b" * 32,
            "study_instance_uid": "1.2.3",
            "reviewed_at": datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
            **values,
        }
    )


def kept(result: StudyResult, folder: Path) -> tuple[Localisation, Scores]:
    """What was found, after it was on disk."""
    assert result.localisation is not None
    assert result.scores is not None
    (folder / FINDINGS).write_bytes(to_npz(result.localisation, result.scores))
    return read_npz(folder / FINDINGS)


def test_what_was_found_comes_back_as_it_was(tmp_path: Path) -> None:
    result = made.result()
    found, scores = kept(result, tmp_path)
    assert result.localisation is not None
    assert result.scores is not None
    assert np.array_equal(found.labels, result.localisation.labels)
    assert np.array_equal(found.structures, result.localisation.structures)
    assert np.array_equal(found.affine, result.localisation.affine)
    assert vertebrae_nifti(found) == vertebrae_nifti(result.localisation)
    inside = found.labels > 0
    assert scores.edema_map is not None
    assert result.scores.edema_map is not None
    assert np.array_equal(scores.edema_map[inside], result.scores.edema_map[inside])
    for mine, theirs in zip(scores.levels, result.scores.levels, strict=True):
        for name in ("edema", "fracture", "acuity", "etiology", "features", "mimics"):
            assert getattr(mine, name) == getattr(theirs, name), name
        assert mine.vertebra.name == theirs.vertebra.name
        assert np.array_equal(mine.vertebra.axes_lps, theirs.vertebra.axes_lps)


def test_everything_that_is_said_comes_back(tmp_path: Path) -> None:
    result = made.result()
    assert result.localisation is not None
    assert result.scores is not None
    first, second, third = result.scores.levels
    assert second.edema is not None
    assert second.acuity is not None
    assert second.vertebra.size is not None
    rich = replace(
        second,
        vertebra=replace(second.vertebra, size_sd=second.vertebra.size),
        edema=replace(second.edema, extent_interval=(0.1, 0.6)),
        acuity=replace(second.acuity, prediction_set=(Acuity.UNHEALED, Acuity.HEALED)),
        distribution_score=0.7,
        disagreements=("edema_against_contrast",),
        safety=("possible_spondylodiscitis",),
    )
    evidence = np.where(result.localisation.labels > 0, np.float32(-0.5), np.float32(0))
    scores = replace(result.scores, levels=(first, rich, third), evidence_map=evidence)
    localisation = replace(
        result.localisation, vertebrae=tuple(level.vertebra for level in scores.levels)
    )
    _, back = kept(replace(result, localisation=localisation, scores=scores), tmp_path)
    assert back.evidence_map is not None
    assert np.array_equal(back.evidence_map, evidence)
    for mine, theirs in zip(back.levels, scores.levels, strict=True):
        for field in fields(LevelFindings):
            if field.name not in {"vertebra", "geometry"}:
                assert getattr(mine, field.name) == getattr(theirs, field.name), field.name
        for field in fields(Vertebra):
            ours, others = (getattr(one.vertebra, field.name) for one in (mine, theirs))
            assert np.array_equal(ours, others), field.name


def test_equal_findings_give_equal_bytes() -> None:
    result = made.result()
    assert result.localisation is not None
    assert result.scores is not None
    assert to_npz(result.localisation, result.scores) == to_npz(result.localisation, result.scores)


def test_a_study_without_bodies_or_edema_is_kept_too(tmp_path: Path) -> None:
    blind = made.without_edema(made.result())
    assert kept(blind, tmp_path)[1].edema_map is None


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", to_npz])
def test_what_cannot_be_read_is_outdated(tmp_path: Path, content: object) -> None:
    if isinstance(content, bytes):
        (tmp_path / FINDINGS).write_bytes(content)
    elif content is not None:
        result = made.result()
        assert result.localisation is not None
        assert result.scores is not None
        whole = to_npz(result.localisation, result.scores)
        (tmp_path / FINDINGS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FindingsError):
        read_npz(tmp_path / FINDINGS)


def test_a_verified_report_says_who_and_what(tmp_path: Path) -> None:
    result = made.result()
    correction = {"label_value": 20, "level": "L2", "edema": "absent"}
    said = record(levels=[correction], comment="Counted from C2.")
    after = verified(result.ingested, kept(result, tmp_path), result.report, said)
    report = after.report
    assert report.status is Status.VERIFIED
    assert [level.level for level in report.levels] == ["L1", "L2", "L3"]
    assert [level.label_value for level in report.levels] == [20, 21, 22]
    assert report.levels[1].edema is not None
    assert report.levels[1].edema.call is Call.ABSENT
    assert report.review is not None
    assert (report.review.reader, report.review.job_id) == ("Reader^Anna", "b" * 32)
    changes = [(one.body, one.field, one.before, one.after) for one in report.review.corrections]
    assert (2, "edema.call", "present", "absent") in changes
    assert (1, "level", "T12", "L1") in changes
    assert from_json(to_json(report)) == report
    page = to_html(after, None)
    assert "checked by Reader, Anna (Site)" in page
    assert "Preliminary machine reading" not in page


def test_verified_without_a_correction_says_the_same(tmp_path: Path) -> None:
    result = made.result()
    assert result.localisation is not None
    assert result.scores is not None
    after = verified(result.ingested, kept(result, tmp_path), result.report, record()).report
    assert after.review is not None
    assert after.review.corrections == ()
    # Geometry is measured anew, the made report has none.
    measured = with_geometry(result.localisation, result.scores)
    for level, again, findings in zip(
        result.report.levels, after.levels, measured.levels, strict=True
    ):
        assert again.model_copy(update={"geometry": None}) == level
        assert (again.geometry is None) == (findings.geometry is None)


def test_a_rejected_report_says_nothing_else(tmp_path: Path) -> None:
    result = made.result()
    said = record(decision="reject", comment="Wrong patient position.")
    after = verified(result.ingested, kept(result, tmp_path), result.report, said)
    assert after.report.status is Status.VERIFIED
    assert after.report.levels == ()
    assert after.report.abstentions[0].code == REJECTED
    assert after.localisation is None
    assert "rejected by Reader, Anna" in to_html(after, None)


def test_another_reference_series_is_told(tmp_path: Path) -> None:
    result = made.result()
    found = kept(result, tmp_path)
    assert result.ingested.volumes is not None
    t1 = result.ingested.volumes.by_role[Role.T1]
    other = made.ingested(type(result.ingested.volumes)(t1, {Role.T1: t1}))
    with pytest.raises(FindingsError):
        verified(other, found, result.report, record())


def test_an_impossible_review_is_told(tmp_path: Path) -> None:
    result = made.result()
    with pytest.raises(ReviewError):
        verified(
            result.ingested,
            kept(result, tmp_path),
            result.report,
            record(levels=[{"label_value": 1, "level": "L2"}]),
        )
