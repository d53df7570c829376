"""Load guideline profiles: the shipped ones and a site's own, each checked whole before use.

A profile includes rule sets (`sets/`), leaves some of their rules out, and adds its own. A site's
folder is looked into before the shipped one, for profiles, rule sets, `technique.toml` and
`procedure.toml` alike; a single file is a profile of its own.

Two laws are checked for every rule, so that removing information never brings a level nearer to
eligible: an undecided rule never counts for more than a fired one, and only rules that close or
question a level may ask whether something is known, and then only so that not knowing fires them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from service.planning.conditions import Condition
from service.planning.definitions import Definitions, Store, define
from service.planning.errors import ProfileMissingError
from service.planning.model import (
    CandidateRule,
    Outcome,
    Procedure,
    Profile,
    Rule,
    Scope,
    Technique,
)
from service.planning.parse import knows
from service.planning.procedure import PROCEDURE, load_procedure
from service.planning.tables import CandidateTable, ProfileFile, RuleTable, read_table
from service.planning.technique import TECHNIQUE, load_technique

PACKAGED: Final = Path(__file__).with_name("profiles")
"""The folder that ships with the product."""

DEFAULT_PROFILE: Final = "overview"


def load_profiles(site: Path | None = None) -> Mapping[str, Profile]:
    """Load and check every profile.

    Args:
        site: A folder of profiles, or one profile's file; None for the shipped ones only.

    Returns:
        By name, sorted; a site's profile takes the place of a shipped one of its name.

    Raises:
        ProfileError: A file does not make sense; the first problem found is told.
        ProfileMissingError: `site` is not there.
    """
    if site is not None and not site.exists():
        raise ProfileMissingError("the site's planning profiles are not there")
    own = site if site is not None and site.is_dir() else None
    store = Store((PACKAGED,) if own is None else (own, PACKAGED))
    technique, procedure = load_technique(store), load_procedure(store)
    paths = [folder_file for folder in store.folders[::-1] for folder_file in _files(folder)]
    if site is not None and own is None:
        paths.append(site)
    profiles = (_load(path, store, technique, procedure) for path in paths)
    by_name = {profile.name: profile for profile in profiles}
    return dict(sorted(by_name.items()))


def choose_profile(profiles: Mapping[str, Profile], name: str = DEFAULT_PROFILE) -> Profile:
    """Give the profile of that name.

    Raises:
        ProfileMissingError: There is none; the message lists those there are.
    """
    if name not in profiles:
        raise ProfileMissingError(f"no such planning profile; there are: {', '.join(profiles)}")
    return profiles[name]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.toml") if path.name not in (TECHNIQUE, PROCEDURE))


def _load(path: Path, store: Store, technique: Technique, procedure: Procedure) -> Profile:
    file, content = read_table(path, ProfileFile)
    definitions = define(path, file, content, store)
    included = [table for part in definitions.sets for table in part.rules]
    if unused := set(file.without) - {table.id for table in included}:
        raise definitions.error("unknown_rule", sorted(unused)[0], "no included rule to leave out")
    tables = [table for table in included if table.id not in file.without]
    candidates = [part.candidate for part in reversed(definitions.sets) if part.candidate]
    candidates[:0] = [file.candidate] if file.candidate else []
    if not candidates:
        raise definitions.error("missing_candidate", file.name, "no rule says what a candidate is")
    candidate = _candidate(candidates[0], definitions)
    rules = tuple(_rule(table, definitions) for table in (*tables, *file.rules))
    _check_ids((candidate.id, *(rule.id for rule in rules)), definitions)
    return Profile(
        name=file.name,
        version=file.version,
        title=file.title,
        basis=file.basis,
        candidate=candidate,
        rules=rules,
        thresholds=definitions.thresholds,
        technique=technique,
        procedure=procedure,
        sha256=definitions.sha256,
    )


def _candidate(table: CandidateTable, definitions: Definitions) -> CandidateRule:
    when = definitions.condition(table.id, table.when, Scope.LEVEL)
    if any(True for _ in knows(when)):
        raise definitions.error("not_monotone", table.id, "a candidate is not one for being unread")

    def checked(text: str) -> str:
        return definitions.sentence(table.id, text, Scope.LEVEL)

    return CandidateRule(
        id=table.id,
        when=when,
        sentence=checked(table.sentence),
        sentence_not=checked(table.sentence_not),
        sentence_unknown=checked(table.sentence_unknown),
        source=definitions.source(table.id, table.source),
        where=table.where,
        evidence=table.evidence,
    )


def _rule(table: RuleTable, definitions: Definitions) -> Rule:
    when = definitions.condition(table.id, table.when, table.scope)
    problem = _monotony_problem(table, when)
    if problem is not None:
        raise definitions.error("not_monotone", table.id, problem)
    return Rule(
        id=table.id,
        scope=table.scope,
        when=when,
        outcome=table.outcome,
        if_unknown=table.if_unknown,
        sentence=definitions.sentence(table.id, table.sentence, table.scope),
        source=definitions.source(table.id, table.source),
        where=table.where,
        evidence=table.evidence,
        route=table.route,
        urgent=table.urgent,
    )


def _monotony_problem(table: RuleTable, when: Condition) -> str | None:
    if table.if_unknown not in (Outcome.INSUFFICIENT_INFORMATION, Outcome.NEEDS_REVIEW):
        return "an undecided rule asks for information or for review"
    if table.if_unknown.openness > table.outcome.openness:
        return "an undecided rule would count for more than a fired one"
    return _knowing_problem(table, tuple(knows(when)))


def _knowing_problem(table: RuleTable, signs: tuple[bool, ...]) -> str | None:
    if signs and table.outcome is Outcome.ELIGIBLE_FOR_DISCUSSION:
        return "eligibility may not hang on whether something is known"
    if any(signs):
        return "knowing would fire the rule, so that leaving it out would silence it"
    if signs and table.if_unknown.openness != table.outcome.openness:
        return "a rule that asks whether something is known counts the same when undecided"
    return None


def _check_ids(ids: Iterable[str], definitions: Definitions) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise definitions.error("duplicate_id", name, "two rules have this id")
        seen.add(name)
