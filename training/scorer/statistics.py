"""Figures of merit with numpy alone: area under the ROC curve, calibration error, thresholds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve (ties count half); None without both classes."""
    count = int(positive.sum())
    others = len(positive) - count
    if count == 0 or others == 0:
        return None
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def expected_calibration_error(
    probabilities: NDArray[np.floating], positive: NDArray[np.bool_], bins: int = 10
) -> float:
    """Mean gap of probability and frequency over equally filled bins, weighted by their size."""
    order = np.argsort(probabilities)
    gaps = [
        abs(float(probabilities[part].mean()) - float(positive[part].mean())) * len(part)
        for part in np.array_split(order, bins)
        if len(part)
    ]
    return float(sum(gaps) / max(1, len(order)))


def bootstrap_interval(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], rounds: int = 200
) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of the AUROC, levels resampled; None without both classes.

    Seeded, so that the same predictions give the same interval.
    """
    rng = np.random.default_rng(0)
    values = []
    for _ in range(rounds):
        drawn = rng.integers(0, len(scores), len(scores))
        value = auroc(scores[drawn], positive[drawn])
        if value is not None:
            values.append(value)
    if len(values) < rounds // 2:
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    return round(float(low), 4), round(float(high), 4)
