"""Whether probabilities can be believed: calibration, conformal coverage, selective prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.statistics.roc import Scores, Truth

BINS: Final = 10


@dataclass(frozen=True, slots=True)
class CalibrationCurve:
    """Bins of equal filling, from the least to the most probable.

    Attributes:
        predicted: Mean probability of each bin.
        observed: Share of positives in each.
        counts: Cases in each.
        expected_error: Mean gap between the two, weighted by counts (ECE).
        largest_error: The largest gap.
        brier: Mean squared error of the probabilities.
    """

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    counts: tuple[int, ...]
    expected_error: float
    largest_error: float
    brier: float


def calibration_curve(probability: Scores, positive: Truth, bins: int = BINS) -> CalibrationCurve:
    """Reliability over equally filled bins.

    Source: Naeini 2015, AAAI 29:2901 (ECE); equal filling after Nixon 2019, arXiv 1904.01685.

    Raises:
        ValueError: There is no case.
    """
    if not len(probability):
        raise ValueError("calibration needs cases")
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    predicted = np.array([float(probability[part].mean()) for part in parts])
    observed = np.array([float(positive[part].mean()) for part in parts])
    counts = np.array([len(part) for part in parts])
    gaps = np.abs(predicted - observed)
    return CalibrationCurve(
        predicted=tuple(predicted.tolist()),
        observed=tuple(observed.tolist()),
        counts=tuple(counts.tolist()),
        expected_error=float((gaps * counts).sum() / counts.sum()),
        largest_error=float(gaps.max()),
        brier=float(((probability - positive) ** 2).mean()),
    )


@dataclass(frozen=True, slots=True)
class SelectiveCurve:
    """Error when only the surest part of the cases is answered.

    Attributes:
        coverage: Parts answered, rising to 1.
        error: Share of wrong answers among them at an even threshold.
        area: Mean of the error over coverage (AURC); smaller is better.
    """

    coverage: NDArray[np.float64]
    error: NDArray[np.float64]
    area: float


def selective_curve(probability: Scores, positive: Truth) -> SelectiveCurve:
    """Risk over coverage, the surest cases first.

    Source: Geifman and El-Yaniv 2017, NeurIPS 30 (risk-coverage); AURC after Geifman 2019, ICLR.
    """
    sureness = np.abs(np.asarray(probability, dtype=np.float64) - 0.5)
    wrong = (np.asarray(probability) >= 0.5) != positive
    order = np.argsort(-sureness, kind="stable")
    answered = np.arange(1, len(order) + 1)
    error = np.cumsum(wrong[order]) / answered
    return SelectiveCurve(answered / max(1, len(order)), error, float(error.mean()))


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often a prediction set holds the truth.

    Attributes:
        covered, of: Counts.
        mean_size: Mean number of members.
    """

    covered: int
    of: int
    mean_size: float


def set_coverage(sets: list[tuple[str, ...]], truth: list[str]) -> Coverage:
    """Coverage of conformal sets; a set with every class always covers and says nothing."""
    covered = sum(name in members for members, name in zip(sets, truth, strict=True))
    size = float(np.mean([len(members) for members in sets])) if sets else 0.0
    return Coverage(covered, len(sets), size)
