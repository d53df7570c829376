"""What stands beside the network: the best single measured sign, and boosted trees on all of them.

Both learn from the training cases only, and from what a program measures without a network. Where
one of them does as well, the network is not worth its cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models.scorer.calibration import ScorerCalibration
from models.scorer.heads import HEADS
from models.scorer.signs import UNITS
from training.scorer.combine import voids
from training.scorer.pool import LevelPool
from training.scorer.predict import Predictions
from training.scorer.ranges import measured_losses
from training.statistics.roc import auroc, both_classes, delong_interval, delong_test

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

TASKS: Final = ("edema", "fracture", "unhealed", "pathological")
LEVELS: Final = ("C", "T", "L")
COLUMNS: Final = (*UNITS, "height_loss", *(f"region_{letter}" for letter in LEVELS))
FEWEST: Final = 20
"""Levels of either class that a baseline is fitted on."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Scores of the test levels, and what makes them.

    Attributes:
        name: "best sign" or "boosted trees".
        detail: Which sign, or how many columns.
        scores: (level,) larger is likelier.
    """

    name: str
    detail: str
    scores: NDArray[np.float64]


def sign_table(pool: LevelPool, calibration: ScorerCalibration) -> NDArray[np.float64]:
    """(level, len(COLUMNS)) of everything measured; NaN where it was not."""
    # Heights are compared with all neighbours: which of them are broken is what is asked.
    everybody = np.ones(len(pool.about), dtype=bool)
    losses = measured_losses(pool, calibration.reference_heights_mm, everybody)
    table = np.full((len(pool.about), len(COLUMNS)), np.nan)
    for row, (about, loss) in enumerate(zip(pool.about, losses, strict=True)):
        known = dict(about.get("measured", {}))
        if loss is not None:
            known |= {
                "height_loss": loss.percent,
                "height_loss_anterior": loss.anterior,
                "height_loss_middle": loss.middle,
                "height_loss_posterior": loss.posterior,
            }
        known |= {f"region_{letter}": float(about["level"][0] == letter) for letter in LEVELS}
        table[row] = [known.get(name, np.nan) for name in COLUMNS]
    table[:, COLUMNS.index("void_fraction")] = voids(pool)
    return table


def baselines(
    training: LevelPool, tables: tuple[NDArray[np.float64], NDArray[np.float64]], task: str
) -> list[Baseline]:
    """Fit both baselines of a task; none where the training cases hold too few answers.

    Args:
        training: Levels to learn from.
        tables: `sign_table` of these, and of the levels to be judged.
        task: One of `TASKS`.
    """
    measured = np.array(["measured" in about for about in training.about])
    truth = np.stack(training.targets)[:, HEADS.index(task)]
    asked = measured & np.isfinite(truth)
    positive = truth[asked] > 0.5
    if min(positive.sum(), (~positive).sum()) < FEWEST:
        return []
    table, other = tables[0][asked], tables[1]
    return [_best_sign(table, positive, other), _trees(table, positive, other)]


def _best_sign(
    table: NDArray[np.float64], positive: NDArray[np.bool_], test: NDArray[np.float64]
) -> Baseline:
    """The column that alone ranks the training levels best; a missing value counts as median."""
    best, chosen, up = 0.0, 0, 1.0
    for column in range(len(UNITS) + 1):
        values = _filled(table[:, column], table[:, column])
        area = auroc(values, positive) if np.isfinite(values).all() else None
        if area is not None and max(area, 1.0 - area) > best:
            best, chosen, up = max(area, 1.0 - area), column, 1.0 if area >= 0.5 else -1.0
    scores = up * _filled(test[:, chosen], table[:, chosen])
    return Baseline("best sign", COLUMNS[chosen], scores)


def _filled(values: NDArray[np.float64], like: NDArray[np.float64]) -> NDArray[np.float64]:
    known = like[np.isfinite(like)]
    return np.where(np.isfinite(values), values, np.median(known) if len(known) else np.nan)


def _trees(
    table: NDArray[np.float64], positive: NDArray[np.bool_], test: NDArray[np.float64]
) -> Baseline:
    model = _booster().fit(table, positive)
    return Baseline("boosted trees", f"{table.shape[1]} columns", model.predict_proba(test)[:, 1])


def _booster() -> HistGradientBoostingClassifier:
    from sklearn.ensemble import HistGradientBoostingClassifier as Booster  # noqa: PLC0415

    return Booster(
        learning_rate=0.06,
        max_iter=150,
        max_leaf_nodes=12,
        min_samples_leaf=12,
        l2_regularization=1.0,
        random_state=0,
    )


def unweighed(alone: Predictions, seen: Predictions, task: str) -> list[Baseline]:
    """The network without a combination, where there is one and it answers this task."""
    column = HEADS.index(task)
    own, served = alone.heads[:, column], seen.heads[:, column]
    if np.array_equal(own, served):
        return []
    return [Baseline("network alone", "", own.astype(np.float64))]


def compared(seen: Predictions, found: list[Baseline], task: str) -> list[dict[str, Any]]:
    """What serves and baselines on the same test levels, each held against what serves (DeLong)."""
    column = HEADS.index(task)
    truth = seen.targets[:, column]
    asked = np.isfinite(truth)
    positive = truth[asked] > 0.5
    if not both_classes(positive):
        return []
    own = seen.heads[asked, column].astype(np.float64)
    rows = [_row("served", "", own, positive)]
    for one in found:
        scores = one.scores[asked]
        row = _row(one.name, one.detail, scores, positive)
        test = delong_test(scores, own, positive)
        if test is not None:
            row |= {
                "served_minus_this": round(test.difference, 4),
                "difference_95": [round(test.interval.low, 4), round(test.interval.high, 4)],
                "p_value": round(test.p_value, 5),
            }
        rows.append(row)
    return rows


def _row(
    name: str, detail: str, scores: NDArray[np.float64], positive: NDArray[np.bool_]
) -> dict[str, Any]:
    interval = delong_interval(scores, positive)
    return {
        "model": name,
        "detail": detail,
        "auroc": round(float(auroc(scores, positive) or 0.0), 4),
        "auroc_95": interval and [round(interval.low, 4), round(interval.high, 4)],
    }
