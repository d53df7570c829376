"""Shipped files are whole; a site's files are checked, and may stand before the shipped ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.planning.errors import ProfileError, ProfileMissingError
from service.planning.model import Outcome
from service.planning.plan import plan
from service.planning.profiles import choose_profile, load_profiles
from service.planning.sentences import FORBIDDEN, wording_problem
from service.settings import Settings
from tests.unit.planning import cases

HEAD = """
schema = "planning-profile/1"
name = "site"
version = "0.1.0"
title = "Site"
basis = "A test."
include = ["imaging", "safety"]
[thresholds.min_age]
value = 18
unit = "years"
source = "product"
where = "test"
evidence = "setting"
"""

RULE = """
[[rules]]
id = "SITE-01"
scope = "patient"
when = { input = "age_years", op = "<", threshold = "min_age" }
outcome = "needs_review"
sentence = "The patient is {age_years} old."
source = "product"
where = "test"
evidence = "setting"
"""


def site(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_profiles_load() -> None:
    profiles = load_profiles()
    assert list(profiles) == ["nice", "overview", "sir"]
    for profile in profiles.values():
        assert profile.version
        assert len(profile.sha256) == 64
        assert all(rule.source.text and rule.where for rule in profile.rules)
        assert {rule.outcome for rule in profile.rules} == set(Outcome)


def test_a_site_adds_a_file_and_a_folder(tmp_path: Path) -> None:
    path = site(tmp_path, HEAD + RULE)
    assert list(load_profiles(path)) == ["nice", "overview", "sir", "site"]
    profile = choose_profile(load_profiles(tmp_path), "site")
    document = plan(cases.report(), cases.clinical({"age_years": 12}), profile, now=cases.NOW)
    assert [rule.sentence for rule in document.patient.fired if rule.id == "SITE-01"] == [
        "The patient is 12 years old."
    ]
    assert document.profile.name == "site"
    assert document.profile.sha256 != choose_profile(load_profiles()).sha256


def test_a_sites_profile_takes_the_place_of_a_shipped_one(tmp_path: Path) -> None:
    site(tmp_path, (HEAD + RULE).replace('name = "site"', 'name = "sir"'))
    profiles = load_profiles(tmp_path)
    assert list(profiles) == ["nice", "overview", "sir"]
    assert profiles["sir"].title == "Site"


def test_a_site_leaves_a_rule_out_and_changes_a_threshold(tmp_path: Path) -> None:
    text = HEAD.replace("[thresholds.min_age]", 'without = ["IMG-08"]\n[thresholds.min_age]')
    changed = """
[thresholds.max_inr]
value = 1.2
source = "product"
where = "local policy"
evidence = "setting"
"""
    profile = load_profiles(site(tmp_path, text + changed + RULE))["site"]
    assert "IMG-08" not in {rule.id for rule in profile.rules}
    document = plan(cases.report(), cases.clinical({"inr": 1.3}), profile, now=cases.NOW)
    assert "CLI-05" in {rule.id for rule in document.patient.fired}


WHEN = '{ input = "age_years", op = "<", threshold = "min_age" }'
REVIEW = 'outcome = "needs_review"'
THRESHOLD = "[thresholds.min_age]"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("version =", "version", "unreadable"),
        ('old."\nsource = "product"', 'old."', "missing_source"),
        ('old."\nsource = "product"', 'old."\nsource = "nobody"', "unknown_source"),
        ("title", "titel", "missing_key"),
        ("[[rules]]\n", "[[rules]]\ncolour = 3\n", "unknown_key"),
        ('basis = "A test."\n', "", "missing_key"),
        ("[[rules]]", RULE + "[[rules]]", "duplicate_id"),
        ("SITE-01", "CLI-06", "duplicate_id"),
        ('input = "age_years"', 'input = "agge"', "unknown_input"),
        ("value = 18", "value = 200", "unreachable"),
        ('threshold = "min_age"', 'threshold = "max_age"', "unknown_threshold"),
        ('unit = "years"', 'unit = "weeks"', "wrong_unit"),
        ("{age_years}", "{age_years.__class__}", "unknown_placeholder"),
        ("{age_years}", "{acuity}", "unknown_placeholder"),
        ("The patient", "Proceed: the patient", "forbidden_wording"),
        ("The patient", "Recommended treatment: the patient", "forbidden_wording"),
        (REVIEW, 'outcome = "maybe"', "wrong_value"),
        (REVIEW, REVIEW + '\nif_unknown = "eligible_for_discussion"', "not_monotone"),
        (REVIEW, 'outcome = "contraindicated"\nif_unknown = "needs_review"', "not_monotone"),
        (WHEN, '{ known = "age_years" }', "not_monotone"),
        (WHEN, '{ unknown = "age_years" }', "not_monotone"),
        (f"{WHEN}\n{REVIEW}", '{ unknown = "inr" }\noutcome = "eligible_for_discussion"',
         "not_monotone"),
        ('"imaging"', '"imagination"', "missing_set"),
        ('["imaging", "safety"]', '["sources"]', "missing_candidate"),
        (THRESHOLD, f'without = ["CLI-99"]\n{THRESHOLD}', "unknown_rule"),
        ("planning-profile/1", "planning-profile/2", "wrong_value"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    text = (HEAD + RULE).replace(old, new, 1)
    assert text != HEAD + RULE
    with pytest.raises(ProfileError) as refused:
        load_profiles(site(tmp_path, text))
    assert refused.value.problem == problem
    assert refused.value.code == "planning_profile_invalid"
    assert "site.toml" in str(refused.value)


def test_sets_may_not_include_themselves(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "imaging.toml").write_text(
        'schema = "planning-rules/1"\nversion = "1.0.0"\ninclude = ["imaging"]\n', encoding="utf-8"
    )
    with pytest.raises(ProfileError) as refused:
        load_profiles(tmp_path)
    assert refused.value.problem == "circular_include"


def test_a_missing_profile_is_told_with_those_there_are() -> None:
    with pytest.raises(ProfileMissingError, match="nice, overview, sir"):
        choose_profile(load_profiles(), "icd")
    with pytest.raises(ProfileMissingError):
        load_profiles(Path("nowhere"))


def test_the_setting_names_the_sites_profiles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACUITY_PLANNING_PROFILES", str(tmp_path))
    assert Settings().planning_profiles == tmp_path


def test_procedure_is_no_forbidden_word() -> None:
    assert wording_problem("before the procedure") is None
    assert all(wording_problem(f"We {word}.") == word for word in FORBIDDEN)


@pytest.mark.parametrize("path", ["overview", "sir", "nice"])
def test_no_shipped_sentence_gives_an_order(path: str) -> None:
    profile = load_profiles()[path]
    text = json.dumps([rule.sentence for rule in profile.rules]).lower()
    assert "proceed " not in text
    assert "recommended treatment" not in text
