"""Bootstrap over patients: levels of one patient are alike, so patients are drawn, not levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.statistics.roc import Interval

ROUNDS: Final = 1000
Statistic = Callable[[NDArray[np.intp]], float | None]
"""From the numbers of the cases drawn to a value; None where it cannot be had."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Values of a statistic over draws of patients."""

    values: NDArray[np.float64]
    rounds: int

    def interval(self, level: float = 0.95) -> Interval | None:
        """Percentile interval; None where the statistic was missing in more than half the draws."""
        if len(self.values) <= self.rounds / 2:
            return None
        low, high = np.quantile(self.values, (0.5 - level / 2, 0.5 + level / 2))
        return Interval(float(low), float(high))

    def p_value(self, against: float = 0.0) -> float | None:
        """Two-sided: how often the values fall beyond `against`, at least 1 in `rounds`."""
        if len(self.values) <= self.rounds / 2:
            return None
        count = len(self.values)
        beyond = min((self.values <= against).sum(), (self.values >= against).sum())
        return float(min(1.0, 2.0 * (int(beyond) + 1) / (count + 1)))


def patient_bootstrap(
    statistic: Statistic, patients: Sequence[str], rounds: int = ROUNDS, seed: int = 0
) -> Bootstrap:
    """Draw whole patients with replacement.

    Args:
        statistic: Is given the numbers of the cases of the patients drawn.
        patients: Of each case.
        rounds: Draws.
        seed: The same one gives the same values.
    """
    names, place = np.unique(np.asarray(patients), return_inverse=True)
    of_patient = [np.flatnonzero(place == number) for number in range(len(names))]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        drawn = rng.integers(0, len(names), len(names))
        value = statistic(np.concatenate([of_patient[number] for number in drawn]))
        if value is not None:
            values.append(value)
    return Bootstrap(np.array(values, dtype=np.float64), rounds)
