from dataclasses import replace

import pytest
from pydantic import ValidationError

from models.findings import Abstention, Acuity, Anchor, Call, Edema
from service.report.assemble import assemble, extent_bin, label_values
from service.report.document import ExtentBin, StudyReport
from service.report.json_writer import from_json, to_json
from tests.unit.report import made


def codes(report: StudyReport) -> list[tuple[str, str]]:
    return [(abstention.code, abstention.scope) for abstention in report.abstentions]


def test_every_stage_is_in_the_report() -> None:
    report = made.result().report
    assert report.study.study_instance_uid == "1.2.3"
    assert report.reference_series_uid == "1.2.3.1"
    assert report.anchor is Anchor.SACRUM
    assert [level.level for level in report.levels] == ["T12", "L1", "L2"]
    assert [series.role for series in report.series] == ["stir", "t1"]
    assert (report.files.used, [item.code for item in report.files.refused]) == (17, ["not_dicom"])
    fractured = report.levels[1]
    assert fractured.acuity is not None
    assert fractured.acuity.call is Acuity.UNHEALED
    assert fractured.alternatives == ()
    assert report.levels[2].alternatives[0].level == "L3"
    assert not report.levels[2].in_distribution
    assert codes(report) == [("t2_missing", "features")]


def test_numbers_are_rounded_once_and_never_minus_zero() -> None:
    fractured = made.result().report.levels[1]
    assert fractured.edema is not None
    assert fractured.edema.probability == 0.9312
    assert fractured.body is not None
    assert (fractured.body.volume_ml, fractured.body.height_posterior_mm) == (22.0, 25.0)
    assert str(fractured.features["bulge"].value) == "0.0"


@pytest.mark.parametrize(
    ("call", "fraction", "expected"),
    [
        (Call.ABSENT, 0.02, ExtentBin.NONE),
        (Call.PRESENT, 0.0, ExtentBin.UNDER_HALF),
        (Call.PRESENT, 0.4999, ExtentBin.UNDER_HALF),
        (Call.PRESENT, 0.49999, ExtentBin.HALF_OR_MORE),  # written as 0.5
        (Call.PRESENT, 0.5, ExtentBin.HALF_OR_MORE),
        (Call.INDETERMINATE, 0.0, ExtentBin.NONE),
        (Call.INDETERMINATE, 0.7, ExtentBin.HALF_OR_MORE),
    ],
)
def test_extent_bin_never_contradicts_call_or_fraction(
    call: Call, fraction: float, expected: ExtentBin
) -> None:
    assert extent_bin(Edema(0.5, call, fraction)) is expected


def test_unusable_study_gets_a_report_that_says_why() -> None:
    report = made.unusable_result().report
    assert report.levels == ()
    assert report.anchor is Anchor.NONE
    assert report.reference_series_uid is None
    assert codes(report) == [("no_usable_series", "study")]
    assert len(report.files.refused) == 1


def test_reason_given_by_ingest_stands_alone() -> None:
    report = made.unusable_result(Abstention("no_spine_series", "study", "Only a knee.")).report
    assert codes(report) == [("no_spine_series", "study")]


def test_missing_fluid_sensitive_series_is_always_said() -> None:
    report = made.without_edema(made.result()).report
    assert ("no_fluid_sensitive_series", "edema") in codes(report)
    for level in report.levels:
        assert level.edema is None
        assert level.acuity is None
        assert level.etiology is None
        assert level.fracture is not None


def test_missing_fluid_sensitive_series_is_said_once() -> None:
    study = made.without_edema(made.result())
    said = Abstention("no_fluid_sensitive_series", "acuity", "No STIR.")
    read = replace(study.ingested, abstentions=(said,))
    assert study.scores is not None
    scores = replace(study.scores, abstentions=(replace(said, reason="Again."),))
    report = assemble(read, study.localisation, scores, made.provenance())
    assert codes(report) == [("no_fluid_sensitive_series", "acuity")]
    assert report.abstentions[0].reason == "No STIR."


def test_abstentions_of_localiser_and_scorer_are_merged_in_order() -> None:
    study = made.result()
    assert study.localisation is not None
    unanchored = Abstention("unanchored", "levels", "No sacrum in view.")
    found = replace(study.localisation, abstentions=(unanchored,))
    report = assemble(study.ingested, found, study.scores, made.provenance())
    assert codes(report) == [("unanchored", "levels"), ("t2_missing", "features")]


def test_bodies_without_names_are_numbered_from_cranial_to_caudal() -> None:
    report = made.result((None, None, None)).report
    assert [level.label_value for level in report.levels] == [101, 102, 103]
    assert all(level.level is None and level.level_confidence is None for level in report.levels)
    assert report.anchor is Anchor.NONE


def test_label_values_are_those_of_the_contract() -> None:
    table = label_values(made.localisation(("T13", "L6", "S1")).vertebrae)
    assert table[:5].tolist() == [0, 28, 25, 26, 0]


def test_bodies_that_nobody_scored_are_still_reported() -> None:
    study = made.result()
    report = assemble(study.ingested, study.localisation, None, made.provenance())
    assert [level.level for level in report.levels] == ["T12", "L1", "L2"]
    assert all(level.fracture is None for level in report.levels)


def test_same_findings_give_the_same_bytes_but_for_timings() -> None:
    first, second = made.result(), made.result()
    slower = assemble(
        second.ingested, second.localisation, second.scores, made.provenance(ingest=99.0)
    )
    assert to_json(first.report) == to_json(second.report)
    assert to_json(first.report) != to_json(slower)
    assert to_json(first.report, timings=False) == to_json(slower, timings=False)


def test_json_reads_back_as_the_same_report() -> None:
    report = made.result().report
    assert from_json(to_json(report)) == report


def test_schema_is_closed_and_frozen() -> None:
    report = made.result().report
    with pytest.raises(ValidationError):
        from_json(to_json(report).replace(b'"status"', b'"stattus"', 1))
    with pytest.raises(ValidationError):
        report.anchor = Anchor.C2  # type: ignore[misc]


def test_a_number_that_is_no_probability_is_refused() -> None:
    study = made.result()
    assert study.scores is not None
    bad = replace(study.scores.levels[0], edema=Edema(float("nan"), Call.PRESENT, 0.2))
    scores = replace(study.scores, levels=(bad, *study.scores.levels[1:]))
    with pytest.raises(ValidationError):
        assemble(study.ingested, study.localisation, scores, made.provenance())
