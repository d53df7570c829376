"""The table of patients: outcome, fired and undecided rules; and every rule is tried in it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from service.planning.document import LevelPlan, PlanningDocument
from service.planning.model import Candidate, Outcome, Route
from service.planning.plan import plan
from service.planning.profiles import load_profiles
from tests.unit.planning import cases

PROFILES = load_profiles()
VIGNETTES: list[dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("vignettes.toml").read_text(encoding="utf-8")
)["vignettes"]


def written(vignette: dict[str, Any]) -> PlanningDocument:
    without = list(vignette.get("without", ()))
    if "only" in vignette:
        without = [name for name in cases.CLINICAL if name not in vignette["only"]]
    return plan(
        cases.report(
            (vignette.get("level", {}), *vignette.get("others", ())), **vignette.get("study", {})
        ),
        cases.clinical(vignette.get("clinical"), without),
        PROFILES[vignette["profile"]],
        now=cases.NOW,
    )


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


@pytest.mark.parametrize("name", PROFILES)
def test_every_rule_fires_in_one_vignette_and_is_silent_in_another(name: str) -> None:
    """A rule that a profile shares is tried in any profile's vignettes; its own in its own."""
    seen: set[str] = set()
    silent: set[str] = set()
    shared = set.intersection(*({rule.id for rule in p.rules} for p in PROFILES.values()))
    own = {"CLI-02", "CLI-17", "CLI-18", "CLI-20", "REQ-02"}
    for vignette in VIGNETTES:
        document = written({**vignette, "profile": name})
        every = {rule.id for rule in document.patient.fired}
        for level in document.levels:
            every |= {rule.id for rule in level.fired}
        seen |= every
        silent |= {rule.id for rule in PROFILES[name].rules} - every
    rules = {rule.id for rule in PROFILES[name].rules}
    assert rules - seen == set()
    assert rules - silent == set()
    assert shared - own <= seen


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
