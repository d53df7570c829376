"""Where the network's answer and a measured sign contradict each other: said, never settled.

For every pair the bundle carries the ranges of the measured sign in bodies with and without the
finding. A call is flagged when its sign lies outside the range of bodies so called and inside the
range of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from models.findings import Call

PAIRS: Final = (
    ("edema", "bright_fraction"),
    ("edema", "fluid_peak_ratio"),
    ("fracture", "height_loss"),
    ("pathological", "t1_replaced_fraction"),
    ("pathological", "t1_spared_fraction"),
    ("pathological", "fat_fraction_ratio_to_neighbours"),
    ("convex_posterior_border", "posterior_wall"),
)
"""Question and the measured sign that it is held against."""

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Ranges of a measured sign where a finding is there, and where it is not."""

    question: str
    sign: str
    with_finding: Range
    without: Range

    def contradicts(self, call: Call, value: float) -> bool:
        """Whether a value speaks against a call; an indeterminate one is never contradicted."""
        if call is Call.INDETERMINATE:
            return False
        own, other = self.with_finding, self.without
        if call is Call.ABSENT:
            own, other = other, own
        return not own[0] <= value <= own[1] and other[0] <= value <= other[1]


def disagreements(
    rules: tuple[Agreement, ...], calls: Mapping[str, Call], measured: Mapping[str, float]
) -> tuple[str, ...]:
    """Codes "<question>_against_<sign>" of all contradictions of a level."""
    return tuple(
        f"{rule.question}_against_{rule.sign}"
        for rule in rules
        if rule.question in calls
        and rule.sign in measured
        and rule.contradicts(calls[rule.question], measured[rule.sign])
    )


def read_agreements(stored: Mapping[str, Any] | None) -> tuple[Agreement, ...]:
    """The bundle's ranges; none where it carries none.

    Raises:
        KeyError, TypeError, ValueError: An entry is incomplete.
    """
    rules = []
    for question, sign in PAIRS:
        entry = (stored or {}).get(f"{question}/{sign}")
        if entry is not None:
            ranges = [tuple(map(float, entry[side])) for side in ("with", "without")]
            (a, b), (c, d) = ranges
            rules.append(Agreement(question, sign, (a, b), (c, d)))
    return tuple(rules)
