"""Temperature and thresholds from judged local cases, with intervals, or a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from models.scorer.calibration import OperatingPoint, Platt
from training.judging.cases import Judged
from training.scorer.calibrate import ACCEPTED, EVEN, choose_point
from training.statistics.resampling import patient_bootstrap
from training.statistics.roc import Interval

FEWEST_POSITIVE: Final = 15
FEWEST_NEGATIVE: Final = 30
FEWEST_PATIENTS: Final = 10
"""Below these a threshold is decided by single cases: with 15 positives the 95 % interval of a
sensitivity of 0.90 reaches from 0.66 to 0.98 (Wilson)."""

FEWEST_BEYOND: Final = 10.0
"""A threshold that lets a share of a class pass is chosen anew only where that share is so many
cases or more; with fewer as many levels lie beyond it as with what serves. A share that rests on
ten cases is known to a third of itself, on three to a half and more."""

FEWEST_ALIKE: Final = 20
"""With fewer levels it is not told how many of them lie beyond a threshold."""

_LOG_TEMPERATURES: Final = (float(np.log(0.2)), float(np.log(5.0)))
_SHIFTS: Final = (-8.0, 8.0)
"""Ranges that are searched; beyond them something else is wrong."""


@dataclass(frozen=True, slots=True)
class Expected:
    """How far from no change a calibration is expected to lie: both are drawn towards it.

    Attributes:
        log_temperature, shift: Standard deviations.
    """

    log_temperature: float
    shift: float


ELSEWHERE: Final = Expected(log_temperature=0.5, shift=1.6)
"""Of what never saw the site: other scanners, and diseases three times as rare or frequent."""

TAUGHT_HERE: Final = Expected(log_temperature=0.25, shift=0.3)
"""Of what was taught with the site's own labels and has found its level there: at three synthetic
sites mean probability and truth were at most 0.3 apart in log odds, while the levels of forty
patients may hold half as many fractures as those of the next forty."""

ROUNDS: Final = 200
"""Draws of patients for the intervals; every draw fits anew."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a task has, and what it would need.

    Attributes:
        positives, negatives, patients: That there are.
    """

    positives: int
    negatives: int
    patients: int

    @property
    def enough(self) -> bool:
        """Whether thresholds can be fitted."""
        return (
            self.positives >= FEWEST_POSITIVE
            and self.negatives >= FEWEST_NEGATIVE
            and self.patients >= FEWEST_PATIENTS
        )

    @property
    def told(self) -> str:
        """In words."""
        return (
            f"{self.positives} of {FEWEST_POSITIVE} positive and {self.negatives} of "
            f"{FEWEST_NEGATIVE} negative levels, {self.patients} of {FEWEST_PATIENTS} patients"
        )


@dataclass(frozen=True, slots=True)
class FittedTask:
    """Site calibration of one task.

    Attributes:
        temperature: Logits are divided by it, after the shift; 1 is no change, which stands where
            neither its interval nor that of the shift shows one.
        shift: Added to the served calibrated logit; 0 is no change.
        platt: The two together with the served calibration.
        point: New thresholds.
        intervals: "temperature", "shift", "low", "high", "sensitivity", "specificity" to a 95 %
            interval by bootstrap over patients.
        needs: What it rests on.
    """

    temperature: float
    shift: float
    platt: Platt
    point: OperatingPoint
    intervals: Mapping[str, Interval]
    needs: Needs


@dataclass(frozen=True, slots=True)
class Before:
    """What serves, and what it says of the same levels.

    Attributes:
        judged: Its answers.
        points: Its thresholds by task.
    """

    judged: Judged
    points: Mapping[str, OperatingPoint]

    def taken(self, chosen: NDArray[Any]) -> Before:
        """Some of the levels."""
        return Before(self.judged.taken(chosen), self.points)


def as_many(before: Before, task: str, probability: NDArray[np.float64]) -> OperatingPoint | None:
    """Thresholds beyond which as many levels lie as with what serves; `high` is at least even.

    Of two models that call as many levels present, the one that ranks them better calls more of the
    right ones; no label is needed to see to that.

    Args:
        before: What serves, and its answers to n levels.
        task: One of `TASKS`.
        probability: (n,) of the other model to the same, NaN where it gave none.

    Returns:
        None where fewer than `FEWEST_ALIKE` levels were answered by both.
    """
    point, answered = before.points[task], before.judged.probability[task]
    both = np.isfinite(probability) & np.isfinite(answered)
    if both.sum() < FEWEST_ALIKE:
        return None
    levels = np.sort(probability[both])
    edges = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2.0, [1.0]])
    above = int((answered[both] >= point.high).sum())
    high = max(float(edges[len(levels) - above]), EVEN)
    low = min(float(edges[int((answered[both] < point.low).sum())]), high)
    return replace(point, low=round(low, 4), high=round(high, 4))


def needs_of(judged: Judged, task: str) -> Needs:
    """Count what a task has."""
    asked = judged.asked(task, answered=True)
    positive = judged.truth[task][asked] > 0.5
    patients = len(set(judged.patient[asked].tolist()))
    return Needs(int(positive.sum()), int((~positive).sum()), patients)


def fit_task(
    judged: Judged,
    task: str,
    served: tuple[Platt, OperatingPoint],
    chosen_on: str,
    before: Before | None = None,
) -> FittedTask | None:
    """Fit temperature, shift and thresholds of a task; None where there are too few cases.

    Args:
        judged: Local cases, answered by the model that `served` belongs to.
        task: One of `TASKS`.
        served: Its calibration and thresholds.
        chosen_on: The cases in words, for the bundle.
        before: What serves, where that has other weights.

    Source: Guo 2017, ICML 70:1321 (temperature scaling); the shift takes up another prevalence
    (Saerens 2002, Neural Comput 14:21).
    """
    needs = needs_of(judged, task)
    if not needs.enough:
        return None
    asked = judged.asked(task, answered=True)
    logits = judged.logit[task][asked]
    positive = judged.truth[task][asked] > 0.5
    patients = judged.patient[asked].tolist()
    beside = None if before is None else before.taken(asked)
    expected = ELSEWHERE if before is None else TAUGHT_HERE

    def fitted(these: NDArray[np.intp]) -> tuple[float, float, OperatingPoint] | None:
        truth = positive[these]
        if truth.all() or not truth.any():
            return None
        temperature, shift = fit_temperature(served[0], logits[these], truth, expected)
        return temperature, shift, pointed((temperature, shift), these)

    def pointed(change: tuple[float, float], these: NDArray[np.intp]) -> OperatingPoint:
        probability = composed(served[0], *change).probability(_narrow(logits[these]))
        chosen = choose_point(probability, positive[these], ACCEPTED[task], chosen_on)
        kept = beside and as_many(beside.taken(these), task, probability)
        kept = kept or _moved(served[1], *change)
        return _supported(chosen, kept, probability, positive[these], task)

    every = fitted(np.arange(len(logits)))
    if every is None:
        return None
    temperature, shift, point = every
    drawn: dict[str, list[float]] = {name: [] for name in _FITTED}

    def collected(these: NDArray[np.intp]) -> float | None:
        one = fitted(these)
        if one is None:
            return None
        for name, value in zip(_FITTED, _values(one), strict=True):
            drawn[name].append(value)
        return 0.0

    patient_bootstrap(collected, patients, rounds=ROUNDS)
    intervals = {
        name: Interval(*(float(edge) for edge in np.quantile(values, (0.025, 0.975))))
        for name, values in drawn.items()
    }
    if _holds(intervals["temperature"], 1.0) and _holds(intervals["shift"], 0.0):
        # The cases do not show that anything is off: what was fitted on more of them stands.
        temperature, shift = 1.0, 0.0
        point = pointed((temperature, shift), np.arange(len(logits)))
    platt = composed(served[0], temperature, shift)
    return FittedTask(temperature, shift, platt, point, intervals, needs)


def _holds(interval: Interval, value: float) -> bool:
    return interval.low <= value <= interval.high


def _moved(point: OperatingPoint, temperature: float, shift: float) -> OperatingPoint:
    """Where thresholds of the served probability lie on the recalibrated one."""
    low, high = (
        float(expit((logit(edge) + shift) / temperature)) for edge in (point.low, point.high)
    )
    return replace(point, low=round(low, 4), high=round(max(high, EVEN), 4))


def _supported(
    chosen: OperatingPoint,
    kept: OperatingPoint,
    probability: NDArray[np.float64],
    positive: NDArray[np.bool_],
    task: str,
) -> OperatingPoint:
    """The chosen thresholds where there are cases enough for them, the kept ones elsewhere."""
    accepted = ACCEPTED[task]
    many_positive = positive.sum() * accepted.missed >= FEWEST_BEYOND
    many_negative = (~positive).sum() * accepted.false >= FEWEST_BEYOND
    high = chosen.high if many_negative else kept.high
    low = min(chosen.low if many_positive else kept.low, high)
    return OperatingPoint(
        low=low,
        high=high,
        sensitivity=round(float((probability[positive] >= high).mean()), 4),
        specificity=round(float((probability[~positive] < low).mean()), 4),
        chosen_on=chosen.chosen_on,
    )


_FITTED: Final = ("temperature", "shift", "low", "high", "sensitivity", "specificity")


def _values(one: tuple[float, float, OperatingPoint]) -> tuple[float, ...]:
    temperature, shift, point = one
    return temperature, shift, point.low, point.high, point.sensitivity, point.specificity


def fit_temperature(
    served: Platt,
    logits: NDArray[np.float64],
    positive: NDArray[np.bool_],
    expected: Expected = ELSEWHERE,
) -> tuple[float, float]:
    """Temperature and shift of the served calibrated logit, most probable under what is expected.

    Args:
        served: Calibration that is changed.
        logits: (n,) of the network.
        positive: (n,) truth.
        expected: Normal prior of both, around no change.

    Returns:
        (temperature, shift) of sigmoid((served logit + shift) / temperature).
    """
    calibrated = served.scale * logits + served.bias
    truth = positive.astype(np.float64)
    precision = np.array([expected.log_temperature, expected.shift]) ** -2.0

    def loss(pair: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        log_temperature, shift = pair
        cold = np.exp(-log_temperature)
        margin = (calibrated + shift) * cold
        likelihood = (np.logaddexp(0.0, margin) - truth * margin).sum()
        excess = 1.0 / (1.0 + np.exp(-np.clip(margin, -40.0, 40.0))) - truth
        slopes = (-(excess * margin).sum(), excess.sum() * cold)
        pulls = precision * pair
        return float(likelihood + 0.5 * (pulls * pair).sum()), np.array(slopes) + pulls

    bounds = (_LOG_TEMPERATURES, _SHIFTS)
    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(np.exp(found[0])), float(found[1])


def composed(served: Platt, temperature: float, shift: float) -> Platt:
    """The served calibration followed by shift and temperature, as one."""
    return Platt(served.scale / temperature, (served.bias + shift) / temperature)


def _narrow(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    return logits.astype(np.float32)
