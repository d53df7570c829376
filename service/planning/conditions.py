"""Conditions as data, decided in three-valued logic: true, false, or not known (None).

The logic is Kleene's: an unknown value makes a comparison unknown, and `all`, `any` and `not` are
unknown only where the unknown part could still turn the answer. A condition is a finite tree
without names to resolve, so deciding it always ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

Value = bool | float | str
"""What an input may hold; None stands for not known."""

Facts = Mapping[str, Value | None]
"""Input name to value; a name that is absent is not known."""


class Op(StrEnum):
    """How an input is compared."""

    EQUAL = "="
    UNEQUAL = "!="
    BELOW = "<"
    AT_MOST = "<="
    ABOVE = ">"
    AT_LEAST = ">="
    ONE_OF = "in"


NUMERIC = frozenset({Op.BELOW, Op.AT_MOST, Op.ABOVE, Op.AT_LEAST})
"""Operators that need a number."""


@dataclass(frozen=True, slots=True)
class Compare:
    """One input against a value, or against several with `in`."""

    input: str
    op: Op
    value: Value | tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """Whether an input has a value; never itself unknown."""

    input: str


@dataclass(frozen=True, slots=True)
class All:
    """True when every part is."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """True when one part is."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite; unknown stays unknown."""

    part: Condition


@dataclass(frozen=True, slots=True)
class AnyLevel:
    """True when one level of the report, candidate or not, makes the part true."""

    part: Condition


Condition = Compare | Known | All | Any | Not | AnyLevel


def decide(condition: Condition, facts: Facts, levels: Sequence[Facts] = ()) -> bool | None:
    """Decide a condition.

    Args:
        condition: A checked tree (`service.planning.parse`): numbers are compared with numbers.
        facts: What is known.
        levels: What is known of each level, for `AnyLevel`.

    Returns:
        True, False, or None where what is missing could turn the answer.
    """
    match condition:
        case Compare():
            return _compare(condition, facts.get(condition.input))
        case Known():
            return facts.get(condition.input) is not None
        case Not():
            answer = decide(condition.part, facts, levels)
            return None if answer is None else not answer
        case All():
            return _all([decide(part, facts, levels) for part in condition.parts])
        case Any():
            return _any([decide(part, facts, levels) for part in condition.parts])
        case AnyLevel():
            # Where no level was read, nothing is known of any.
            return _any([decide(condition.part, {**facts, **level}) for level in levels] or [None])


def inputs_of(condition: Condition) -> tuple[str, ...]:
    """Name every input that a condition reads, each once, in the order of the tree."""
    return tuple(dict.fromkeys(_inputs(condition)))


def _inputs(condition: Condition) -> Iterator[str]:
    match condition:
        case Compare() | Known():
            yield condition.input
        case Not() | AnyLevel():
            yield from _inputs(condition.part)
        case All() | Any():
            for part in condition.parts:
                yield from _inputs(part)


def _all(answers: Sequence[bool | None]) -> bool | None:
    if any(answer is False for answer in answers):
        return False
    return None if any(answer is None for answer in answers) else True


def _any(answers: Sequence[bool | None]) -> bool | None:
    if any(answer is True for answer in answers):
        return True
    return None if any(answer is None for answer in answers) else False


def _compare(condition: Compare, seen: Value | None) -> bool | None:
    if seen is None:
        return None
    value = condition.value
    match condition.op:
        case Op.EQUAL:
            return seen == value
        case Op.UNEQUAL:
            return seen != value
        case Op.ONE_OF:
            return isinstance(value, tuple) and seen in value
        case _:
            return _compare_numbers(condition.op, seen, value)


def _compare_numbers(op: Op, seen: Value, value: Value | tuple[Value, ...]) -> bool | None:
    # What is not a number cannot be ordered; a checked tree never asks for it.
    if isinstance(seen, str) or isinstance(value, str | tuple):
        return None
    match op:
        case Op.BELOW:
            return seen < value
        case Op.AT_MOST:
            return seen <= value
        case Op.ABOVE:
            return seen > value
        case _:
            return seen >= value
