"""Teach boosted trees to weigh the network's answers with the measured signs, and ask them.

What they learn from must be levels that the network did not learn from: on its own levels the
network is surer than it is of any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models.scorer.calibration import ScorerCalibration
from models.scorer.combination import (
    COLUMNS,
    MAP_COLUMNS,
    QUESTIONS,
    SHARES_AT,
    Combination,
    combination_table,
)
from models.scorer.crops import CHANNELS
from models.scorer.heads import HEADS
from models.scorer.measurements import void_fractions
from models.scorer.network import ScorerNetwork
from models.scorer.signs import SHOWN_BY, UNITS, height_loss_percent, height_signs
from models.scorer.trees import LEAF, MISSING, NODE, Trees
from training.scorer.cache import unpacked
from training.scorer.pool import LevelPool
from training.scorer.predict import MAP_LEVELS, Predictions, predict
from training.scorer.ranges import measured_losses

if TYPE_CHECKING:
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

LEARNED_WITH: Final[Mapping[str, tuple[str, ...]]] = {
    "as_acquired": (),
    "fluid_only": ("t1", "t2", "dixon_fat"),
    "no_fluid": ("fluid",),
}
"""Choices of series the trees learn with: name to hidden channels."""

QUANTILES: Final = {"low": 0.05, "middle": 0.5, "high": 0.95}
"""Line of the extent to the quantile that is regressed."""

MISSED: Final = 0.10
"""Share of fractures that the network's own answer may take for intact neighbours."""

TREES: Final[Mapping[str, Any]] = {
    "n_estimators": 120,
    "learning_rate": 0.08,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 40,
    "subsample": 0.7,
    "max_features": 0.3,
    "random_state": 0,
}
"""As few and small as did as well in cross-validation over patients."""

FEWEST_ANSWERS: Final = 30
"""Answers of either kind, over all choices of series, that trees are taught with."""

_AT_ONCE: Final = 256

_FLUID_COLUMNS: Final = ("head_edema", "map_", "has_", *SHOWN_BY["fluid"])
"""How the names of columns begin that an extent of edema may rest on: what other series show of a
body says little of how far its edema goes."""


_SHAPE_COLUMNS: Final = ("head_fracture", "head_shape_", "head_height_loss", "height_loss")
"""And of those that a height loss may rest on."""


def fit_combination(
    network: ScorerNetwork,
    pool: LevelPool,
    heights_mm: Mapping[str, tuple[float, float, float]],
) -> dict[str, Any]:
    """Learn the bundle's `combination` section.

    Args:
        network: Trained, on other levels.
        pool: Levels to learn from.
        heights_mm: The bundle's reference heights.
    """
    seen = {name: predict(network, pool, hide) for name, hide in LEARNED_WITH.items()}
    logit = seen["as_acquired"].heads[:, HEADS.index("fracture")]
    broken = np.stack(pool.targets)[:, HEADS.index("fracture")] > 0.5
    intact_below = float(np.quantile(logit[broken], MISSED))
    tables = np.concatenate(
        [
            _table(one, pool, LEARNED_WITH[name], heights_mm, intact_below)
            for name, one in seen.items()
        ]
    )
    every = Predictions.joined(list(seen.values()))
    extents = {line: _extent_trees(tables, every, at) for line, at in QUANTILES.items()}
    return {
        "columns": list(COLUMNS),
        "questions": {
            name: _question_trees(tables, every, name).stored()
            for name in QUESTIONS
            if _answered_often(every, name)
        },
        "extent": {line: trees.stored() for line, trees in extents.items()},
        "intact_below": round(intact_below, 4),
        "height_loss": _height_trees(tables, every).stored(),
        "learned_from": f"{len(pool.crops)} synthetic levels that the network did not learn from",
    }


def answered(
    network: ScorerNetwork,
    pool: LevelPool,
    calibration: ScorerCalibration,
    hide: Sequence[str] = (),
) -> Predictions:
    """What the scorer answers of a pool: the network, and the combination where there is one."""
    seen = predict(network, pool, hide)
    return weighed(seen, pool, calibration.combination, calibration.reference_heights_mm, hide)


def weighed(
    seen: Predictions,
    pool: LevelPool,
    combination: Combination | None,
    heights_mm: Mapping[str, tuple[float, float, float]],
    hide: Sequence[str] = (),
) -> Predictions:
    """The network's answers weighed with the signs that the series shown give."""
    if combination is None:
        return seen
    table = _table(seen, pool, hide, heights_mm, combination.intact_below)
    return replace(
        seen,
        heads=combination.answers(seen.heads, table),
        extent_lines=combination.extents(table),
        height_loss=combination.height_losses(table),
    )


def _table(
    seen: Predictions,
    pool: LevelPool,
    hide: Sequence[str],
    heights_mm: Mapping[str, tuple[float, float, float]],
    intact_below: float,
) -> NDArray[np.float32]:
    intact = seen.heads[:, HEADS.index("fracture")] < intact_below
    losses = measured_losses(pool, heights_mm, intact)
    signs = _signs(pool, hide) | height_signs(losses)
    signs["height_loss"] = height_loss_percent(losses)
    columns = [MAP_LEVELS.index(level) for level in SHARES_AT]
    shares = np.column_stack([seen.extent_mean, seen.extents[:, columns]]).astype(np.float64)
    if "fluid" in hide:
        shares = np.full((len(seen.heads), len(MAP_COLUMNS)), np.nan)
    return combination_table(seen.heads, shares, seen.presence, signs)


def _signs(pool: LevelPool, hide: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """The signs that could be measured without the hidden channels.

    They are stored with the levels, save one that rests on whatever series are shown.
    """
    hidden = tuple(start for channel in hide for start in SHOWN_BY[channel])
    stored = {
        name: np.array([about.get("measured", {}).get(name, np.nan) for about in pool.about])
        for name in UNITS
        if not name.startswith(hidden or ("\0",))
    }
    return stored | {"void_fraction": voids(pool, hide)}


def voids(pool: LevelPool, hide: Sequence[str] = ()) -> NDArray[np.float64]:
    """(level,) `void_fractions` of a pool without some channels."""
    parts = []
    for start in range(0, len(pool.crops), _AT_ONCE):
        crops = unpacked(np.stack(pool.crops[start : start + _AT_ONCE]))
        for name in hide:
            crops[:, CHANNELS.index(name)] = 0.0
        parts.append(void_fractions(crops))
    return np.concatenate(parts)


def _answered_often(seen: Predictions, name: str) -> bool:
    """Whether there are enough answers of either kind to learn from; else the network's stands."""
    truth = seen.targets[:, HEADS.index(name)]
    return min(int((truth == 1).sum()), int((truth == 0).sum())) >= FEWEST_ANSWERS


def _question_trees(table: NDArray[np.float32], seen: Predictions, name: str) -> Trees:
    from sklearn.ensemble import GradientBoostingClassifier  # noqa: PLC0415  slow to import

    truth = seen.targets[:, HEADS.index(name)]
    asked = np.isfinite(truth)
    known = _filled(table[asked])
    model = GradientBoostingClassifier(**TREES).fit(known, truth[asked] > 0.5)
    return _plain(model, known, model.decision_function(known[:1]), np.arange(len(COLUMNS)))


def _extent_trees(table: NDArray[np.float32], seen: Predictions, quantile: float) -> Trees:
    from sklearn.ensemble import GradientBoostingRegressor  # noqa: PLC0415  slow to import

    # Of bodies without edema no extent is said: taught with these, the trees shrink every other's.
    taken = np.flatnonzero(seen.targets[:, HEADS.index("edema")] == 1)
    used = np.array([n for n, name in enumerate(COLUMNS) if name.startswith(_FLUID_COLUMNS)])
    known = _filled(table[taken][:, used])
    model = GradientBoostingRegressor(loss="quantile", alpha=quantile, **TREES)
    model.fit(known, seen.extent_truth[taken])
    return _plain(model, known, model.predict(known[:1]), used)


def _height_trees(table: NDArray[np.float32], seen: Predictions) -> Trees:
    from sklearn.ensemble import GradientBoostingRegressor  # noqa: PLC0415  slow to import

    truth = seen.targets[:, HEADS.index("height_loss")]
    asked = np.isfinite(truth)
    used = np.array([n for n, name in enumerate(COLUMNS) if name.startswith(_SHAPE_COLUMNS)])
    known = _filled(table[asked][:, used])
    # All of the few columns at every split: the measured loss and the network's must meet.
    model = GradientBoostingRegressor(**{**TREES, "max_features": None})
    model.fit(known, 100.0 * truth[asked])
    return _plain(model, known, model.predict(known[:1]), used)


def _filled(table: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.isfinite(table), table, MISSING)


def _plain(
    model: GradientBoostingClassifier | GradientBoostingRegressor,
    table: NDArray[np.float32],
    said_of_first: NDArray[np.float64],
    columns: NDArray[np.int64],
) -> Trees:
    """The model's trees as arrays; the constant it adds is what is left of its first answer."""
    trees = [estimator.tree_ for estimator in np.ravel(model.estimators_)]
    most = max(tree.node_count for tree in trees)
    nodes = np.zeros((len(trees), most), NODE)
    nodes["column"] = LEAF
    for number, tree in enumerate(trees):
        here = nodes[number, : tree.node_count]
        inner = tree.children_left != tree.children_right
        here["column"][inner] = columns[tree.feature[inner]]
        here["left"][inner] = tree.children_left[inner]
        here["right"][inner] = tree.children_right[inner]
        here["threshold"][inner] = _rounded_down(tree.threshold[inner])
        here["value"] = model.learning_rate * tree.value[:, 0, 0]
    whole = np.full((1, len(COLUMNS)), MISSING, np.float32)
    whole[:, columns] = table[:1]
    return Trees(float(said_of_first[0] - Trees(0.0, nodes)(whole)[0]), nodes)


def _rounded_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 at most each threshold: a float32 value is below both or neither."""
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
