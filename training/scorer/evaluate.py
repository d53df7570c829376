"""How good the scorer is on held-out synthetic cases: by question, by series shown, by stratum.

Every figure here is of synthetic spines and must be called so.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.findings import BodySize, Coverage, LevelName, Vertebra
from models.scorer.calibration import ScorerCalibration, sequence_set
from models.scorer.heads import BINARY_HEADS, HEADS, MIMICS, SHAPES
from models.scorer.measurements import height_losses
from models.scorer.network import ScorerNetwork
from training.scorer.calibrate import CALLED
from training.scorer.pool import LevelPool
from training.scorer.predict import MAP_LEVELS, Predictions, predict
from training.scorer.statistics import auroc, bootstrap_interval, expected_calibration_error

VIEWS: Final = {
    "as_acquired": (),
    "fluid_and_t1": ("t2", "dixon_fat"),
    "fluid_only": ("t1", "t2", "dixon_fat"),
    "no_fluid": ("fluid",),
}
"""What is hidden from the network for each part of the table."""


def evaluate(
    network: ScorerNetwork, pool: LevelPool, calibration: ScorerCalibration
) -> dict[str, Any]:
    """Every figure the model card shows, as plain JSON.

    Args:
        network: Trained.
        pool: Held-out levels that took no part in training or calibration.
        calibration: As read back from the bundle's metadata.
    """
    result: dict[str, Any] = {"levels": len(pool.crops), "data": "synthetic, held out"}
    for view, hide in VIEWS.items():
        seen = predict(network, pool, hide)
        result[view] = {
            name: _binary(seen, name, calibration)
            for name in (*CALLED, *(f"mimic_{mimic}" for mimic in MIMICS))
        }
        if view == "no_fluid":
            continue
        result[view]["extent"] = _extent(seen, calibration)
        result[view]["etiology_sets"] = _sets(seen, calibration)
        if view == "as_acquired":
            result[view]["shape"] = _shape(seen)
            result[view]["height_loss_learned"] = _height_error(seen)
            result["strata"] = _strata(seen, pool, calibration)
    result["height_loss_measured"] = measured_height_error(pool, calibration)
    return result


def _binary(seen: Predictions, name: str, calibration: ScorerCalibration) -> dict[str, Any]:
    truth = seen.targets[:, HEADS.index(name)]
    asked = np.isfinite(truth)
    if not asked.any():
        return {"asked": 0}
    probability = calibration.platt[name].probability(seen.heads[asked, HEADS.index(name)])
    positive = truth[asked] > 0.5
    figures: dict[str, Any] = {
        "asked": int(asked.sum()),
        "positive": int(positive.sum()),
        "auroc": _rounded(auroc(probability, positive)),
        "auroc_95": bootstrap_interval(probability, positive),
        "ece": _rounded(expected_calibration_error(probability, positive)),
    }
    if name in calibration.operating_points:
        point = calibration.operating_points[name]
        called, absent = probability >= point.high, probability < point.low
        figures |= {
            "sensitivity": _share(called[positive]),
            "specificity": _share(absent[~positive]),
            "indeterminate": _share(~called & ~absent),
        }
    return figures


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _share(flags: NDArray[np.bool_]) -> float | None:
    return round(float(flags.mean()), 4) if len(flags) else None


def _extent(seen: Predictions, calibration: ScorerCalibration) -> dict[str, Any]:
    """Mean error of the edematous part in points, and how often its bin is right."""
    wet = seen.targets[:, HEADS.index("edema")] > 0.5
    if not wet.any():
        return {"bodies": 0}
    column = MAP_LEVELS.index(calibration.map_threshold)
    predicted, truth = seen.extents[wet, column], seen.extent_truth[wet]
    return {
        "bodies": int(wet.sum()),
        "mean_error_points": round(100 * float(np.abs(predicted - truth).mean()), 2),
        "bins_right": _share((predicted >= 0.5) == (truth >= 0.5)),
    }


def _sets(seen: Predictions, calibration: ScorerCalibration) -> dict[str, Any]:
    """Coverage and mean size of the etiology sets, per sequence set."""
    column = HEADS.index("pathological")
    groups = np.array([sequence_set(presence) for presence in seen.presence])
    probability = calibration.platt["pathological"].probability(seen.heads[:, column])
    truth = seen.targets[:, column]
    result = {}
    for group in sorted(set(groups)):
        asked = np.flatnonzero(np.isfinite(truth) & (groups == group))
        sets = [calibration.etiology_set(float(probability[i]), group) for i in asked]
        right = [
            ("pathological" if truth[i] > 0.5 else "benign") in members
            for i, members in zip(asked, sets, strict=True)
        ]
        if sets:
            result[group] = {
                "asked": len(sets),
                "coverage": round(float(np.mean(right)), 4),
                "mean_size": round(float(np.mean([len(members) for members in sets])), 3),
            }
    return result


def _shape(seen: Predictions) -> dict[str, Any]:
    first = HEADS.index(f"shape_{SHAPES[0]}")
    columns = slice(first, first + len(SHAPES))
    truth = seen.targets[:, columns].argmax(axis=1)
    said = seen.heads[:, columns].argmax(axis=1)
    fractured = truth > 0
    return {
        "accuracy": _share(truth == said),
        "accuracy_of_fractured": _share((truth == said)[fractured]),
    }


def _height_error(seen: Predictions) -> dict[str, Any]:
    column = HEADS.index("height_loss")
    error = 100 * np.abs(seen.heads[:, column] - seen.targets[:, column])
    fractured = seen.targets[:, column] > 0.1
    return {
        "mean_error_points": round(float(error.mean()), 2),
        "mean_error_points_fractured": round(float(error[fractured].mean()), 2)
        if fractured.any()
        else None,
    }


def measured_height_error(pool: LevelPool, calibration: ScorerCalibration) -> dict[str, Any]:
    """Error of the measured height loss against the drawn one, study by study."""
    studies: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for about in pool.about:
        studies[about["case"], about["sequence_set"]].append(about)
    errors, fractured = [], []
    for levels in studies.values():
        vertebrae = [_vertebra(number, about) for number, about in enumerate(levels, start=1)]
        intact = [about["fracture"] == "none" for about in levels]
        losses = height_losses(vertebrae, intact, calibration.reference_heights_mm)
        for about, loss in zip(levels, losses, strict=True):
            if loss is not None:
                errors.append(abs(loss.percent - about["height_loss_percent"]))
                fractured.append(about["fracture"] != "none")
    wide = np.array(errors)
    return {
        "mean_error_points": round(float(wide.mean()), 2) if len(wide) else None,
        "mean_error_points_fractured": round(float(wide[np.array(fractured)].mean()), 2)
        if any(fractured)
        else None,
    }


def _vertebra(index: int, about: dict[str, Any]) -> Vertebra:
    heights = about["heights"]
    size = BodySize(0.0, 0.0, 0.0, *heights) if heights else None
    return Vertebra(
        index=index,
        name=LevelName(about["level"], 1.0),
        alternatives=(),
        coverage=Coverage.COMPLETE,
        centroid_lps_mm=np.zeros(3),
        axes_lps=np.eye(3),
        size=size,
        confidence=1.0,
    )


def _strata(
    seen: Predictions, pool: LevelPool, calibration: ScorerCalibration
) -> dict[str, dict[str, Any]]:
    """Unhealed against not, and how often edema is called, where it is hard."""
    unhealed = calibration.platt["unhealed"].probability(seen.heads[:, HEADS.index("unhealed")])
    edema = calibration.platt["edema"].probability(seen.heads[:, HEADS.index("edema")])
    truth = seen.targets[:, BINARY_HEADS.index("unhealed")]
    groups = {
        "no_deformity": [about["height_loss_percent"] < 10 for about in pool.about],
        "mild": [10 <= about["height_loss_percent"] < 25 for about in pool.about],
        "modic_1": ["modic_1" in about["mimics"] for about in pool.about],
        "faint_edema": [0.03 <= about["edema_fraction"] < 0.2 for about in pool.about],
        "red_marrow": ["red_marrow" in about["mimics"] for about in pool.about],
        "haemangioma": [
            bool({"haemangioma", "haemangioma_atypical"} & set(about["mimics"]))
            for about in pool.about
        ],
    }
    for roles in sorted({about["sequence_set"] for about in pool.about}):
        groups[roles] = [about["sequence_set"] == roles for about in pool.about]
    point = calibration.operating_points["edema"]
    result = {}
    for name, flags in groups.items():
        chosen = np.array(flags) & np.isfinite(truth)
        if not chosen.any():
            continue
        wet = seen.targets[:, HEADS.index("edema")]
        result[name] = {
            "levels": int(chosen.sum()),
            "unhealed_auroc": _rounded(auroc(unhealed[chosen], truth[chosen] > 0.5)),
            "edema_called_of_present": _share((edema >= point.high)[chosen & (wet == 1)]),
            "edema_called_of_absent": _share((edema >= point.high)[chosen & (wet == 0)]),
        }
    return result
