"""Sentences with the values they speak of. Placeholders are names; nothing in them is evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from service.planning.conditions import Facts, Value
from service.planning.inputs import InputSpec, vocabulary
from service.planning.model import Threshold

LEVELS_PLACEHOLDER: Final = "levels"
"""Stands for the levels that make an `any_level` true."""

MISSING_PLACEHOLDER: Final = "missing"
"""Stands for the inputs of the rule that are not known."""

NOT_KNOWN: Final = "not known"

FORBIDDEN: Final = ("proceed", "recommended treatment")
"""No sentence says these: the software supports a discussion and decides nothing."""

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


def placeholders(sentence: str) -> tuple[str, ...]:
    """Name what a sentence wants filled in."""
    return tuple(_PLACEHOLDER.findall(sentence))


def wording_problem(sentence: str) -> str | None:
    """Give the forbidden word that a sentence holds, or None.

    "Procedure" is a word of the field and no advice to go on, so whole words are looked for.
    """
    low = sentence.lower()
    return next((word for word in FORBIDDEN if re.search(rf"\b{word}s?\b", low)), None)


def fill(
    sentence: str,
    facts: Facts,
    thresholds: Mapping[str, Threshold],
    lists: Mapping[str, Iterable[str]],
) -> str:
    """Write values into a sentence.

    Args:
        sentence: Checked: every placeholder is an input, a threshold or in `lists`.
        facts: What is known; the rest is written as not known.
        thresholds: By name.
        lists: Titles for the placeholders "levels" and "missing".
    """

    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        if name in lists:
            return ", ".join(lists[name]) or NOT_KNOWN
        if name in thresholds:
            return written(thresholds[name].value, thresholds[name].unit)
        return written(facts.get(name), vocabulary()[name].unit)

    return _PLACEHOLDER.sub(value_of, sentence)


def written(value: Value | None, unit: str = "") -> str:
    """Write a value for a reader: a probability as a percentage, a number with its unit."""
    if value is None:
        return NOT_KNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value.replace("_", " ")
    if unit == "probability":
        return f"{100 * value:.0f} %"
    return f"{round(value, 1):g} {unit}".rstrip()


def not_known(specs: Iterable[InputSpec]) -> str:
    """Say which inputs are not known."""
    return "Not known: " + ", ".join(spec.label for spec in specs) + "."
