"""Laws of planning: less is never nearer to eligible, a contraindication is never softened."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.planning.document import PlanningDocument
from service.planning.model import Outcome
from service.planning.plan import plan
from service.planning.profiles import load_profiles
from tests.unit.planning import cases

PROFILES = load_profiles()

CHOICES: dict[str, list[Any]] = {
    "age_years": [34, 70, 78],
    "pain_present": [True, False],
    "pain_severity": ["mild", "severe"],
    "symptoms_improving": [True, False],
    "pain_levels_confirmed": [[], ["L1"], ["L1", "L2"], ["T5"]],
    "symptom_weeks": [2, 6, 9],
    "fracture_cause": ["osteoporotic", "cancer_related", "traumatic"],
    "medical_therapy_weeks": [1, 6, 20],
    "medical_therapy": [[], ["analgesics"]],
    "analgesia_hours": [3, 24, 400],
    "analgesia_appropriate": [True, False],
    "analgesic_side_effects": ["none", "tolerable", "significant"],
    "ambulation": ["unlimited", "limited_by_pain", "prevented_by_pain"],
    "physiotherapy_tolerated": [True, False],
    "active_systemic_infection": [True, False],
    "active_spinal_infection": [True, False],
    "imaging_infection_cleared": [True, False],
    "inr": [1.0, 1.5, 2.5],
    "platelets_10e9_per_l": [20, 50, 300],
    "bleeding_disorder": ["none", "correctable", "uncorrectable"],
    "anticoagulation": ["none", "held", "can_be_held", "cannot_be_held"],
    "allergy_pmma": [True, False],
    "anaesthesia_fitness": ["sedation", "general_anaesthesia_only", "unfit"],
    "radiculopathy": ["none", "present", "dominant"],
    "stenosis_symptoms": [True, False],
    "myelopathy": [True, False],
    "cancer_history": ["none", "past", "active"],
    "pregnancy": ["no", "yes", "not_applicable"],
    "prior_cement_levels": [[], ["L1"]],
    "ct_posterior_wall_intact_levels": [[], ["L1", "L2"]],
}

CONTRAINDICATIONS: dict[str, Any] = {
    "active_systemic_infection": True,
    "active_spinal_infection": True,
    "bleeding_disorder": "uncorrectable",
    "anticoagulation": "cannot_be_held",
    "allergy_pmma": True,
    "anaesthesia_fitness": "unfit",
    "pain_present": False,
    "symptoms_improving": True,
}

IMAGE_PARTS = [
    "edema", "fracture", "acuity", "etiology", "mimics", "signs", "geometry", "canal",
    "posterior_wall", "height_loss", "body", "epidural_mass", "discitis", "cement",
]  # fmt: skip

SERIES = ["stir", "t1"]


@st.composite
def patients(draw: st.DrawFn) -> dict[str, Any]:
    """The complete patient with a few changes and gaps: near every border, not at random."""
    changed = draw(st.lists(st.sampled_from(sorted(CHOICES)), max_size=4, unique=True))
    missing = draw(st.lists(st.sampled_from(sorted(CHOICES)), max_size=2, unique=True))
    changes = {name: draw(st.sampled_from(CHOICES[name])) for name in changed}
    return cases.clinical_mapping(changes, missing)


@st.composite
def levels(draw: st.DrawFn, name: str = "L1") -> dict[str, Any]:
    """A level as the scorer might call it."""
    acuity = draw(st.sampled_from(["unhealed", "healed", "indeterminate", "no_fracture"]))
    return {
        "level": name,
        "acuity": acuity,
        "fracture": "absent" if acuity == "no_fracture" else "present",
        "edema": draw(st.sampled_from(["present", "absent", "indeterminate"])),
        "etiology": draw(st.sampled_from(["benign", "pathological", "indeterminate"])),
        "height_loss": draw(st.sampled_from([10.0, 75.0])),
        "confidence": draw(st.sampled_from([0.8, 0.97])),
        "mimics": {"discitis": draw(st.sampled_from([0.0, 0.2, 0.7]))},
        "signs": {"epidural_mass": draw(st.sampled_from([0.0, 0.9]))},
        "geometry": {"canal": {"ap_minimum_mm": draw(st.sampled_from([8.0, 15.0]))}},
        "absent": draw(st.lists(st.sampled_from(IMAGE_PARTS), max_size=2, unique=True)),
    }


LESS = st.fixed_dictionaries(
    {
        "fields": st.sets(st.sampled_from(sorted(CHOICES)), max_size=4),
        "parts": st.sets(st.sampled_from(IMAGE_PARTS), max_size=3),
        "nameless": st.booleans(),
        "roles": st.sets(st.sampled_from(SERIES)),
        "anchor": st.sampled_from(["c2", "none"]),
    }
)
"""What is taken away: clinical fields, parts of the reading, the name, series, the anchor."""


def planned(
    found: list[dict[str, Any]],
    clinical: dict[str, Any],
    profile: str,
    roles: list[str] | None = None,
) -> PlanningDocument:
    return plan(
        cases.report(found, roles=SERIES if roles is None else roles),
        cases.read_clinical(clinical),
        PROFILES[profile],
        now=cases.NOW,
    )


def openness(outcome: Outcome | None) -> int:
    # A level that is no candidate is as closed as one that is contraindicated.
    return 0 if outcome is None else outcome.openness


@settings(max_examples=60, deadline=None)
@given(
    found=levels(),
    clinical=patients(),
    profile=st.sampled_from(sorted(PROFILES)),
    taken=LESS,
)
def test_removing_information_never_brings_a_level_nearer_to_eligible(
    found: dict[str, Any], clinical: dict[str, Any], profile: str, taken: dict[str, Any]
) -> None:
    before = planned([found], clinical, profile)
    less = {name: value for name, value in clinical.items() if name not in taken["fields"]}
    shown = {**found, "absent": [*found["absent"], *taken["parts"]]}
    if taken["nameless"]:
        shown["level"] = ""
    after = plan(
        cases.report([shown], roles=sorted(taken["roles"]), anchor=taken["anchor"]),
        cases.read_clinical(less),
        PROFILES[profile],
        now=cases.NOW,
    )
    assert openness(after.levels[0].outcome) <= openness(before.levels[0].outcome)
    assert openness(after.patient.outcome) <= openness(before.patient.outcome)
    lost = before.levels[0].outcome is Outcome.CONTRAINDICATED
    if lost and after.levels[0].outcome is not None:
        # What is not known cannot block, but nothing less than a question may take its place.
        assert after.levels[0].outcome in (
            Outcome.CONTRAINDICATED,
            Outcome.INSUFFICIENT_INFORMATION,
        )


RELATIVE: dict[str, tuple[Any, Any]] = {
    "radiculopathy": ("none", "dominant"),
    "stenosis_symptoms": (False, True),
    "myelopathy": (False, True),
    "pregnancy": ("no", "yes"),
    "cancer_history": ("none", "active"),
    "bleeding_disorder": ("none", "correctable"),
    "prior_cement_levels": ([], ["L1"]),
    "ct_posterior_wall_broken_levels": ([], ["L1"]),
}
"""Field to its harmless value and to what speaks against the procedure."""

IN_IMAGES: dict[str, dict[str, Any]] = {
    "discitis": {"mimics": {"discitis": 0.9}},
    "mass": {"signs": {"epidural_mass": 0.9}},
    "canal": {"geometry": {"canal": {"ap_minimum_mm": 6.0}}},
    "wall": {"geometry": {"posterior_wall": {"retropulsion_mm": 6.0}}},
    "collapse": {"height_loss": 85.0},
    "pathological": {"etiology": "pathological"},
    "cut": {"in_distribution": False},
}
"""Findings that speak against the procedure, on the level itself."""


@settings(max_examples=60, deadline=None)
@given(
    clinical=patients(),
    profile=st.sampled_from(sorted(PROFILES)),
    added=st.sampled_from(sorted(RELATIVE)),
    seen=st.sampled_from(sorted(IN_IMAGES)),
)
def test_what_speaks_against_never_softens_an_outcome(
    clinical: dict[str, Any], profile: str, added: str, seen: str
) -> None:
    harmless, against = RELATIVE[added]
    base = {**clinical, "ct_posterior_wall_intact_levels": [], added: harmless}
    before = planned([{}], base, profile).levels[0].outcome
    given = planned([{}], {**base, added: against}, profile).levels[0].outcome
    shown = planned([IN_IMAGES[seen]], base, profile).levels[0].outcome
    assert before is not None
    assert given is not None
    assert shown is not None
    assert before.strength <= given.strength
    assert before.strength <= shown.strength
    assert Outcome.ELIGIBLE_FOR_DISCUSSION not in (given, shown)


@settings(max_examples=20, deadline=None)
@given(found=levels(), clinical=patients(), order=st.randoms(use_true_random=False))
def test_the_order_of_rules_and_of_list_items_does_not_matter(
    found: dict[str, Any], clinical: dict[str, Any], order: Random
) -> None:
    profile = PROFILES["overview"]
    rules = tuple(order.sample(profile.rules, k=len(profile.rules)))
    lists = {
        name: order.sample(value, k=len(value)) if isinstance(value, list) else value
        for name, value in clinical.items()
    }
    report = cases.report([found])
    first = plan(report, cases.read_clinical(clinical), profile, now=cases.NOW)
    other = replace(profile, rules=rules)
    second = plan(report, cases.read_clinical(lists), other, now=cases.NOW)
    for one, two in zip(first.levels, second.levels, strict=True):
        assert (one.outcome, one.route) == (two.outcome, two.route)
        assert {rule.id for rule in one.fired} == {rule.id for rule in two.fired}
    assert first.patient.outcome == second.patient.outcome
    assert {rule.id for rule in first.patient.fired} == {rule.id for rule in second.patient.fired}


@settings(max_examples=60, deadline=None)
@given(
    found=levels(),
    clinical=patients(),
    profile=st.sampled_from(sorted(PROFILES)),
    added=st.sampled_from(sorted(CONTRAINDICATIONS)),
)
def test_adding_a_contraindication_never_softens_an_outcome(
    found: dict[str, Any], clinical: dict[str, Any], profile: str, added: str
) -> None:
    before = planned([found], clinical, profile).levels[0]
    after = planned([found], {**clinical, added: CONTRAINDICATIONS[added]}, profile).levels[0]
    assert (before.outcome is None) == (after.outcome is None)
    if before.outcome is not None and after.outcome is not None:
        assert after.outcome.strength >= before.outcome.strength
        assert after.outcome is Outcome.CONTRAINDICATED


@settings(max_examples=30, deadline=None)
@given(found=levels(), clinical=patients(), order=st.randoms(use_true_random=False))
def test_the_order_of_inputs_and_series_does_not_matter(
    found: dict[str, Any], clinical: dict[str, Any], order: Random
) -> None:
    names = order.sample(list(clinical), k=len(clinical))
    roles = order.sample(SERIES, k=len(SERIES))
    first = planned([found], clinical, "overview")
    second = planned([found], {name: clinical[name] for name in names}, "overview", roles)
    assert first == second


@settings(max_examples=30, deadline=None)
@given(found=levels(), clinical=patients(), profile=st.sampled_from(sorted(PROFILES)))
def test_the_strongest_wins_and_counts_every_rule(
    found: dict[str, Any], clinical: dict[str, Any], profile: str
) -> None:
    document = planned([found], clinical, profile)
    level = document.levels[0]
    rules = (*level.fired, *level.undecided, *document.patient.fired, *document.patient.undecided)
    if level.outcome is not None:
        assert all(rule.outcome.strength <= level.outcome.strength for rule in rules)
    if level.outcome is Outcome.ELIGIBLE_FOR_DISCUSSION:
        assert {rule.id for rule in rules} == {"IMG-01", "CLI-20"}
