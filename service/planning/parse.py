"""Read a condition from a TOML table and check it: names, kinds, ranges, reach.

A table is one of

    {input = "inr", op = ">", value = 1.5}          or  threshold = "max_inr" in place of value
    {all = [...]}  {any = [...]}  {not = {...}}
    {known = "inr"}  {unknown = "inr"}
    {any_level = {...}}                             one level of the report makes it true
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any as Anything
from typing import Final

from service.planning.conditions import (
    NUMERIC,
    All,
    Any,
    AnyLevel,
    Compare,
    Condition,
    Known,
    Not,
    Op,
    Value,
    decide,
    inputs_of,
)
from service.planning.inputs import InputSpec, Kind, vocabulary
from service.planning.model import Scope, Threshold

MAX_DEPTH: Final = 8
MAX_PARTS: Final = 40
EXHAUSTIVE: Final = 4096
"""Assignments that are tried one by one; beyond, only each comparison is checked for itself."""


class ConditionError(ValueError):
    """A condition that does not make sense; `problem` is a stable code."""

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class _Context:
    scope: Scope
    thresholds: Mapping[str, Threshold]
    depth: int = 0

    def within(self, scope: Scope | None = None) -> _Context:
        return _Context(scope or self.scope, self.thresholds, self.depth + 1)


def parse_condition(table: object, scope: Scope, thresholds: Mapping[str, Threshold]) -> Condition:
    """Read and check a condition.

    Args:
        table: As TOML gives it.
        scope: Of the rule: a rule of the patient reads levels only inside `any_level`.
        thresholds: What `threshold` may name.

    Raises:
        ConditionError: With the code of what is wrong.
    """
    condition = _parse(table, _Context(scope, thresholds))
    _check_reach(condition)
    return condition


def knows(condition: Condition, *, positive: bool = True) -> Iterator[bool]:
    """Give the sign of every `Known` in a condition: True where knowing makes it truer."""
    match condition:
        case Compare():
            return
        case Known():
            yield positive
        case Not():
            yield from knows(condition.part, positive=not positive)
        case AnyLevel():
            yield from knows(condition.part, positive=positive)
        case All() | Any():
            for part in condition.parts:
                yield from knows(part, positive=positive)


def _parse(table: object, context: _Context) -> Condition:
    if not isinstance(table, dict) or not table:
        raise ConditionError("wrong_value", "a condition is a table")
    if context.depth >= MAX_DEPTH:
        raise ConditionError("too_deep", f"a condition goes no deeper than {MAX_DEPTH}")
    if "input" in table:
        return _parse_comparison(table, context)
    if len(table) != 1:
        raise ConditionError("unknown_key", f"unclear condition: {', '.join(sorted(table))}")
    (key, value), *_ = table.items()
    if key in ("all", "any"):
        parts = _parse_parts(value, context)
        return All(parts) if key == "all" else Any(parts)
    if key in ("known", "unknown"):
        known = Known(_input(value, context).name)
        return known if key == "known" else Not(known)
    return _parse_one(key, value, context)


def _parse_one(key: str, value: object, context: _Context) -> Condition:
    if key == "not":
        return Not(_parse(value, context.within()))
    if key != "any_level":
        raise ConditionError("unknown_key", f"a condition has no {key!r}")
    if context.scope is Scope.LEVEL:
        raise ConditionError("wrong_scope", "any_level belongs into rules of the patient")
    return AnyLevel(_parse(value, context.within(Scope.LEVEL)))


def _parse_parts(value: object, context: _Context) -> tuple[Condition, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_PARTS:
        raise ConditionError("wrong_value", f"all and any hold 1 to {MAX_PARTS} conditions")
    return tuple(_parse(part, context.within()) for part in value)


def _parse_comparison(table: Mapping[str, Anything], context: _Context) -> Compare:
    if unknown := sorted(set(table) - {"input", "op", "value", "threshold"}):
        raise ConditionError("unknown_key", f"a comparison has no {', '.join(unknown)}")
    spec = _input(table["input"], context)
    try:
        op = Op(table.get("op", "="))
    except ValueError:
        raise ConditionError("unknown_op", f"{spec.name}: no such operator") from None
    if ("value" in table) == ("threshold" in table):
        raise ConditionError("missing_key", f"{spec.name}: a value or a threshold, not both")
    value = table["value"] if "value" in table else _threshold(table["threshold"], spec, context)
    return _checked(spec, op, value)


def _input(name: object, context: _Context) -> InputSpec:
    spec = vocabulary().get(name) if isinstance(name, str) else None
    if spec is None:
        raise ConditionError("unknown_input", f"there is no input {name!r}")
    if spec.scope is Scope.LEVEL and context.scope is Scope.PATIENT:
        raise ConditionError("wrong_scope", f"{spec.name} belongs to a level")
    return spec


def _threshold(name: object, spec: InputSpec, context: _Context) -> float:
    threshold = context.thresholds.get(name) if isinstance(name, str) else None
    if threshold is None:
        raise ConditionError("unknown_threshold", f"there is no threshold {name!r}")
    if threshold.unit != spec.unit:
        raise ConditionError("wrong_unit", f"{spec.name} and {threshold.name} differ in unit")
    return threshold.value


def _checked(spec: InputSpec, op: Op, value: object) -> Compare:
    """Check a comparison against the kind of its input."""
    several = op is Op.ONE_OF
    values = value if several and isinstance(value, list) else [value]
    if several != isinstance(value, list) or not values:
        raise ConditionError("wrong_value", f"{spec.name}: 'in' goes with a list, and only that")
    if op in NUMERIC and spec.kind is not Kind.NUMBER:
        raise ConditionError("wrong_value", f"{spec.name} is not a number")
    checked = tuple(_value(spec, item) for item in values)
    compare = Compare(spec.name, op, checked if several else checked[0])
    answers = {decide(compare, {spec.name: seen}) for seen in _examples(spec, (compare,))}
    if answers != {True, False}:
        raise ConditionError("unreachable", f"{spec.name}: this comparison never changes")
    return compare


def _value(spec: InputSpec, value: object) -> Value:
    match spec.kind:
        case Kind.FLAG:
            if isinstance(value, bool):
                return value
        case Kind.NUMBER:
            if isinstance(value, int | float) and not isinstance(value, bool):
                if spec.low <= value <= spec.high:
                    return float(value)
                raise ConditionError("unreachable", f"{spec.name}: the value is out of range")
        case Kind.CHOICE:
            if isinstance(value, str):
                if value in spec.choices:
                    return value
                raise ConditionError("unknown_choice", f"{spec.name} has no choice {value!r}")
    raise ConditionError("wrong_value", f"{spec.name}: a {spec.kind} is needed")


def _examples(spec: InputSpec, compared: tuple[Compare, ...]) -> tuple[Value, ...]:
    """Give one value for every way in which the comparisons of an input can come out."""
    if spec.kind is Kind.FLAG:
        return (False, True)
    if spec.kind is Kind.CHOICE:
        return spec.choices
    marks = {spec.low, spec.high}
    for compare in compared:
        values = compare.value if isinstance(compare.value, tuple) else (compare.value,)
        marks.update(value for value in values if not isinstance(value, str))
    ordered = sorted(marks)
    between = [(low + high) / 2 for low, high in pairwise(ordered)]
    return tuple(sorted({*ordered, *between}))


def _check_reach(condition: Condition) -> None:
    """Refuse a condition that can never be true or never be false.

    Small conditions are tried with every combination of values, known or not; each comparison of
    larger ones was tried for itself.
    """
    names = inputs_of(condition)
    compared = tuple(_comparisons(condition))
    choices = [
        (None, *_examples(vocabulary()[name], tuple(c for c in compared if c.input == name)))
        for name in names
    ]
    size = 1
    for values in choices:
        size *= len(values)
    if size > EXHAUSTIVE:
        return
    answers = set()
    for values in product(*choices):
        facts = dict(zip(names, values, strict=True))
        answers.add(decide(condition, facts, (facts,)))
        if {True, False} <= answers:
            return
    raise ConditionError("unreachable", "the condition can never change")


def _comparisons(condition: Condition) -> Iterator[Compare]:
    match condition:
        case Compare():
            yield condition
        case Known():
            return
        case Not() | AnyLevel():
            yield from _comparisons(condition.part)
        case All() | Any():
            for part in condition.parts:
                yield from _comparisons(part)
