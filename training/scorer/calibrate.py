"""Fit what turns network output into calls: on held-out synthetic cases only.

    fitted = fit_calibration(network, calibration_pool, training_pool, chosen_on="...")

gives the `calibration` and `operating_points` sections of the bundle's metadata.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from models.scorer.calibration import FLUID_ONLY, OperatingPoint, Platt, ScorerCalibration
from models.scorer.calls import CEMENTED
from models.scorer.combination import read_combination
from models.scorer.contrast import ContrastRule
from models.scorer.distribution import distribution_statistics
from models.scorer.extent import LINES
from models.scorer.heads import BINARY_HEADS, HEADS
from models.scorer.network import ScorerNetwork
from training.phantom.recipe import recipe_of
from training.scorer.combine import fit_combination, weighed
from training.scorer.conformal import (
    ACUITY_COVERAGE,
    COVERAGE_FLUID_ONLY,
    NOMINAL_COVERAGE,
    acuity_quantiles,
    etiology_quantiles,
    fit_extent,
)
from training.scorer.pool import LevelPool
from training.scorer.predict import MAP_LEVELS, Predictions, predict
from training.scorer.ranges import fit_agreements

VIEWS: Final[Mapping[str, tuple[str, ...]]] = {
    "as_acquired": (),
    "fluid_only": ("t1", "t2", "dixon_fat"),
}
"""Choices of series calibration is fitted over and evaluated on: name to hidden channels."""


@dataclass(frozen=True, slots=True)
class AcceptedErrors:
    """Shares of positives below `low` and of negatives from `high` on that are accepted."""

    missed: float
    false: float


ACCEPTED: Final = {
    # Counted as served, where measured contrast must agree with the network.
    "edema": AcceptedErrors(missed=0.05, false=0.02),
    # The faintest fractures are old ones of a few per cent: asking for these as well would leave a
    # third of all sound bodies without a call.
    "fracture": AcceptedErrors(missed=0.10, false=0.03),
    "unhealed": AcceptedErrors(missed=0.05, false=0.02),
    "pathological": AcceptedErrors(missed=0.05, false=0.03),
}
"""Of every head that is called; what they cost in each direction is in the model card."""

CALLED: Final = tuple(ACCEPTED)
"""Heads with an operating point."""

EVEN: Final = 0.5
"""Nothing is called present below an even chance, however rare it is among the negatives."""

FALSE_ALARMS: Final = 0.05
"""Share of levels without infection on which the safety flag may be raised."""

FEWEST: Final = 8
"""With fewer answers of a class nothing is fitted for a head."""

BOUND_QUANTILES: Final = (0.002, 0.998)
BOUND_LEVELS: Final = 1500
"""About how many training levels the ranges are taken from."""

BOUND_MARGIN: Final = 0.25
"""How far beyond the training range, as a part of it, a statistic may lie."""


@dataclass(frozen=True, slots=True)
class FittedCalibration:
    """The two sections of the bundle's metadata that the scorer reads."""

    calibration: dict[str, Any]
    operating_points: dict[str, dict[str, Any]]


def fit_calibration(
    network: ScorerNetwork,
    held_out: LevelPool,
    training: LevelPool,
    chosen_on: str,
    weighing: LevelPool | None = None,
) -> FittedCalibration:
    """Fit slopes, thresholds, conformal quantiles, map threshold and bounds.

    Args:
        network: Trained.
        held_out: Calibration cases.
        training: Training cases: only their image statistics and body heights are used.
        chosen_on: The calibration set in words, for the metadata.
        weighing: Levels that the network did not learn from, for a combination of its answers with
            the measured signs; None for a bundle without.
    """
    heights = reference_heights(training)
    views = {name: predict(network, held_out, hide) for name, hide in VIEWS.items()}
    combination = None
    if weighing is not None:
        known = {level: (mm[0], mm[1], mm[2]) for level, mm in heights.items()}
        combination = fit_combination(network, weighing, known)
        read = read_combination(combination, LINES)
        views = {
            name: weighed(seen, held_out, read, known, VIEWS[name]) for name, seen in views.items()
        }
    every = Predictions.joined(list(views.values()))
    platt = {name: fit_platt(*_answers(every, name)) for name in BINARY_HEADS}
    points = {}
    for name in CALLED:
        logits, positive = _answers(every, name)
        points[name] = choose_point(
            platt[name].probability(logits),
            positive,
            ACCEPTED[name],
            chosen_on,
            _supported(every, held_out) if name == "edema" else None,
        )
    logits, positive = _answers(every, "mimic_discitis")
    if positive.sum() >= FEWEST:
        chance = platt["mimic_discitis"].probability(logits)
        points["discitis"] = choose_flag(chance, positive, chosen_on)
    return FittedCalibration(
        calibration={
            "heads": list(HEADS),
            "platt": {
                name: {"scale": pair.scale, "bias": pair.bias} for name, pair in platt.items()
            },
            "etiology_quantile": etiology_quantiles(
                every, platt["pathological"], np.tile(drawn_from(held_out), len(views))
            ),
            "etiology_coverage": {
                "fat_contrast": NOMINAL_COVERAGE,
                FLUID_ONLY: COVERAGE_FLUID_ONLY,
            },
            "acuity_quantile": acuity_quantiles(every, platt),
            "acuity_coverage": ACUITY_COVERAGE,
            "extent": fit_extent(every, _not_absent(every, platt["edema"], points["edema"])),
            "agreements": fit_agreements(held_out, heights),
            "map_threshold": choose_map_threshold(views["as_acquired"]),
            "reference_heights_mm": heights,
            "bounds": statistic_bounds(training),
            "fitted_on": chosen_on,
            "contrast": asdict(ContrastRule()),
            "combination": combination,
        },
        operating_points={
            name: {
                "low": point.low,
                "high": point.high,
                "sensitivity": point.sensitivity,
                "specificity": point.specificity,
                "chosen_on": point.chosen_on,
            }
            for name, point in points.items()
        },
    )


def drawn_from(pool: LevelPool) -> NDArray[np.str_]:
    """(level,) name of the recipe that each level's case was drawn from; "" where it tells none."""
    numbered = [re.fullmatch(r"case-(\d+)", str(about.get("case", ""))) for about in pool.about]
    return np.array(["" if found is None else recipe_of(int(found[1])) for found in numbered])


def _answers(seen: Predictions, name: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logits and truth of a head where the question is asked."""
    truth = seen.targets[:, HEADS.index(name)]
    asked = np.isfinite(truth)
    return seen.heads[asked, HEADS.index(name)], truth[asked] > 0.5


def bright_fractions(pool: LevelPool) -> NDArray[np.float64]:
    """(level,) measured bright share of each body; NaN where it was not measured."""
    measured = (about.get("measured", {}) for about in pool.about)
    return np.array([float(signs.get("bright_fraction", np.nan)) for signs in measured])


def supports_edema(pool: LevelPool, rule: ContrastRule) -> NDArray[np.bool_]:
    """(level,) whether the measured contrast bears an edema out, without which none is called."""
    return np.asarray(bright_fractions(pool) >= rule.agrees_from)


def supports_unhealed(
    seen: Predictions, pool: LevelPool, calibration: ScorerCalibration
) -> NDArray[np.bool_]:
    """(level,) where an unhealed fracture may be called, as `models.scorer.calls` does.

    Not without a fracture and an edema that may be there, nor where measured contrast does not bear
    out an edema that the network is sure of, nor beside cement.
    """
    chance = {
        name: calibration.platt[name].probability(seen.heads[:, HEADS.index(name)])
        for name in ("edema", "fracture", "mimic_cement")
    }
    points = calibration.operating_points
    possible = [chance[name] >= points[name].low for name in ("edema", "fracture")]
    possible.append(chance["mimic_cement"] < CEMENTED)
    unsure = chance["edema"] < points["edema"].high
    return np.asarray(
        np.logical_and.reduce(possible) & (unsure | supports_edema(pool, calibration.contrast))
    )


def _supported(every: Predictions, held_out: LevelPool) -> NDArray[np.bool_]:
    """`supports_edema` of the levels that are asked, in every view."""
    asked = np.isfinite(every.targets[:, HEADS.index("edema")])
    each = supports_edema(held_out, ContrastRule())
    return np.tile(each, len(asked) // len(each))[asked]


def _not_absent(seen: Predictions, platt: Platt, point: OperatingPoint) -> NDArray[np.bool_]:
    """(level,) whether edema is not called absent."""
    return np.asarray(platt.probability(seen.heads[:, HEADS.index("edema")]) >= point.low)


def fit_platt(logits: NDArray[np.float32], positive: NDArray[np.bool_]) -> Platt:
    """Logistic regression of truth on the logit, drawn weakly towards slope 1 and bias 0.

    A head with too few answers of a class keeps slope 1 and gets the bias of its base rate.
    """
    wide = logits.astype(np.float64)
    truth = positive.astype(np.float64)
    few = min(int(positive.sum()), int((~positive).sum())) < FEWEST

    def loss(pair: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scale, bias = (1.0 if few else pair[0]), pair[1]
        margin = scale * wide + bias
        likelihood = np.logaddexp(0.0, margin) - truth * margin
        excess = expit(margin) - truth
        slope = 0.0 if few else float((excess * wide).sum()) + 4.0 * (scale - 1.0)
        drawn = 2.0 * (scale - 1.0) ** 2 + 0.01 * bias**2
        return float(likelihood.sum() + drawn), np.array([slope, excess.sum() + 0.02 * bias])

    if not len(logits):
        return Platt(1.0, 0.0)
    # With its slopes: a simplex was seen to stop short of the minimum, 7 units of likelihood above.
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B").x
    return Platt(1.0 if few else max(float(found[0]), 0.05), float(found[1]))


def choose_point(
    probability: NDArray[np.float64],
    positive: NDArray[np.bool_],
    accepted: AcceptedErrors,
    chosen_on: str,
    supported: NDArray[np.bool_] | None = None,
) -> OperatingPoint:
    """Thresholds that let few positives be called absent and few negatives present.

    Where the two classes lie apart the two thresholds meet half-way between them.

    Args:
        probability: (case,) calibrated.
        positive: (case,) the truth.
        accepted: Errors.
        chosen_on: The cases in words.
        supported: (case,) what may be called present at all, whatever its probability; everything
            by default.

    Raises:
        ValueError: The set has one class only.
    """
    if positive.all() or not positive.any():
        raise ValueError("thresholds need positives and negatives in the calibration set")
    low = float(np.quantile(probability[positive], accepted.missed))
    may_be_called = probability if supported is None else np.where(supported, probability, 0.0)
    high = float(np.quantile(may_be_called[~positive], 1 - accepted.false))
    if low >= high:
        low = high = (low + high) / 2
    high = max(high, EVEN)
    return OperatingPoint(
        low=round(low, 4),
        high=round(high, 4),
        sensitivity=round(float((may_be_called[positive] >= high).mean()), 4),
        specificity=round(float((probability[~positive] < low).mean()), 4),
        chosen_on=chosen_on,
    )


def choose_flag(
    probability: NDArray[np.float64], positive: NDArray[np.bool_], chosen_on: str
) -> OperatingPoint:
    """One threshold that raises no more false alarms than `FALSE_ALARMS`."""
    threshold = round(float(np.quantile(probability[~positive], 1 - FALSE_ALARMS)), 4)
    return OperatingPoint(
        low=threshold,
        high=threshold,
        sensitivity=round(float((probability[positive] >= threshold).mean()), 4),
        specificity=round(float((probability[~positive] < threshold).mean()), 4),
        chosen_on=chosen_on,
    )


def choose_map_threshold(seen: Predictions) -> float:
    """The map threshold whose extent is nearest to the truth over edematous bodies."""
    wet = seen.targets[:, HEADS.index("edema")] > 0.5
    if not wet.any():
        return 0.5
    errors = np.abs(seen.extents[wet] - seen.extent_truth[wet, None]).mean(axis=0)
    return MAP_LEVELS[int(np.argmin(errors))]


def reference_heights(pool: LevelPool) -> dict[str, list[float]]:
    """Mean (anterior, middle, posterior) height of undiseased bodies as measured, by level."""
    heights = defaultdict(list)
    for about in pool.about:
        if about["heights"] and about["fracture"] == "none":
            heights[about["level"]].append(about["heights"])
    return {
        level: [round(float(value), 2) for value in np.median(rows, axis=0)]
        for level, rows in sorted(heights.items())
        if len(rows) >= FEWEST
    }


def statistic_bounds(pool: LevelPool) -> dict[str, list[float]]:
    """Range of every image statistic over a pool, a little widened."""
    seen = defaultdict(list)
    for number in range(0, len(pool.crops), max(1, len(pool.crops) // BOUND_LEVELS)):
        batch = pool.batch(np.array([number]))
        for name, value in distribution_statistics(batch.crops[0], batch.presence[0]).items():
            seen[name].append(value)
    bounds = {}
    for name, values in sorted(seen.items()):
        low, high = np.quantile(values, BOUND_QUANTILES)
        margin = BOUND_MARGIN * (high - low)
        bounds[name] = [round(float(low - margin), 4), round(float(high + margin), 4)]
    return bounds
