"""Classifiers that tell phantom crops from real ones, judged patient by patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from training.realism.crops import Crops

Scores = NDArray[np.float64]

FOLDS: Final = 4
BOOTSTRAPS: Final = 400
PERMUTATIONS: Final = 2


@dataclass(frozen=True, slots=True)
class Detection:
    """How well crops were told apart.

    Attributes:
        scores: (n,) out-of-fold probability that a crop is real; higher is more real.
        auroc: Of the scores, real against phantom: 0.5 means nobody can tell.
        interval: 95 % interval over patients drawn again.
    """

    scores: Scores
    auroc: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Clue:
    """What one feature gives away.

    Attributes:
        name: Of the feature.
        auroc: Of this feature alone, folded to at least 0.5.
        importance: Out-of-fold AUROC lost when it is shuffled; NaN where no classifier was made.
        phantom, real: (5th, 50th, 95th percentile) over the crops.
    """

    name: str
    auroc: float
    importance: float
    phantom: tuple[float, float, float]
    real: tuple[float, float, float]


def folds_of(crops: Crops, seed: int = 0) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(train, test) rows; no patient is on both sides, and both kinds are on each.

    Raises:
        ValueError: Fewer than two patients of a kind.
    """
    fewest = min(len(np.unique(crops.patients[crops.real == kind])) for kind in (True, False))
    if fewest < 2:
        raise ValueError("cross-validation by patient needs two patients of each kind")
    splitter = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    return [
        (train, test)
        for train, test in splitter.split(crops.images, crops.real, crops.patients)
        if len(np.unique(crops.real[test])) == 2
    ]


def detect_by_features(
    crops: Crops, names: list[str], values: NDArray[np.float64]
) -> tuple[Detection, list[Clue]]:
    """Gradient boosting on hand-made features, and what gave the phantom away, worst first."""
    scores = np.full(crops.count, np.nan)
    lost = np.zeros(len(names))
    rng = np.random.default_rng(0)
    folds = folds_of(crops)
    for train, test in folds:
        model = GradientBoostingClassifier(
            n_estimators=80, max_depth=2, subsample=0.7, max_features=0.4, random_state=0
        )
        model.fit(values[train], crops.real[train], sample_weight=_balanced(crops.real[train]))
        scores[test] = model.predict_proba(values[test])[:, 1]
        right = roc_auc_score(crops.real[test], scores[test])
        # A feature that no tree split on loses nothing.
        for n in np.flatnonzero(model.feature_importances_ > 0.005):
            for _ in range(PERMUTATIONS):
                shuffled = values[test].copy()
                shuffled[:, n] = rng.permutation(shuffled[:, n])
                now = roc_auc_score(crops.real[test], model.predict_proba(shuffled)[:, 1])
                lost[n] += (right - now) / (PERMUTATIONS * len(folds))
    found = clues(crops, names, values, lost)
    return _judged(crops, scores), sorted(found, key=lambda clue: -clue.importance)


def clues(
    crops: Crops,
    names: list[str],
    values: NDArray[np.float64],
    lost: NDArray[np.float64] | None = None,
) -> list[Clue]:
    """Every feature on its own, most telling first."""
    found = []
    for n, name in enumerate(names):
        area = float(roc_auc_score(crops.real, values[:, n]))
        phantom, real = (
            tuple(float(v) for v in np.percentile(values[crops.real == kind, n], (5, 50, 95)))
            for kind in (False, True)
        )
        importance = float("nan") if lost is None else float(lost[n])
        found.append(
            Clue(
                name,
                max(area, 1 - area),
                importance,
                (phantom[0], phantom[1], phantom[2]),
                (real[0], real[1], real[2]),
            )
        )
    return sorted(found, key=lambda clue: -clue.auroc)


def detect_by(
    crops: Crops,
    train_and_score: Callable[[NDArray[np.intp], NDArray[np.intp]], Scores],
) -> Detection:
    """Cross-validate any trainer: a function of (train rows, test rows) that scores the test."""
    scores = np.full(crops.count, np.nan)
    for train, test in folds_of(crops):
        scores[test] = train_and_score(train, test)
    return _judged(crops, scores)


def _balanced(real: NDArray[np.bool_]) -> NDArray[np.float64]:
    share = float(real.mean())
    return np.where(real, 0.5 / max(share, 1e-6), 0.5 / max(1 - share, 1e-6))


def _judged(crops: Crops, scores: Scores) -> Detection:
    known = np.isfinite(scores)
    real, who, what = crops.real[known], crops.patients[known], scores[known]
    rng = np.random.default_rng(1)
    people = [np.unique(who[real == kind]) for kind in (True, False)]
    rows = {person: np.flatnonzero(who == person) for group in people for person in group}
    areas = []
    for _ in range(BOOTSTRAPS):
        drawn = np.concatenate([rows[p] for group in people for p in rng.choice(group, len(group))])
        areas.append(roc_auc_score(real[drawn], what[drawn]))
    low, high = np.percentile(areas, (2.5, 97.5))
    return Detection(scores, float(roc_auc_score(real, what)), (float(low), float(high)))
