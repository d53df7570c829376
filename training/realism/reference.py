"""The measured facts that the synthetic spine is held against, and what counts as agreement."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np

MEDIAN_TOLERANCE: Final = 0.15
SPREAD_FACTOR: Final = 1.5
"""What counts as agreement: medians within 15 %, spread within a factor of 1.5."""

FEWEST_FOR_SPREAD: Final = 5
"""Sets with fewer members say nothing about a spread."""

FLOORS: Final[Mapping[str, float]] = {
    "disc wedge": 1.5,
    "endplate angle": 1.5,
    "AP offset": 0.6,
    "lateral shift": 0.5,
    "AP gradient": 0.02,
    "concavity sup": 0.4,
    "concavity inf": 0.4,
    "in-body CV": 0.02,
    "flat CV": 0.02,
}
"""Least tolerance of a median (degrees, mm, log per cm): 15 % of a value near 0 means nothing."""

WIDE_MASKS_ONLY: Final = frozenset({"width", "volume mL"})
"""Figures that VB2's masks, cut short at the sides, cannot give where VB3 can."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Mean and standard deviation of a figure in real people, over all sets; n in all."""

    mean: float
    sd: float
    n: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a synthetic figure compares.

    Attributes:
        median: Of the synthetic values.
        sd: Of the synthetic values, outliers beyond 4 robust standard deviations left out.
        n: How many.
        median_agrees: Within 15 % (or the figure's floor).
        spread_agrees: Within a factor of 1.5; None when the measured set is too small to say.
    """

    median: float
    sd: float
    n: int
    median_agrees: bool
    spread_agrees: bool | None

    @property
    def agrees(self) -> bool:
        """Whether nothing is flagged."""
        return self.median_agrees and self.spread_agrees is not False


@cache
def facts() -> dict[str, Any]:
    """The data file."""
    return tomllib.loads(files("training.realism").joinpath("reference.toml").read_text())


def measured_signals(group: str) -> dict[str, Measured]:
    """Row name to the measured signal figure of a kind of sequence; {} when none is known."""
    rows = facts()["signal"].get(group, {})
    return {name: pooled(sets) for name, sets in rows.items()}


def measured_shapes(section: str) -> dict[tuple[str, str], Measured]:
    """(level or disc, row name) to the measured figure. `section` is "body" or "disc"."""
    table = facts()[section]
    columns = table["columns"]
    sets: dict[tuple[str, str], list[dict[str, Any]]] = {}
    wide = {row[1] for row in table["rows"] if row[0] == "VB3"}
    for name, level, n, *numbers in table["rows"]:
        for column, mean, sd in zip(columns, numbers[::2], numbers[1::2], strict=True):
            if column in WIDE_MASKS_ONLY and level in wide and name != "VB3":
                continue
            one = {"name": name, "n": n, "mean": mean, "sd": sd}
            sets.setdefault((level, column), []).append(one)
    return {key: pooled(parts) for key, parts in sets.items()}


def measured_lordosis() -> dict[str, Measured]:
    """Row name to the measured lordosis in degrees."""
    return {name: pooled(sets) for name, sets in facts()["lordosis"].items()}


def pooled(sets: Iterable[Mapping[str, Any]]) -> Measured:
    """Mean and spread of several sets together, the spread between the sets included."""
    parts = []
    for one in sets:
        if "values" in one:
            values = np.array(one["values"], dtype=float)
            spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            parts.append((len(values), float(values.mean()), spread))
        else:
            parts.append((int(one["n"]), float(one["mean"]), float(one["sd"])))
    n = sum(count for count, _, _ in parts)
    mean = sum(count * value for count, value, _ in parts) / n
    squares = sum((count - 1) * sd**2 + count * (value - mean) ** 2 for count, value, sd in parts)
    return Measured(mean, float(np.sqrt(squares / max(n - 1, 1))), n)


def reason_for(row: str, level: str) -> str:
    """Why a deviation of this row is meant; "" when it is not."""
    reasons: dict[str, str] = facts()["reasons"]
    return reasons.get(f"{level} {row}", reasons.get(row, ""))


def judge(row: str, measured: Measured, values: Iterable[float]) -> Verdict:
    """Hold synthetic values of a row against what was measured; NaN values are left out."""
    known = np.array([v for v in values if np.isfinite(v)])
    if not known.size:
        return Verdict(float("nan"), float("nan"), 0, median_agrees=False, spread_agrees=None)
    median = float(np.median(known))
    kept = without_outliers(known)
    sd = float(kept.std(ddof=1)) if len(kept) > 1 else 0.0
    tolerance = max(MEDIAN_TOLERANCE * abs(measured.mean), FLOORS.get(row, 0.0))
    spread = None
    if measured.n >= FEWEST_FOR_SPREAD and len(kept) >= FEWEST_FOR_SPREAD and measured.sd > 0:
        spread = measured.sd / SPREAD_FACTOR <= sd <= measured.sd * SPREAD_FACTOR
    close = abs(median - measured.mean) <= tolerance
    return Verdict(median, sd, len(known), median_agrees=close, spread_agrees=spread)


def without_outliers(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, Any]:
    """Values within 4 robust standard deviations of the median, as the measured sets were cut."""
    robust = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    return values[np.abs(values - np.median(values)) <= 4 * robust] if robust > 0 else values
