"""Statistics against published worked examples, scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from training.statistics.counts import cohen_kappa, mcnemar, proportion, wilson
from training.statistics.probabilities import calibration_curve, selective_curve, set_coverage
from training.statistics.resampling import patient_bootstrap
from training.statistics.roc import (
    auprc,
    auroc,
    delong_covariance,
    delong_interval,
    delong_test,
    roc_curve,
)

pytestmark = pytest.mark.train

OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
1.6 5.6 5 1   3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
4.3 7.0 4 1   3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
3.0 4.7 8 0   4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
3.2 5.1 5 1   2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
3.5 6.2 5 1   2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
3.6 6.6 5 1
"""
"""Albumin, total protein, K-G score and benefit of 43 patients: the data of DeLong, DeLong and
Clarke-Pearson 1988 as given in the SAS/STAT User's Guide, "Comparing Receiver Operating
Characteristic Curves", whose printed results are the figures below."""

_TABLE = np.array(OVARIAN.split(), dtype=float).reshape(-1, 4)
ALBUMIN, PROTEIN, SCORE = _TABLE[:, 0], _TABLE[:, 1], 10 - _TABLE[:, 2]
BENEFIT = _TABLE[:, 3] == 1


@pytest.mark.parametrize(
    ("scores", "area", "error"),
    [(ALBUMIN, 0.7366, 0.0927), (SCORE, 0.7258, 0.1028), (PROTEIN, 0.6478, 0.1000)],
)
def test_delong_areas_and_errors_are_the_published_ones(
    scores: np.ndarray, area: float, error: float
) -> None:
    assert auroc(scores, BENEFIT) == pytest.approx(area, abs=5e-5)
    variance = delong_covariance(scores[None], BENEFIT)[0, 0]
    assert np.sqrt(variance) == pytest.approx(error, abs=5e-5)


@pytest.mark.parametrize(
    ("scores", "published"),
    [
        (ALBUMIN, (0.0108, 0.0953, -0.1761, 0.1976, 0.9102)),
        (PROTEIN, (-0.0780, 0.1046, -0.2830, 0.1271, 0.4561)),
    ],
)
def test_delong_contrasts_are_the_published_ones(
    scores: np.ndarray, published: tuple[float, ...]
) -> None:
    test = delong_test(SCORE, scores, BENEFIT)
    assert test is not None
    got = (test.difference, test.standard_error, test.interval.low, test.interval.high)
    assert (*got, test.p_value) == pytest.approx(published, abs=5e-5)


def test_delong_interval_covers_and_stays_inside() -> None:
    rng = np.random.default_rng(1)
    truth = stats.norm.cdf(1.0 / np.sqrt(2))
    held = 0
    for _ in range(300):
        positive = np.arange(60) < 20
        interval = delong_interval(rng.normal(positive, 1.0), positive)
        assert interval is not None
        assert 0.0 < interval.low <= interval.high < 1.0
        held += interval.low <= truth <= interval.high
    assert 0.90 <= held / 300 <= 0.99


def test_delong_says_nothing_of_one_case_and_of_classes_wholly_apart() -> None:
    assert delong_interval(np.arange(5.0), np.arange(5) > 3) is None
    assert delong_interval(np.arange(6.0), np.arange(6) > 2) is None


def test_areas_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(400) < 0.2
    scores = np.round(rng.normal(positive * 1.2, 1.0), 1)  # with ties
    assert auroc(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores))
    assert auprc(scores, positive) == pytest.approx(
        metrics.average_precision_score(positive, scores)
    )
    false, true = roc_curve(scores, positive)
    assert np.trapezoid(true, false) == pytest.approx(auroc(scores, positive))
    assert auroc(scores, np.ones(400, bool)) is None


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611),
     (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_proportions_are_those_of_newcombe_1998(
    hits: int, of: int, low: float, high: float
) -> None:
    """Stat Med 17:857, table I, method 3 (Wilson without continuity correction)."""
    found = proportion(np.arange(of) < hits)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=5e-5)


def test_mcnemar_of_the_approval_rating_example() -> None:
    """Agresti 1990, Categorical Data Analysis, p. 350: 150 and 86 of 1600 changed their mind."""
    first = np.repeat([True, True, False, False], [794, 150, 86, 570])
    second = np.repeat([True, False, True, False], [794, 150, 86, 570])
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (150, 86)
    assert found.p_value == pytest.approx(2 * stats.binom.cdf(86, 236, 0.5), rel=1e-9)
    assert found.p_value == pytest.approx(3.716e-05, rel=1e-3)
    assert mcnemar(first, first).p_value == 1.0


def test_kappa_of_fleiss_cohen_everitt_1969() -> None:
    """Psychol Bull 72:323, table 1: 200 cases, kappa 0.429, variance 0.002885."""
    counts = [[106, 10, 4], [22, 28, 10], [2, 12, 6]]
    first = [str(i) for i, row in enumerate(counts) for n in row for _ in range(n)]
    second = [str(j) for row in counts for j, n in enumerate(row) for _ in range(n)]
    kappa = cohen_kappa(first, second)
    assert kappa.value == pytest.approx(0.429, abs=5e-4)
    assert kappa.standard_error is not None
    assert kappa.standard_error**2 == pytest.approx(0.002885, abs=5e-7)
    assert (kappa.agreed, kappa.of) == (140, 200)


@pytest.mark.parametrize("weighting", ["", "linear", "quadratic"])
def test_kappa_agrees_with_scikit_learn(weighting: str) -> None:
    rng = np.random.default_rng(3)
    first = rng.integers(0, 4, 200)
    second = np.clip(first + rng.integers(-1, 2, 200), 0, 3)
    order = [str(i) for i in range(4)]
    expected = metrics.cohen_kappa_score(first, second, weights=weighting or None)
    found = cohen_kappa([str(i) for i in first], [str(i) for i in second], order, weighting)
    assert found.value == pytest.approx(expected)


def test_kappa_of_readers_who_always_say_the_same_one_thing_is_not_defined() -> None:
    assert cohen_kappa(["a"] * 5, ["a"] * 5).value is None


def test_calibration_curve_of_honest_and_of_overconfident_probabilities() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(20000)
    positive = rng.random(20000) < probability
    honest = calibration_curve(probability, positive)
    assert honest.expected_error < 0.015
    assert honest.brier == pytest.approx(metrics.brier_score_loss(positive, probability))
    steep = np.clip(0.5 + 2.0 * (probability - 0.5), 0.0, 1.0)
    # |2p - 1/2 - p| averaged over p uniform, cut at 0 and 1: 1/8.
    assert calibration_curve(steep, positive).expected_error == pytest.approx(0.125, abs=0.01)


def test_calibration_bins_by_hand() -> None:
    curve = calibration_curve(
        np.array([0.9, 0.1, 0.3, 0.7]), np.array([True, False, True, True]), 2
    )
    assert curve.predicted == pytest.approx((0.2, 0.8))
    assert curve.observed == (0.5, 1.0)
    assert curve.expected_error == pytest.approx((0.3 + 0.2) / 2)
    assert curve.largest_error == pytest.approx(0.3)


def test_selective_curve_by_hand() -> None:
    curve = selective_curve(np.array([0.99, 0.6, 0.05, 0.4]), np.array([True, False, False, False]))
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    # Surest first: 0.99 right, 0.05 right, then 0.6 wrong and 0.4 right (0.6 is first by order).
    assert curve.error.tolist() == pytest.approx([0.0, 0.0, 1 / 3, 0.25])
    assert curve.area == pytest.approx((0 + 0 + 1 / 3 + 0.25) / 4)


def test_set_coverage() -> None:
    found = set_coverage([("benign",), ("benign", "pathological")], ["pathological"] * 2)
    assert (found.covered, found.of, found.mean_size) == (1, 2, 1.5)


def test_bootstrap_draws_patients_and_not_levels() -> None:
    """Levels of a patient that are copies of each other tell no more than one of them."""
    rng = np.random.default_rng(0)
    once = rng.normal(size=40)
    copied = np.repeat(once, 10)
    patients = [str(i) for i in range(40)]

    def width(values: np.ndarray, names: list[str]) -> float:
        interval = patient_bootstrap(lambda drawn: float(values[drawn].mean()), names).interval()
        assert interval is not None
        return interval.high - interval.low

    alone, together = width(once, patients), width(copied, [p for p in patients for _ in range(10)])
    assert together == pytest.approx(alone, rel=0.15)
    assert alone == pytest.approx(2 * 1.96 * once.std() / np.sqrt(40), rel=0.15)


def test_bootstrap_that_mostly_fails_gives_no_interval() -> None:
    rare = np.arange(50) == 0
    found = patient_bootstrap(
        lambda drawn: None if not rare[drawn].all() else 1.0, [str(i) for i in range(50)], rounds=20
    )
    assert found.interval() is None
    assert found.p_value() is None


def test_auroc_counts_ties_half() -> None:
    positive = np.array([True, True, False, False])
    assert auroc(np.array([0.9, 0.5, 0.5, 0.1]), positive) == 0.875
    assert auroc(np.zeros(3), np.zeros(3, bool)) is None


def test_wilson_of_nothing_is_everything_there_is() -> None:
    # Newcombe 1998, table I: 81 of 263.
    found = wilson(81, 263)
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
