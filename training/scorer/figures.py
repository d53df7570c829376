"""How good the scorer is on held-out synthetic cases: by question, by series shown, by stratum.

Every figure here is of synthetic spines and must be called so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Acuity
from models.scorer.calibration import SEQUENCE_SETS, ScorerCalibration
from models.scorer.heads import HEADS, MIMICS, SHAPES
from models.scorer.measurements import genant_grade
from models.scorer.network import ScorerNetwork
from training.scorer.calibrate import CALLED, EVEN, supports_edema, supports_unhealed
from training.scorer.combine import answered
from training.scorer.conformal import (
    ACUITY_COVERAGE,
    acuity_truth,
    etiology_coverage,
    extent_table,
    groups_of,
)
from training.scorer.pool import LevelPool
from training.scorer.predict import MAP_LEVELS, Predictions
from training.scorer.ranges import measured_losses
from training.scorer.strata import kept_from_unhealed, strata
from training.statistics.counts import cohen_kappa, proportion
from training.statistics.probabilities import calibration_curve, set_coverage
from training.statistics.roc import auroc, delong_interval

VIEWS: Final[Mapping[str, tuple[str, ...]]] = {
    "as_acquired": (),
    "fluid_and_t1": ("t2", "dixon_fat"),
    "fluid_only": ("t1", "t2", "dixon_fat"),
}
"""What is hidden from the network for each part of the table."""

GRADES: Final = ("0", "1", "2", "3")


def evaluate(
    network: ScorerNetwork,
    pool: LevelPool,
    calibration: ScorerCalibration,
    acquired: Predictions | None = None,
) -> dict[str, Any]:
    """Every figure the model card shows, as plain JSON.

    Args:
        network: Trained.
        pool: Held-out levels that took no part in training or calibration.
        calibration: As read back from the bundle's metadata.
        acquired: The network's answers with every series shown, where they are at hand.
    """
    result: dict[str, Any] = {"levels": len(pool.crops), "data": "synthetic, held out"}
    for view, hidden in VIEWS.items():
        seen = acquired if acquired and not hidden else answered(network, pool, calibration, hidden)
        names = (*CALLED, *(f"mimic_{mimic}" for mimic in MIMICS))
        borne_out = {
            "edema": supports_edema(pool, calibration.contrast),
            "unhealed": supports_unhealed(seen, pool, calibration),
        }
        part = {name: binary(seen, name, calibration, borne_out.get(name)) for name in names}
        result[view] = part
        part["extent"] = extent(seen, calibration)
        part["etiology_sets"] = _etiology_sets(seen, calibration)
        part["acuity_sets"] = _acuity_sets(seen, calibration)
        if view == "as_acquired":
            part["shape"] = _shape(seen)
            part["height_loss_learned"] = _height_error(seen, _learned_percent(seen))
            if seen.height_loss is not None:
                part["height_loss_weighed"] = _height_error(seen, seen.height_loss)
            result["strata"] = strata(seen, pool, calibration)
            result["kept_from_unhealed"] = kept_from_unhealed(seen, pool, calibration)
    result["height_loss_measured"] = measured_height_error(pool, calibration)
    return result


def binary(
    seen: Predictions,
    name: str,
    calibration: ScorerCalibration,
    supported: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Discrimination, calibration and calls of one head.

    Args:
        seen: Answers and truth.
        name: Of the head.
        calibration: Of the bundle.
        supported: (level,) what may be called present at all; everything by default.
    """
    truth = seen.targets[:, HEADS.index(name)]
    asked = np.isfinite(truth)
    if not asked.any():
        return {"asked": 0}
    probability = calibration.platt[name].probability(seen.heads[asked, HEADS.index(name)])
    positive = truth[asked] > 0.5
    interval = delong_interval(probability, positive)
    figures: dict[str, Any] = {
        "asked": int(asked.sum()),
        "positive": int(positive.sum()),
        "auroc": rounded(auroc(probability, positive)),
        "auroc_95": interval and [round(interval.low, 4), round(interval.high, 4)],
        "ece": rounded(calibration_curve(probability, positive).expected_error),
    }
    if name in calibration.operating_points:
        point = calibration.operating_points[name]
        called, absent = probability >= point.high, probability < point.low
        if supported is not None:
            called &= supported[asked]
        figures |= {
            "sensitivity": share(called[positive]),
            "specificity": share(absent[~positive]),
            "indeterminate": share(~called & ~absent),
        }
    else:
        likely = probability >= EVEN
        figures |= {
            "likely_if_so": share(likely[positive]),
            "likely_else": share(likely[~positive]),
        }
    return figures


def rounded(value: float | None) -> float | None:
    """To four digits."""
    return None if value is None else round(value, 4)


def share(flags: NDArray[np.bool_]) -> float | None:
    """Share of true flags to four digits; None of nothing."""
    return round(float(flags.mean()), 4) if len(flags) else None


def said_extents(
    seen: Predictions, calibration: ScorerCalibration, chosen: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """(n,) extents as the scorer gives them, and their (n, 2) intervals where there are any."""
    if calibration.extent is None:
        column = MAP_LEVELS.index(calibration.map_threshold)
        return seen.extents[chosen, column].astype(np.float64), None
    model = calibration.extent
    lines = seen.extent_lines
    if lines is None:
        said = [model.bounded(model.lines(row)) for row in extent_table(seen)[chosen]]
    else:
        said = [model.bounded(row) for row in lines[chosen]]
    intervals = np.array([one.interval for one in said], dtype=np.float64).reshape(-1, 2)
    return np.array([one.fraction for one in said]), intervals


def extent(seen: Predictions, calibration: ScorerCalibration) -> dict[str, Any]:
    """Error of the edematous part in points, its bin, and the interval's coverage.

    Over all edematous bodies as reported, 0 where edema is called absent; the interval and one
    error over those only for which an extent is said.
    """
    column = HEADS.index("edema")
    wet = np.flatnonzero(seen.targets[:, column] > 0.5)
    if not wet.size:
        return {"bodies": 0}
    said, intervals = said_extents(seen, calibration, wet)
    chance = calibration.platt["edema"].probability(seen.heads[wet, column])
    told = chance >= calibration.operating_points["edema"].low
    truth = seen.extent_truth[wet]
    reported = np.where(told, said, 0.0)
    figures: dict[str, Any] = {
        "bodies": len(wet),
        "said": int(told.sum()),
        "mean_error_points": round(100 * float(np.abs(reported - truth).mean()), 2),
        "bins_right": share((reported >= 0.5) == (truth >= 0.5)),
    }
    if told.any():
        error = np.abs(said - truth)[told]
        figures["mean_error_points_said"] = round(100 * float(error.mean()), 2)
    if intervals is not None and told.any():
        low, high = intervals[told].T
        held = (low <= truth[told] + 1e-6) & (truth[told] <= high + 1e-6)
        figures |= {
            "interval_coverage": share(held),
            "interval_width_points": round(100 * float((high - low).mean()), 1),
        }
    return figures


def _etiology_sets(seen: Predictions, calibration: ScorerCalibration) -> dict[str, Any]:
    """Coverage and mean size of the etiology sets, per conformal group."""
    column = HEADS.index("pathological")
    probability = calibration.platt["pathological"].probability(seen.heads[:, column])
    truth = seen.targets[:, column]
    result = {}
    for group in SEQUENCE_SETS:
        asked = np.flatnonzero(np.isfinite(truth) & (groups_of(seen) == group))
        sets = [calibration.etiology_set(float(probability[i]), group) for i in asked]
        names = ["pathological" if truth[i] > 0.5 else "benign" for i in asked]
        result[group] = _covered([tuple(map(str, one)) for one in sets], names) | {
            "nominal": etiology_coverage(group)
        }
    return {group: found for group, found in result.items() if found["asked"]}


def _acuity_sets(seen: Predictions, calibration: ScorerCalibration) -> dict[str, Any]:
    """Coverage and mean size of the acuity sets, per conformal group."""
    chances = {
        name: calibration.platt[name].probability(seen.heads[:, HEADS.index(name)])
        for name in ("unhealed", "fracture")
    }
    truth, groups = acuity_truth(seen), groups_of(seen)
    result = {}
    for group in SEQUENCE_SETS:
        asked = [i for i, name in enumerate(truth) if name is not None and groups[i] == group]
        sets: list[tuple[Acuity, ...]] = [
            calibration.acuity_set(
                float(chances["unhealed"][i]), float(chances["fracture"][i]), group
            )
            for i in asked
        ]
        if sets and all(sets):
            names = [str(truth[i]) for i in asked]
            result[group] = _covered([tuple(map(str, one)) for one in sets], names) | {
                "nominal": ACUITY_COVERAGE
            }
    return result


def _covered(sets: list[tuple[str, ...]], truth: list[str]) -> dict[str, Any]:
    held = np.array([name in members for members, name in zip(sets, truth, strict=True)], bool)
    told = proportion(held)
    found = set_coverage(sets, truth)
    return {
        "asked": found.of,
        "coverage": rounded(told.share),
        "coverage_95": told.interval and [round(v, 4) for v in asdict(told.interval).values()],
        "mean_size": round(found.mean_size, 3),
    }


def _shape(seen: Predictions) -> dict[str, Any]:
    first = HEADS.index(f"shape_{SHAPES[0]}")
    columns = slice(first, first + len(SHAPES))
    truth = seen.targets[:, columns].argmax(axis=1)
    said = seen.heads[:, columns].argmax(axis=1)
    fractured = truth > 0
    return {
        "accuracy": share(truth == said),
        "accuracy_of_fractured": share((truth == said)[fractured]),
    }


def _learned_percent(seen: Predictions) -> NDArray[np.float64]:
    learned = 100.0 * seen.heads[:, HEADS.index("height_loss")].astype(np.float64)
    return np.clip(learned, 0.0, 100.0)


def _height_error(seen: Predictions, said: NDArray[np.float64]) -> dict[str, Any]:
    truth = 100.0 * seen.targets[:, HEADS.index("height_loss")].astype(np.float64)
    return height_figures(said, truth)


def height_figures(said: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, Any]:
    """Errors in points, and weighted kappa of the Genant grades they make."""
    deformed = truth >= 10.0
    grades = [[str(genant_grade(float(loss))) for loss in side] for side in (said, truth)]
    kappa = cohen_kappa(grades[0], grades[1], GRADES, "quadratic").value
    error = np.abs(said - truth)
    return {
        "levels": len(said),
        "mean_error_points": round(float(error.mean()), 2),
        "mean_error_points_deformed": round(float(error[deformed].mean()), 2)
        if deformed.any()
        else None,
        "genant_kappa_quadratic": rounded(kappa),
    }


def measured_height_error(pool: LevelPool, calibration: ScorerCalibration) -> dict[str, Any]:
    """Error of the measured height loss against the drawn one, study by study."""
    losses = measured_losses(pool, calibration.reference_heights_mm)
    known = [number for number, loss in enumerate(losses) if loss is not None]
    if not known:
        return {"levels": 0}
    said = np.array([loss.percent for loss in losses if loss is not None])
    truth = np.array([pool.about[number]["height_loss_percent"] for number in known])
    return height_figures(said, truth)
