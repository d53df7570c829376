"""Prediction sets and intervals, fitted on held-out synthetic cases and checked on others.

Split conformal prediction: on cases the network has not seen, the quantile of how wrong it was for
the true answer is the bound that the next case keeps with the nominal probability.
Source: Vovk 2005; Romano 2019, NeurIPS 32 (conformalised quantile regression).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Acuity
from models.scorer.calibration import FLUID_ONLY, SEQUENCE_SETS, Platt, acuity_chances, sequence_set
from models.scorer.extent import LINES, READ_AT
from models.scorer.heads import HEADS
from training.scorer.predict import MAP_LEVELS, Predictions

NOMINAL_COVERAGE: Final = 0.95
"""Of etiology sets. The likeliest class is right more often than nine times in ten, so that sets
with a lower bound would cover more than they say."""

ACUITY_COVERAGE: Final = 0.97
"""Of acuity sets, for the same reason: most bodies are not broken, and are told to be sound."""

EXTENT_COVERAGE: Final = 0.90
"""Of the extent's interval."""

COVERAGE_FLUID_ONLY: Final = 0.97
"""Nominal coverage of etiology sets without T1 or Dixon fat. Synthetic fluid-sensitive images tell
the two causes apart better than real ones are known to: the sets are widened on purpose."""

FEWEST_EXTENTS: Final = 40
"""Edematous bodies that the extent's regressions need."""

FEWEST_OF_KIND: Final = 100
"""Answers that a kind of case needs for a quantile of its own."""

_LINE_QUANTILES: Final = dict(zip(LINES, (0.05, 0.5, 0.95), strict=True))


def conformal_quantile(scores: NDArray[np.float64], coverage: float) -> float:
    """The finite-sample split-conformal quantile; 1 (every class) when there are too few scores."""
    rank = int(np.ceil((len(scores) + 1) * coverage))
    if rank > len(scores):
        return 1.0
    return round(float(np.sort(scores)[rank - 1]), 6)


def groups_of(seen: Predictions) -> NDArray[np.str_]:
    """(level,) sequence set of what was shown."""
    return np.array([sequence_set(presence) for presence in seen.presence])


def etiology_coverage(group: str) -> float:
    """Nominal coverage of a sequence set's etiology sets."""
    return COVERAGE_FLUID_ONLY if group == FLUID_ONLY else NOMINAL_COVERAGE


def etiology_quantiles(
    seen: Predictions, platt: Platt, kinds: NDArray[np.str_]
) -> dict[str, float]:
    """Split-conformal quantile of 1 - probability of the true etiology, per sequence set.

    It is the largest of those of the kinds of patients and scanners that have `FEWEST_OF_KIND`
    answers, and of all together: a set is to keep its word on each of them, not in the mixture
    alone. Without fat contrast it is at least that with it: less information never narrows a set.

    Args:
        seen: Of the calibration cases.
        platt: Of the answer.
        kinds: (level,) what each case was drawn from.
    """
    column = HEADS.index("pathological")
    truth = seen.targets[:, column]
    groups = groups_of(seen)
    probability = platt.probability(seen.heads[:, column])
    missing = 1.0 - np.where(truth > 0.5, probability, 1.0 - probability)
    quantiles: dict[str, float] = {}
    for name in SEQUENCE_SETS:
        asked = np.isfinite(truth) & (groups == name)
        of_kind = [asked & (kinds == kind) for kind in np.unique(kinds)]
        parts = [asked, *(part for part in of_kind if part.sum() >= FEWEST_OF_KIND)]
        coverage = etiology_coverage(name)
        quantiles[name] = max(conformal_quantile(missing[part], coverage) for part in parts)
    quantiles[FLUID_ONLY] = max(quantiles.values())
    return quantiles


def acuity_truth(seen: Predictions) -> list[Acuity | None]:
    """The true acuity of every level; None where it is not asked."""
    unhealed = seen.targets[:, HEADS.index("unhealed")]
    fracture = seen.targets[:, HEADS.index("fracture")]
    truth: list[Acuity | None] = []
    for one, other in zip(unhealed, fracture, strict=True):
        if not (np.isfinite(one) and np.isfinite(other)):
            truth.append(None)
        elif one > 0.5:
            truth.append(Acuity.UNHEALED)
        else:
            truth.append(Acuity.HEALED if other > 0.5 else Acuity.NO_FRACTURE)
    return truth


def acuity_quantiles(seen: Predictions, platt: Mapping[str, Platt]) -> dict[str, float]:
    """Split-conformal quantile of 1 - probability of the true acuity, per sequence set."""
    truth, groups = acuity_truth(seen), groups_of(seen)
    unhealed, fracture = (
        platt[name].probability(seen.heads[:, HEADS.index(name)])
        for name in ("unhealed", "fracture")
    )
    missing = np.array(
        [
            np.nan if name is None else 1.0 - acuity_chances(float(u), float(f))[name]
            for name, u, f in zip(truth, unhealed, fracture, strict=True)
        ]
    )
    return {
        name: conformal_quantile(missing[np.isfinite(missing) & (groups == name)], ACUITY_COVERAGE)
        for name in SEQUENCE_SETS
    }


def extent_table(seen: Predictions) -> NDArray[np.float64]:
    """(level, 1 + len(READ_AT)) of `models.scorer.extent.extent_features`, from stored shares."""
    columns = [MAP_LEVELS.index(level) for level in READ_AT]
    return np.column_stack([seen.extent_mean, seen.extents[:, columns]]).astype(np.float64)


def fit_extent(seen: Predictions, said: NDArray[np.bool_]) -> dict[str, Any] | None:
    """Regressions on one half of the edematous bodies, the margin on the other.

    Args:
        seen: Of the calibration cases; where a combination has the regressions, they stay, and only
            the margin is fitted.
        said: (level,) whether an extent would be said, that is edema is not called absent.

    Returns:
        The bundle's `extent` section; None with fewer than `FEWEST_EXTENTS` bodies.
    """
    wet = np.flatnonzero((seen.targets[:, HEADS.index("edema")] > 0.5) & said)
    if len(wet) < FEWEST_EXTENTS:
        return None
    truth = seen.extent_truth[wet].astype(np.float64)
    # Every view holds the same bodies in the same order: neighbours in the list are split.
    first = np.arange(len(wet)) % 2 == 0
    if seen.extent_lines is not None:
        weights, rest = None, np.ones(len(wet), dtype=bool)
        lines = seen.extent_lines[wet]
    else:
        table = extent_table(seen)[wet]
        weights, rest = _regressions(table[first], truth[first]), ~first
        by_line = np.array([weights[line] for line in LINES])
        lines = np.column_stack([np.ones(len(wet)), table]) @ by_line.T
    outside = np.maximum(lines[rest, 0] - truth[rest], truth[rest] - lines[rest, 2])
    rank = min(int(np.ceil((len(outside) + 1) * EXTENT_COVERAGE)), len(outside)) - 1
    margin = float(np.sort(outside)[rank])
    return {"weights": weights, "margin": round(margin, 6), "coverage": EXTENT_COVERAGE}


def _regressions(table: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, list[float]]:
    from sklearn.linear_model import QuantileRegressor  # noqa: PLC0415  slow to import

    weights = {}
    for line, quantile in _LINE_QUANTILES.items():
        fitted = QuantileRegressor(quantile=quantile, alpha=1e-4).fit(table, truth)
        weights[line] = [round(float(w), 6) for w in (fitted.intercept_, *fitted.coef_)]
    return weights
