"""Areas under ROC and precision-recall curves, with DeLong's intervals and paired test.

Source: DeLong, DeLong, Clarke-Pearson 1988, Biometrics 44:837-845; structural components by
midranks after Sun and Xu 2014, IEEE Signal Processing Letters 21:1389-1393.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Scores = NDArray[np.floating]
Truth = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two values on the same cases.

    Attributes:
        difference: Second minus first.
        standard_error: Of the difference.
        interval: Of the difference.
        p_value: Two-sided.
    """

    difference: float
    standard_error: float
    interval: Interval
    p_value: float


def both_classes(positive: Truth) -> bool:
    """Whether there are positives and negatives."""
    return bool(positive.any()) and not bool(positive.all())


def auroc(scores: Scores, positive: Truth) -> float | None:
    """Area under the ROC curve (ties count half); None without both classes."""
    if not both_classes(positive):
        return None
    count, others = int(positive.sum()), int((~positive).sum())
    ranks = stats.rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def auprc(scores: Scores, positive: Truth) -> float | None:
    """Average precision: the step-wise area under precision over recall; None without positives."""
    if not positive.any():
        return None
    # By hand: scikit-learn's checks cost ten times the sum, and bootstraps ask a thousand times.
    order = np.argsort(-np.asarray(scores), kind="stable")
    ends = np.append(np.flatnonzero(np.diff(np.asarray(scores)[order])), len(order) - 1)
    hits = np.cumsum(positive[order])[ends]
    gained = np.diff(hits, prepend=0)
    return float((gained * hits / (ends + 1)).sum() / hits[-1])


def delong_covariance(scores: NDArray[np.floating], positive: Truth) -> NDArray[np.float64]:
    """Covariance of the AUROCs of several scores of the same cases.

    Args:
        scores: (score, case).
        positive: (case,).

    Returns:
        (score, score).

    Raises:
        ValueError: Fewer than two positives or two negatives.
    """
    count, others = int(positive.sum()), int((~positive).sum())
    if min(count, others) < 2:
        raise ValueError("DeLong's covariance needs two cases of each class")
    of_positive, of_negative = [], []
    for row in scores:
        up, down = row[positive], row[~positive]
        together = stats.rankdata(np.concatenate([up, down]))
        of_positive.append((together[:count] - stats.rankdata(up)) / others)
        of_negative.append(1.0 - (together[count:] - stats.rankdata(down)) / count)
    return np.atleast_2d(np.cov(of_positive) / count + np.cov(of_negative) / others)


def delong_interval(scores: Scores, positive: Truth, level: float = 0.95) -> Interval | None:
    """DeLong's interval of an AUROC, on the logit scale so that it stays between 0 and 1.

    Returns:
        None with fewer than two cases of a class, and where the classes are wholly apart: the
        variance is zero then and says nothing.

    Source: Pepe 2003, The Statistical Evaluation of Medical Tests, 5.2.5 (logit interval).
    """
    if min(int(positive.sum()), int((~positive).sum())) < 2:
        return None
    area = auroc(scores, positive) or 0.0
    error = float(np.sqrt(delong_covariance(np.asarray(scores)[None], positive)[0, 0]))
    if area in (0.0, 1.0) or error == 0.0:
        return None
    reach = stats.norm.ppf(0.5 + level / 2) * error / (area * (1 - area))
    middle = np.log(area / (1 - area))
    low, high = (1 / (1 + np.exp(-(middle + side * reach))) for side in (-1, 1))
    return Interval(float(low), float(high))


def delong_test(
    first: Scores, second: Scores, positive: Truth, level: float = 0.95
) -> PairedTest | None:
    """Compare two scores of the same cases; None with fewer than two cases of a class."""
    if min(int(positive.sum()), int((~positive).sum())) < 2:
        return None
    covariance = delong_covariance(np.stack([first, second]), positive)
    areas = [auroc(first, positive) or 0.0, auroc(second, positive) or 0.0]
    difference = areas[1] - areas[0]
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    error = float(np.sqrt(max(variance, 0.0)))
    reach = float(stats.norm.ppf(0.5 + level / 2)) * error
    p_value = float(2 * stats.norm.sf(abs(difference) / error)) if error > 0 else 1.0
    interval = Interval(difference - reach, difference + reach)
    return PairedTest(difference, error, interval, p_value)


def roc_curve(scores: Scores, positive: Truth) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(false positive rate, sensitivity) at every threshold, from (0, 0) to (1, 1)."""
    from sklearn.metrics import roc_curve as curve  # noqa: PLC0415

    false, true, _ = curve(positive, scores)
    return np.asarray(false), np.asarray(true)


def precision_recall(
    scores: Scores, positive: Truth
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(recall, precision) at every threshold."""
    from sklearn.metrics import precision_recall_curve  # noqa: PLC0415

    precision, recall, _ = precision_recall_curve(positive, scores)
    return np.asarray(recall), np.asarray(precision)
