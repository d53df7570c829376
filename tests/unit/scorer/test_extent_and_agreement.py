from __future__ import annotations

from math import inf

import numpy as np
import pytest

from models.findings import Acuity, Call
from models.scorer.agreement import Agreement, disagreements, read_agreements
from models.scorer.calibration import acuity_chances, conformal_set
from models.scorer.distribution import distribution_score
from models.scorer.extent import READ_AT, Extent, ExtentModel, extent_features, read_extent_model

RULE = Agreement("edema", "bright_fraction", (0.1, 0.9), (0.0, 0.2))


@pytest.mark.parametrize(
    ("call", "value", "contradicted"),
    [
        (Call.PRESENT, 0.05, True),  # unlike edema, and usual without
        (Call.PRESENT, 0.15, False),  # usual in both
        (Call.PRESENT, 0.95, False),  # unlike both: odd, no contradiction
        (Call.ABSENT, 0.5, True),
        (Call.ABSENT, 0.05, False),
        (Call.INDETERMINATE, 0.5, False),
    ],
)
def test_a_value_usual_for_the_other_answer_only_contradicts(
    call: Call, value: float, contradicted: bool
) -> None:
    said = disagreements((RULE,), {"edema": call}, {"bright_fraction": value})
    assert said == (("edema_against_bright_fraction",) if contradicted else ())


def test_nothing_is_contradicted_by_what_was_not_measured() -> None:
    assert disagreements((RULE,), {"edema": Call.PRESENT}, {}) == ()
    assert disagreements((RULE,), {}, {"bright_fraction": 0.0}) == ()


def test_agreements_are_read_by_pair_and_unknown_ones_left_out() -> None:
    stored = {
        "edema/bright_fraction": {"with": [0.1, 0.9], "without": [0.0, 0.2]},
        "edema/colour": {"with": [0, 1], "without": [0, 1]},
    }
    assert read_agreements(stored) == (RULE,)
    assert read_agreements(None) == ()
    with pytest.raises(KeyError):
        read_agreements({"edema/bright_fraction": {"with": [0.1, 0.9]}})


def test_an_extent_lies_in_its_interval_and_both_in_the_body() -> None:
    weights = np.zeros((3, 2 + len(READ_AT)))
    weights[:, 1] = 1.0  # all three lines: the mean probability
    model = ExtentModel(weights, margin=0.1, coverage=0.9)
    probability = np.array([0.2, 0.4, 0.6, 0.8], np.float32)

    def said(values: np.ndarray) -> Extent:
        return model.bounded(model.lines(extent_features(values)))

    extent = said(probability)
    assert extent.fraction == pytest.approx(0.5)
    assert extent.interval == pytest.approx((0.4, 0.6))
    assert said(np.ones(5, np.float32)).interval == pytest.approx((0.9, 1.0))
    assert said(np.zeros(0, np.float32)).fraction == 0.0
    narrow = ExtentModel(weights, margin=-0.3, coverage=0.9).bounded(
        model.lines(extent_features(probability))
    )
    assert narrow.interval == pytest.approx((0.5, 0.5))


def test_extent_weights_of_another_shape_are_refused() -> None:
    lines = {"low": [0.0], "middle": [0.0], "high": [0.0]}
    with pytest.raises(ValueError, match="shape"):
        read_extent_model({"weights": lines, "margin": 0.0, "coverage": 0.9})
    assert read_extent_model(None) is None


def test_acuity_chances_add_up_and_a_set_is_never_empty() -> None:
    chances = acuity_chances(unhealed=0.6, fracture=0.5)
    assert sum(chances.values()) == pytest.approx(1.0)
    assert chances[Acuity.HEALED] == 0.0  # unhealed implies fractured
    assert conformal_set(chances, 0.0) == (Acuity.UNHEALED,)
    assert conformal_set(chances, 0.7) == (Acuity.UNHEALED, Acuity.NO_FRACTURE)


def test_distribution_score_is_1_at_the_edge_and_infinite_for_the_unknown() -> None:
    bounds = {"stir.median": (-1.0, 3.0), "stir.spread": (0.0, 1.0)}
    assert distribution_score({"stir.median": 1.0, "stir.spread": 0.5}, bounds) == 0.0
    assert distribution_score({"stir.median": 3.0, "stir.spread": 0.5}, bounds) == 1.0
    assert distribution_score({"stir.median": 1.0, "stir.spread": 2.0}, bounds) == 3.0
    assert distribution_score({"flair.median": 0.0}, bounds) == inf
    assert distribution_score({}, bounds) == inf
    assert distribution_score({"stir.median": float("nan")}, bounds) == inf
