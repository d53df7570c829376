"""The measured facts and what counts as agreement."""

from __future__ import annotations

import numpy as np
import pytest

from training.realism.reference import (
    Measured,
    judge,
    measured_shapes,
    measured_signals,
    pooled,
)


def test_sets_are_pooled_with_the_spread_between_them() -> None:
    first, second = [1.0, 1.2, 1.4, 1.6], [3.0, 3.3]
    both = np.array(first + second)
    summary = {"n": 4, "mean": float(np.mean(first)), "sd": float(np.std(first, ddof=1))}

    found = pooled([summary, {"values": second}])

    assert found.n == 6
    assert found.mean == pytest.approx(both.mean())
    assert found.sd == pytest.approx(both.std(ddof=1))


def test_known_figures_are_read() -> None:
    water = measured_signals("Dixon water")["disc"]
    assert (water.mean, water.sd, water.n) == pytest.approx((1.99, 0.46, 50))
    bodies = measured_shapes("body")
    assert bodies["L3", "height ant"].n == 67
    # VB2 masks are cut short at the sides, so they do not count where VB3 has widths.
    assert (bodies["L3", "width"].mean, bodies["L3", "width"].n) == (58.1, 50)
    assert bodies["T12", "width"].mean == 39.8
    assert measured_signals("T1 FLAIR") == {}


@pytest.mark.parametrize(
    ("factor", "spread", "agrees"),
    [(1.0, 1.0, True), (1.2, 1.0, False), (0.8, 1.0, False), (1.0, 1.8, False), (1.0, 0.5, False)],
)
def test_medians_within_15_percent_and_spreads_within_a_factor(
    factor: float, spread: float, agrees: bool
) -> None:
    steps = np.linspace(-1.5, 1.5, 41)
    values = 10 * factor + spread * steps / steps.std(ddof=1)
    assert judge("disc", Measured(10.0, 1.0, 30), values).agrees is agrees


def test_small_sets_do_not_judge_a_spread() -> None:
    verdict = judge("disc", Measured(10.0, 0.01, 3), np.linspace(8, 12, 21))
    assert verdict.spread_agrees is None
    assert verdict.agrees
    assert not judge("disc", Measured(10.0, 0.01, 3), [float("nan")]).agrees
