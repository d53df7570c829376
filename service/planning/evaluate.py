"""Ask rules: which fire, which are undecided, what they come to, and with which values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from service.planning.conditions import (
    All,
    Any,
    AnyLevel,
    Compare,
    Condition,
    Facts,
    Known,
    Not,
    decide,
    inputs_of,
)
from service.planning.document import (
    ApproachPlan,
    CandidateReason,
    Consideration,
    FiredRule,
    SeenValue,
    SourceReference,
    UndecidedRule,
)
from service.planning.inputs import Origin, vocabulary
from service.planning.model import (
    Advice,
    ApproachRule,
    CandidateRule,
    Outcome,
    Profile,
    Rule,
    Scope,
    Technique,
    Topic,
)
from service.planning.sentences import (
    LEVELS_PLACEHOLDER,
    MISSING_PLACEHOLDER,
    fill,
    not_known,
    placeholders,
)


@dataclass(frozen=True, slots=True)
class LevelView:
    """A level as conditions see it.

    Attributes:
        title: Name, or number of the body.
        facts: Of the level alone.
    """

    title: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class Answers:
    """What a set of rules comes to.

    Attributes:
        outcome: The strongest of all fired and undecided rules; insufficient information where no
            rule speaks at all.
    """

    outcome: Outcome
    fired: tuple[FiredRule, ...]
    undecided: tuple[UndecidedRule, ...]


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks rules of one patient, or of one level.

    Attributes:
        profile: Whose rules and thresholds are used.
        facts: Of the patient, with the level's on top when a level is asked.
        levels: Every level of the report, for rules that look at all of them.
    """

    profile: Profile
    facts: Facts
    levels: Sequence[LevelView]

    def of_level(self, level: LevelView) -> Asker:
        """Give the asker of one level."""
        return Asker(self.profile, {**self.facts, **level.facts}, self.levels)

    def answer(self, scope: Scope) -> Answers:
        """Ask every rule of a scope."""
        fired: list[FiredRule] = []
        undecided: list[UndecidedRule] = []
        for rule in self.profile.rules:
            if rule.scope is scope:
                answer = self._decide(rule.when)
                if answer:
                    fired.append(self._fired(rule))
                elif answer is None:
                    undecided.append(self._undecided(rule))
        return Answers(_strongest((*fired, *undecided)), tuple(fired), tuple(undecided))

    def candidate(self, rule: CandidateRule) -> tuple[bool | None, CandidateReason]:
        """Ask whether a level is looked at."""
        answer = self._decide(rule.when)
        sentence = {
            True: rule.sentence,
            False: rule.sentence_not,
            None: rule.sentence_unknown,
        }[answer]
        return answer, CandidateReason(
            id=rule.id,
            sentence=self._fill(sentence, rule.when, self.profile.technique),
            missing=self._missing(rule.when) if answer is None else (),
            values=self._values(rule.when, sentence, answer=answer),
            source=_source(rule),
        )

    def advice(self, scope: Scope) -> tuple[Consideration, ...]:
        """Give the considerations of a scope that hold, and those that cannot be told."""
        given = (
            self.consider(item)
            for item in self.profile.technique.advice
            if item.scope is scope and item.topic is not Topic.SESSION
        )
        return tuple(item for item in given if item is not None)

    def consider(self, item: Advice) -> Consideration | None:
        """Ask one consideration; None when it does not hold."""
        answer = True if item.when is None else self._decide(item.when)
        if answer is False:
            return None
        missing = () if item.when is None or answer else self._missing(item.when)
        return Consideration(
            id=item.id,
            topic=item.topic,
            decided=answer is True,
            sentence=self._fill(item.sentence, item.when, self.profile.technique)
            if answer
            else not_known(vocabulary()[name] for name in missing),
            missing=missing,
            values=self._values(item.when, item.sentence, answer=answer),
            source=_source(item),
        )

    def approach(self, rows: Iterable[ApproachRule]) -> ApproachPlan:
        """Take the first row that holds; a checked table ends with one that always does."""
        technique = self.profile.technique
        row = next(row for row in rows if row.when is None or self._decide(row.when))
        return ApproachPlan(
            id=row.id,
            approach=row.approach,
            needle_gauge=row.gauge,
            cement_ml=row.cement_ml,
            sentence=self._fill(row.sentence, row.when, technique),
            notes=tuple(self._fill(note, row.when, technique) for note in row.notes),
            values=self._values(row.when, row.sentence, answer=None),
            source=_source(row),
        )

    def seen(self, names: Iterable[str]) -> tuple[SeenValue, ...]:
        """Give inputs with what is known of them."""
        return tuple(_seen(name, self.facts) for name in names)

    def _decide(self, condition: Condition) -> bool | None:
        return decide(condition, self.facts, tuple(level.facts for level in self.levels))

    def _fired(self, rule: Rule) -> FiredRule:
        return FiredRule(
            id=rule.id,
            scope=rule.scope,
            outcome=rule.outcome,
            sentence=self._fill(rule.sentence, rule.when, self.profile),
            values=self._values(rule.when, rule.sentence, answer=True),
            source=_source(rule),
            route=rule.route,
            urgent=rule.urgent,
        )

    def _undecided(self, rule: Rule) -> UndecidedRule:
        missing = self._missing(rule.when)
        return UndecidedRule(
            id=rule.id,
            scope=rule.scope,
            outcome=rule.if_unknown,
            would_be=rule.outcome,
            sentence=not_known(vocabulary()[name] for name in missing),
            missing=missing,
            values=self._values(rule.when, "", answer=None),
            source=_source(rule),
        )

    def _fill(self, sentence: str, when: Condition | None, owner: Profile | Technique) -> str:
        wanted = placeholders(sentence)
        lists: dict[str, Sequence[str]] = {}
        if LEVELS_PLACEHOLDER in wanted and when is not None:
            lists[LEVELS_PLACEHOLDER] = [
                level.title for level in self._levels_of(when, answer=True)
            ]
        if MISSING_PLACEHOLDER in wanted and when is not None:
            lists[MISSING_PLACEHOLDER] = [vocabulary()[name].label for name in self._unknown(when)]
        return fill(sentence, self.facts, owner.thresholds, lists)

    def _missing(self, when: Condition) -> tuple[str, ...]:
        """Name the inputs for want of which a condition is undecided.

        An input that the condition asks for being known is left out: not knowing it is an answer.
        """
        answered = set(_asked_for(when))
        return tuple(name for name in self._unknown(when) if name not in answered)

    def _unknown(self, when: Condition) -> tuple[str, ...]:
        """Name the inputs that are not known; one of levels counts where a level lacks it."""
        per_level = _per_level(when)
        undecided = self._levels_of(when, answer=None)
        return tuple(
            name
            for name in inputs_of(when)
            if (name not in per_level and self.facts.get(name) is None)
            or (name in per_level and not self.levels)
            or (name in per_level and any(level.facts.get(name) is None for level in undecided))
        )

    def _values(
        self, when: Condition | None, sentence: str, *, answer: bool | None
    ) -> tuple[SeenValue, ...]:
        """Give every value that the condition or the sentence speaks of."""
        inside = () if when is None else inputs_of(when)
        per_level = () if when is None else _per_level(when)
        spoken = [name for name in placeholders(sentence) if name in vocabulary()]
        names = [name for name in dict.fromkeys((*inside, *spoken)) if name not in per_level]
        levels = () if when is None else self._levels_of(when, answer=answer)
        return (
            *self.seen(names),
            *(_seen(name, level.facts, level.title) for level in levels for name in per_level),
        )

    def _levels_of(self, when: Condition, *, answer: bool | None) -> tuple[LevelView, ...]:
        """Give the levels at which the parts under `any_level` come out as asked."""
        parts = _level_parts(when)
        return tuple(
            level
            for level in self.levels
            if any(decide(part, {**self.facts, **level.facts}) is answer for part in parts)
        )


def _level_parts(condition: Condition) -> tuple[Condition, ...]:
    match condition:
        case AnyLevel():
            return (condition.part,)
        case Not():
            return _level_parts(condition.part)
        case All() | Any():
            return tuple(part for item in condition.parts for part in _level_parts(item))
        case Compare() | Known():
            return ()


def _asked_for(condition: Condition) -> Iterator[str]:
    match condition:
        case Known():
            yield condition.input
        case Not() | AnyLevel():
            yield from _asked_for(condition.part)
        case All() | Any():
            for part in condition.parts:
                yield from _asked_for(part)
        case Compare():
            return


def _per_level(condition: Condition) -> tuple[str, ...]:
    names = (name for part in _level_parts(condition) for name in inputs_of(part))
    return tuple(name for name in dict.fromkeys(names) if vocabulary()[name].origin is Origin.LEVEL)


def _strongest(rules: Iterable[FiredRule | UndecidedRule]) -> Outcome:
    outcomes = [rule.outcome for rule in rules]
    if not outcomes:
        return Outcome.INSUFFICIENT_INFORMATION
    return max(outcomes, key=lambda outcome: outcome.strength)


def _seen(name: str, facts: Facts, level: str | None = None) -> SeenValue:
    spec = vocabulary()[name]
    value = facts.get(name)
    if isinstance(value, float):
        value = round(value, 4)
    return SeenValue(input=name, label=spec.label, value=value, unit=spec.unit, level=level)


def _source(rule: Rule | CandidateRule | Advice | ApproachRule) -> SourceReference:
    return SourceReference(text=rule.source.text, where=rule.where, evidence=rule.evidence)
