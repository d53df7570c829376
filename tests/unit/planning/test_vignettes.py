"""The table of patients: outcome, fired and undecided rules; and every rule is tried in it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.planning.clinical import ClinicalInput
from service.planning.conditions import (
    All,
    AnyLevel,
    Compare,
    Condition,
    Known,
    Not,
    Op,
    decide,
)
from service.planning.conditions import Any as AnyOf
from service.planning.document import LevelPlan, PlanningDocument
from service.planning.facts import level_facts, patient_facts
from service.planning.model import Candidate, Outcome, Route, Rule, Scope
from service.planning.plan import plan
from service.planning.profiles import load_profiles
from service.report.document import StudyReport
from tests.unit.planning import cases

PROFILES = load_profiles()
VIGNETTES: list[dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("vignettes.toml").read_text(encoding="utf-8")
)["vignettes"]


ASKED: dict[str, tuple[StudyReport, ClinicalInput]] = {}


def asked(vignette: dict[str, Any]) -> tuple[StudyReport, ClinicalInput]:
    """The report and the clinical input of a vignette."""
    if vignette["id"] not in ASKED:
        without = list(vignette.get("without", ()))
        if "only" in vignette:
            without = [name for name in cases.CLINICAL if name not in vignette["only"]]
        levels = (vignette.get("level", {}), *vignette.get("others", ()))
        ASKED[vignette["id"]] = (
            cases.report(levels, **vignette.get("study", {})),
            cases.clinical(vignette.get("clinical"), without),
        )
    return ASKED[vignette["id"]]


def written(vignette: dict[str, Any]) -> PlanningDocument:
    return plan(*asked(vignette), PROFILES[vignette["profile"]], now=cases.NOW)


def fired(document: PlanningDocument, level: LevelPlan) -> set[str]:
    return {rule.id for rule in (*document.patient.fired, *level.fired)}


def undecided(document: PlanningDocument, level: LevelPlan) -> set[str]:
    return {rule.id for rule in (*document.patient.undecided, *level.undecided)}


def test_there_are_enough_vignettes_with_names_of_their_own() -> None:
    names = [vignette["id"] for vignette in VIGNETTES]
    assert len(names) >= 60
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("vignette", VIGNETTES, ids=lambda vignette: str(vignette["id"]))
def test_vignette(vignette: dict[str, Any]) -> None:
    document = written(vignette)
    level = document.levels[0]
    assert fired(document, level) == set(vignette["fired"])
    assert undecided(document, level) == set(vignette.get("undecided", ()))
    assert level.candidate == Candidate(vignette.get("candidate", "yes"))
    expected = vignette.get("outcome")
    assert level.outcome == (None if expected is None else Outcome(expected))
    if expected is not None:
        assert level.route == Route(vignette.get("route", "discussion"))


OWN = {"CLI-02", "CLI-17", "CLI-18", "CLI-20", "REQ-02"}
"""Rules that each profile words for itself."""


def tried(name: str, rule: str) -> list[dict[str, Any]]:
    """Vignettes that speak of a rule: a profile's own only in that profile's own vignettes."""
    return [v for v in VIGNETTES if v["profile"] == name or rule not in OWN]


@pytest.mark.parametrize("name", PROFILES)
def test_every_rule_fires_in_one_vignette_and_is_silent_in_another(name: str) -> None:
    """Told by what the table says, which each vignette is held to above."""
    for rule in PROFILES[name].rules:
        spoken = [v for v in tried(name, rule.id) if v.get("candidate", "yes") != "no"]
        said = {rule.id in v["fired"] for v in spoken}
        silent = {rule.id not in (*v["fired"], *v.get("undecided", ())) for v in spoken}
        assert True in said, rule.id
        assert True in silent, rule.id


def changed(condition: Condition) -> Iterator[Condition]:
    """Give a condition with one comparison turned round, or one part of it left out."""
    match condition:
        case Compare(name, Op.ONE_OF, values) if isinstance(values, tuple) and len(values) > 1:
            yield from (
                Compare(name, Op.ONE_OF, tuple(v for v in values if v != left)) for left in values
            )
        case Compare() | Known():
            yield Not(condition)
        case Not(part):
            yield from (Not(other) for other in changed(part))
        case AnyLevel(part):
            yield from (AnyLevel(other) for other in changed(part))
        case All(parts) | AnyOf(parts):
            for place, part in enumerate(parts):
                before, after = parts[:place], parts[place + 1 :]
                if before + after:
                    yield type(condition)(before + after)
                yield from (type(condition)((*before, other, *after)) for other in changed(part))


FACTS = {v["id"]: (patient_facts(*asked(v)), level_facts(*asked(v))) for v in VIGNETTES}


def answers(condition: Condition, name: str, rule: Rule) -> list[bool | None]:
    """Ask a condition of the first level, or the patient, of every vignette that speaks of it."""
    given = []
    for vignette in tried(name, rule.id):
        patient, levels = FACTS[vignette["id"]]
        facts = patient if rule.scope is Scope.PATIENT else {**patient, **levels[0]}
        given.append(decide(condition, facts, levels))
    return given


@pytest.mark.parametrize("name", PROFILES)
def test_the_table_notices_every_part_of_every_rule(name: str) -> None:
    """A rule with a part turned round or left out would answer one vignette otherwise."""
    unnoticed = [
        f"{rule.id}: {other}"
        for rule in PROFILES[name].rules
        for right in [answers(rule.when, name, rule)]
        for other in changed(rule.when)
        if answers(other, name, rule) == right
    ]
    # Each input that the list of needed ones names is left out alone in the test below.
    assert [line for line in unnoticed if not line.startswith("REQ-01")] == []


@pytest.mark.parametrize("name", PROFILES)
def test_each_missing_required_input_alone_is_insufficient_information(name: str) -> None:
    required = {
        seen.input
        for rule in plan(
            cases.report(), cases.clinical({}, list(cases.CLINICAL)), PROFILES[name], now=cases.NOW
        ).patient.fired
        if rule.id.startswith("REQ")
        for seen in rule.values
    }
    assert len(required) >= 25
    for field in sorted(required):
        document = plan(cases.report(), cases.clinical({}, [field]), PROFILES[name], now=cases.NOW)
        assert document.levels[0].outcome is Outcome.INSUFFICIENT_INFORMATION, field
        assert field in {seen.input for seen in document.missing}


@pytest.mark.parametrize("name", PROFILES)
def test_fields_a_profile_does_not_need_may_be_missing(name: str) -> None:
    asked_elsewhere = {
        "overview": ["symptom_weeks", "pain_severity", "analgesia_hours"],
        "sir": ["symptom_weeks", "pain_severity"],
        "nice": ["analgesia_hours"],
    }[name]
    optional = ["airway_risk", "allergy_contrast", "radiographs_available", "ct_available"]
    document = plan(
        cases.report(),
        cases.clinical({}, [*asked_elsewhere, *optional]),
        PROFILES[name],
        now=cases.NOW,
    )
    assert document.levels[0].outcome is Outcome.ELIGIBLE_FOR_DISCUSSION
