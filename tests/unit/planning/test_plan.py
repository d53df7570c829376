"""What a document holds: traceable sentences, the order of levels, technique, and no orders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import process_time
from typing import Any

import pytest

from service.planning.document import PlanningDocument
from service.planning.inputs import vocabulary
from service.planning.model import Approach, Evidence, Outcome, Route
from service.planning.plan import plan
from service.planning.profiles import load_profiles
from tests.unit.planning import cases

PROFILES = load_profiles()
ALL_CT = {"ct_posterior_wall_intact_levels": ["T8", "T9", "T12", "L1", "L2", "L3", "L4"]}


def document(*levels: dict[str, Any], **clinical: object) -> PlanningDocument:
    names = [level.get("level", "L1") for level in levels]
    given = {**ALL_CT, "pain_levels_confirmed": [name for name in names if name], **clinical}
    return plan(
        cases.report(levels or ({},)),
        cases.clinical(given),
        PROFILES["overview"],
        now=cases.NOW,
    )


def sentences(value: object) -> Iterator[dict[str, Any]]:
    """Every part of the document that holds a sentence."""
    if isinstance(value, dict):
        if "sentence" in value:
            yield value
        for part in value.values():
            yield from sentences(part)
    elif isinstance(value, list):
        for part in value:
            yield from sentences(part)


def test_every_sentence_traces_to_a_rule_and_its_source() -> None:
    profile = PROFILES["overview"]
    ids = {rule.id for rule in profile.rules} | {profile.candidate.id}
    ids |= {item.id for item in (*profile.technique.advice, *profile.technique.approaches)}
    ids |= {item.id for section in profile.procedure.sections for item in section.items}
    written = document(
        {"etiology": "pathological"},
        {"level": "L2", "absent": ["acuity"]},
        {"level": "L3", "normal": True},
    )
    parts = list(sentences(written.model_dump(mode="json")))
    assert len(parts) > 20
    for part in parts:
        assert part["id"] in ids
        assert part["source"]["text"]
        assert part["source"]["where"]
        assert part["source"]["evidence"] in list(Evidence)
        assert "{" not in part["sentence"]
        assert {value["input"] for value in part.get("values", ())} <= set(vocabulary())


def test_the_document_names_what_it_is() -> None:
    written = document()
    assert written.schema_version == "planning/1"
    assert written.status == "draft"
    assert "Research use only" in written.statement
    assert (written.profile.name, written.profile.version) == ("overview", "1.0.0")
    assert written.created == cases.NOW
    assert PlanningDocument.model_validate_json(written.model_dump_json()) == written


def test_it_gives_no_order() -> None:
    text = document({"etiology": "pathological"}, {}).model_dump_json().lower()
    assert "proceed " not in text
    assert "recommended treatment" not in text


def test_levels_are_ordered_by_what_is_unhealed_and_extent_and_cut_into_sessions() -> None:
    written = document(
        {"level": "T12", "extent": 0.2},
        {"level": "L1", "acuity": "healed", "extent": 0.0, "edema": "absent"},
        {"level": "L2", "extent": 0.8},
        {"level": "L3", "extent": 0.5},
        {"level": "L4", "normal": True},
    )
    assert [item.level for item in written.session.levels] == ["L2", "L3", "T12", "L1"]
    assert [item.session for item in written.session.levels] == [1, 1, 1, 2]
    assert written.session.max_levels_per_session == 3
    assert [reason.id for reason in written.session.reasons] == ["SES-ORDER", "SES-NUMBER"]


def test_pathological_features_go_first_and_leave_the_order() -> None:
    written = document({"level": "L1", "etiology": "pathological"}, {"level": "L2"})
    assert [item.level for item in written.session.levels] == ["L2"]
    assert [(item.level, item.route) for item in written.session.routed_first] == [
        ("L1", Route.PATHOLOGICAL)
    ]
    assert written.patient.route is Route.PATHOLOGICAL
    sheet = written.levels[0].technique
    assert sheet is not None
    assert {"ROU-PATHOLOGICAL", "BIO-ADVISED"} <= {item.id for item in sheet.considerations}


def test_infection_blocks_every_level_and_is_urgent() -> None:
    written = document({"level": "L1"}, {"level": "L2", "mimics": {"discitis": 0.8}})
    assert {level.outcome for level in written.levels} == {Outcome.CONTRAINDICATED}
    assert written.levels[0].own_outcome is Outcome.ELIGIBLE_FOR_DISCUSSION
    assert written.patient.route is Route.INFECTION
    (rule,) = [rule for rule in written.patient.fired if rule.urgent]
    assert "at L2" in rule.sentence
    assert ("L2", 0.8) in {(value.level, value.value) for value in rule.values}
    assert written.session.levels == ()
    assert [reason.id for reason in written.session.reasons] == ["SES-NONE"]


@pytest.mark.parametrize(
    ("name", "width", "approach", "gauge"),
    [
        ("T5", 4.5, Approach.PARAPEDICULAR, (13, 13)),
        ("T8", 6.5, Approach.TRANSPEDICULAR, (11, 13)),
        ("T8", 6.2, Approach.TRANSPEDICULAR, (11, 13)),
        ("T8", 6.1, Approach.UNDECIDED, (11, 13)),
        ("T8", 5.9, Approach.UNDECIDED, (11, 13)),
        ("T8", 5.7, Approach.PARAPEDICULAR, (13, 13)),
        ("T8", None, Approach.UNDECIDED, (11, 13)),
        ("T12", None, Approach.TRANSPEDICULAR, (11, 13)),
        ("T13", None, Approach.TRANSPEDICULAR, (11, 13)),
        ("L3", None, Approach.TRANSPEDICULAR, (11, 13)),
        ("L5", 12.0, Approach.TRANSPEDICULAR, (11, 13)),
        ("L6", 12.0, Approach.TRANSPEDICULAR, (11, 13)),
        ("T2", 7.0, Approach.OUTSIDE_TABLE, None),
        ("", 7.0, Approach.OUTSIDE_TABLE, None),
    ],
)
def test_the_approach_follows_the_table(
    name: str, width: float | None, approach: Approach, gauge: tuple[int, int] | None
) -> None:
    geometry = {side: {"width_mm": width} for side in ("pedicle_left", "pedicle_right")}
    sheet = document({"level": name, "geometry": geometry}).levels[0].technique
    assert sheet is not None
    assert sheet.approach.approach is approach
    assert sheet.approach.needle_gauge == gauge


def test_one_measured_pedicle_does_not_answer_for_both() -> None:
    level = {"level": "T8", "geometry": {"pedicle_left": {"width_mm": None}}}
    sheet = document(level).levels[0].technique
    assert sheet is not None
    assert sheet.approach.approach is Approach.UNDECIDED
    assert "APR-WIDTH" in {item.id for item in sheet.considerations}


def test_what_is_missing_is_listed_by_field() -> None:
    written = plan(
        cases.report(), cases.clinical({}, ["inr", "pregnancy"]), PROFILES["sir"], now=cases.NOW
    )
    assert [value.input for value in written.missing] == ["inr", "pregnancy"]


def test_a_report_without_levels_or_series_is_no_clearance() -> None:
    written = plan(
        cases.report((), roles=()), cases.clinical(), PROFILES["overview"], now=cases.NOW
    )
    assert written.patient.outcome is Outcome.INSUFFICIENT_INFORMATION
    assert written.levels == ()


def test_the_same_input_gives_the_same_document_whatever_the_order_of_fields() -> None:
    turned = dict(reversed(cases.clinical_mapping().items()))
    first = plan(cases.report(), cases.clinical(), PROFILES["overview"], now=cases.NOW)
    second = plan(cases.report(), cases.read_clinical(turned), PROFILES["overview"], now=cases.NOW)
    assert json.dumps(first.model_dump(mode="json")) == json.dumps(second.model_dump(mode="json"))


def test_a_plan_of_a_whole_spine_takes_little_time() -> None:
    levels = [{"level": name} for name in ("T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5")]
    start = process_time()
    document(*levels)
    assert process_time() - start < 0.2


@pytest.mark.parametrize(("unhealed", "candidate"), [(0.02, "no"), (0.3, "yes")])
def test_doubtful_deformity_without_edema_is_no_candidate_unless_it_may_be_unhealed(
    unhealed: float, candidate: str
) -> None:
    doubtful = {"normal": True, "fracture": "indeterminate", "acuity": "indeterminate"}
    (level,) = document({**doubtful, "unhealed": unhealed}).levels
    assert level.candidate.value == candidate
