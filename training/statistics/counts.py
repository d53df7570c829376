"""Statistics of counts: proportions, paired changes and agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from training.statistics.roc import Interval


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share with Wilson's interval.

    Attributes:
        hits, of: Counts.
        interval: None where `of` is 0.
    """

    hits: int
    of: int
    interval: Interval | None

    @property
    def share(self) -> float | None:
        """How many of all, 0 to 1; None for nothing."""
        return self.hits / self.of if self.of else None


def proportion(flags: NDArray[np.bool_], level: float = 0.95) -> Proportion:
    """Share of true flags."""
    hits, of = int(flags.sum()), len(flags)
    return Proportion(hits, of, wilson(hits, of, level) if of else None)


def wilson(hits: int, of: int, level: float = 0.95) -> Interval:
    """Wilson's interval of a proportion; all there is, 0 to 1, for nothing.

    Source: Wilson 1927, JASA 22:209.
    """
    if not of:
        return Interval(0.0, 1.0)
    between = stats.binomtest(hits, of).proportion_ci(level, method="wilson")
    return Interval(float(between.low), float(between.high))


@dataclass(frozen=True, slots=True)
class McNemar:
    """Right answers that two readers of the same cases do not share.

    Attributes:
        only_first, only_second: Cases that only one of them has right.
        p_value: Exact, two-sided.
    """

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> McNemar:
    """Exact McNemar test (McNemar 1947, Psychometrika 12:153; binomial form)."""
    only_first = int((first_right & ~second_right).sum())
    only_second = int((~first_right & second_right).sum())
    apart = only_first + only_second
    p_value = float(stats.binomtest(only_first, apart).pvalue) if apart else 1.0
    return McNemar(only_first, only_second, p_value)


@dataclass(frozen=True, slots=True)
class Kappa:
    """Agreement beyond chance.

    Attributes:
        value: Cohen's kappa; None where both always say the same one thing.
        standard_error: Large-sample, of the unweighted kappa; None for a weighted one.
        agreed, of: Counts.
    """

    value: float | None
    standard_error: float | None
    agreed: int
    of: int

    def interval(self, level: float = 0.95) -> Interval | None:
        """Normal interval, None where there is no standard error."""
        if self.value is None or self.standard_error is None:
            return None
        reach = float(stats.norm.ppf(0.5 + level / 2)) * self.standard_error
        return Interval(self.value - reach, min(1.0, self.value + reach))


def cohen_kappa(
    first: Sequence[str], second: Sequence[str], order: Sequence[str] = (), weighting: str = ""
) -> Kappa:
    """Cohen's kappa of two readers of the same cases.

    Args:
        first: What one says of each case.
        second: What the other says.
        order: Categories from least to most, for weights; their own set when empty.
        weighting: "" for none, "linear" or "quadratic" by distance in `order`.

    Source: Cohen 1960, Educ Psychol Meas 20:37; Cohen 1968, Psychol Bull 70:213; standard error of
    Fleiss, Cohen, Everitt 1969, Psychol Bull 72:323, equation 13.
    """
    names = list(order) or sorted({*first, *second})
    place = {name: number for number, name in enumerate(names)}
    table = np.zeros((len(names), len(names)))
    for one, other in zip(first, second, strict=True):
        table[place[one], place[other]] += 1
    agreed, of = int(np.trace(table)), int(table.sum())
    if of == 0:
        return Kappa(None, None, 0, 0)
    shares = table / of
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    apart = np.abs(np.subtract.outer(np.arange(len(names)), np.arange(len(names)))).astype(float)
    weights = {"": (apart > 0).astype(float), "linear": apart, "quadratic": apart**2}[weighting]
    by_chance = float((weights * np.outer(rows, columns)).sum())
    if by_chance == 0.0:
        return Kappa(None, None, agreed, of)
    kappa = 1.0 - float((weights * shares).sum()) / by_chance
    error = _kappa_error(shares, kappa, of) if not weighting else None
    return Kappa(kappa, error, agreed, of)


def _kappa_error(shares: NDArray[np.float64], kappa: float, of: int) -> float:
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    chance = float(rows @ columns)
    margins = np.add.outer(columns, rows)
    same = np.diag(shares) * (1 - np.add(rows, columns) * (1 - kappa)) ** 2
    others = shares * margins**2
    np.fill_diagonal(others, 0.0)
    part = float(same.sum() + (1 - kappa) ** 2 * others.sum())
    part -= (kappa - chance * (1 - kappa)) ** 2
    return float(np.sqrt(max(part, 0.0) / of) / (1 - chance))
