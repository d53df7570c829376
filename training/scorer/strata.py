"""Where the scorer is put to the test: hard kinds of levels, scanners, sets of series, mimics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.scorer.calibration import ScorerCalibration
from models.scorer.heads import HEADS
from models.volume import Role
from training.scorer.calibrate import supports_unhealed
from training.scorer.pool import LevelPool
from training.scorer.predict import Predictions
from training.statistics.counts import proportion
from training.statistics.roc import auroc, both_classes, delong_interval

TASKS: Final = ("edema", "unhealed", "pathological")
FEWEST: Final = 5
"""Answers of either class that a stratum needs for an area under the curve."""

ACQUIRED: Final = ("with_dixon_fat", "with_t1", "without_either")
"""Strata by the series that tell a tumour from a fracture of weak bone."""

THICK_MM: Final = 5.0
HIGH_FIELD_T: Final = 3.0

MIMICS: Final = {
    "modic_1": ("modic_1",),
    "schmorl_node": ("schmorl_node",),
    "haemangioma": ("haemangioma", "haemangioma_atypical"),
    "discitis": ("discitis",),
    "red_marrow": ("red_marrow",),
    "bone_island": ("bone_island",),
}
"""Mimic to its names in the truth; cement is a stage."""


def groups_of_levels(pool: LevelPool) -> dict[str, NDArray[np.bool_]]:
    """Name of a stratum to the levels in it; field and slices are those of the study."""
    about = pool.about
    loss = np.array([one["height_loss_percent"] for one in about])
    field = np.array([one.get("field_t", np.nan) for one in about])
    slices = np.array([one.get("slice_mm", np.nan) for one in about])
    wet = np.array([one["edema_fraction"] for one in about])
    groups = {
        "no_deformity": loss < 10,
        "mild": (loss >= 10) & (loss < 25),
        "modic_confounded": _has(about, MIMICS["modic_1"]),
        "3_t": field >= HIGH_FIELD_T,
        "thick_slices": slices >= THICK_MM,
        "faint_edema": (wet >= 0.03) & (wet < 0.2),
        "red_marrow": _has(about, MIMICS["red_marrow"]),
        "haemangioma": _has(about, MIMICS["haemangioma"]),
    }
    roles_of = [one["sequence_set"].split("+") for one in about]
    dixon = np.array([Role.DIXON_FAT in roles for roles in roles_of])
    t1 = np.array([Role.T1 in roles for roles in roles_of])
    groups |= dict(zip(ACQUIRED, (dixon, t1, ~(dixon | t1)), strict=True))
    for roles in sorted({one["sequence_set"] for one in about}):
        groups[roles] = np.array([one["sequence_set"] == roles for one in about])
    return groups


def _has(about: list[dict[str, Any]], names: tuple[str, ...]) -> NDArray[np.bool_]:
    return np.array([bool(set(names) & set(one["mimics"])) for one in about])


def strata(
    seen: Predictions, pool: LevelPool, calibration: ScorerCalibration
) -> dict[str, dict[str, Any]]:
    """Areas under the curve and calls of every stratum."""
    result: dict[str, dict[str, Any]] = {}
    for name, chosen in groups_of_levels(pool).items():
        if chosen.any():
            tasks = {task: _task(seen, chosen, task, calibration) for task in TASKS}
            result[name] = {"levels": int(chosen.sum()), **tasks}
    return result


def _task(
    seen: Predictions, chosen: NDArray[np.bool_], task: str, calibration: ScorerCalibration
) -> dict[str, Any]:
    truth = seen.targets[:, HEADS.index(task)]
    asked = chosen & np.isfinite(truth)
    positive = truth[asked] > 0.5
    found: dict[str, Any] = {"asked": int(asked.sum()), "positive": int(positive.sum())}
    if min(positive.sum(), (~positive).sum()) < FEWEST or not both_classes(positive):
        return found
    chance = calibration.platt[task].probability(seen.heads[asked, HEADS.index(task)])
    point = calibration.operating_points[task]
    interval = delong_interval(chance, positive)
    return found | {
        "auroc": round(float(auroc(chance, positive) or 0.0), 4),
        "auroc_95": interval and [round(v, 4) for v in asdict(interval).values()],
        "called_of_present": round(float((chance >= point.high)[positive].mean()), 4),
        "called_of_absent": round(float((chance >= point.high)[~positive].mean()), 4),
    }


def kept_from_unhealed(
    seen: Predictions, pool: LevelPool, calibration: ScorerCalibration
) -> dict[str, dict[str, Any]]:
    """How often, as served, a body with a mimic and no unhealed fracture is not called unhealed."""
    chance = calibration.platt["unhealed"].probability(seen.heads[:, HEADS.index("unhealed")])
    likely = chance >= calibration.operating_points["unhealed"].high
    kept = ~(likely & supports_unhealed(seen, pool, calibration))
    healthy = seen.targets[:, HEADS.index("unhealed")] == 0
    groups: Mapping[str, NDArray[np.bool_]] = {
        **{name: _has(pool.about, names) for name, names in MIMICS.items()},
        "cement": np.array([one["stage"] == "cemented" for one in pool.about]),
    }
    result = {}
    for name, drawn in groups.items():
        told = proportion(kept[drawn & healthy])
        result[name] = {
            "levels": told.of,
            "kept": None if told.share is None else round(told.share, 4),
            "kept_95": told.interval and [round(v, 4) for v in asdict(told.interval).values()],
        }
    return result
