"""Every figure of an evaluation, as plain JSON, from judged levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Call
from training.judging.cases import FACTS, TASKS, UNKNOWN, WITHHELD, Judged
from training.statistics.counts import Proportion, proportion
from training.statistics.probabilities import calibration_curve, selective_curve, set_coverage
from training.statistics.resampling import patient_bootstrap
from training.statistics.roc import Interval, auprc, auroc, both_classes, delong_interval

FEWEST: Final = 10
"""Levels of a class under which a subgroup gets counts and no figures."""

ETIOLOGY: Final = "pathological"


def figures(judged: Judged, *, rounds: int = 1000) -> dict[str, Any]:
    """Everything about one model.

    Args:
        judged: Its answers.
        rounds: Draws of the patient bootstrap.
    """
    return {
        "levels": len(judged),
        "patients": len(set(judged.patient.tolist())),
        "found": _told(proportion(judged.found)),
        "named": _told(proportion(judged.named)),
        "tasks": {task: task_figures(judged, task, rounds=rounds) for task in TASKS},
        "conformal": conformal_figures(judged),
        "subgroups": {name: subgroup_figures(judged, name) for name in FACTS},
    }


def task_figures(judged: Judged, task: str, *, rounds: int = 1000) -> dict[str, Any]:
    """Figures of one task.

    AUROC, calibration and selective prediction are over the levels that were answered; sensitivity
    and specificity are over all that were asked, so that what was not found or withheld counts as
    not called. Without `rounds` there are no bootstrap intervals.
    """
    asked = judged.asked(task, answered=False)
    answered = judged.asked(task, answered=True)
    truth = judged.truth[task] > 0.5
    result: dict[str, Any] = {
        "asked": int(asked.sum()),
        "positive": int(truth[asked].sum()),
        "answered": int(answered.sum()),
        **operating_figures(judged.taken(asked), task),
    }
    if not both_classes(truth[answered]):
        return result
    scores, positive = judged.probability[task][answered], truth[answered]
    patients = judged.patient[answered].tolist()
    curve, selective = calibration_curve(scores, positive), selective_curve(scores, positive)
    return result | {
        "auroc": auroc(scores, positive),
        "auroc_delong_95": _interval(delong_interval(scores, positive)),
        "auroc_bootstrap_95": _resampled(scores, positive, patients, auroc, rounds),
        "auprc": auprc(scores, positive),
        "auprc_bootstrap_95": _resampled(scores, positive, patients, auprc, rounds),
        "ece": curve.expected_error,
        "ece_bootstrap_95": _resampled(scores, positive, patients, _expected_error, rounds),
        "calibration": asdict(curve),
        "aurc": selective.area,
        "selective": _thinned(selective.coverage, selective.error),
    }


def operating_figures(judged: Judged, task: str) -> dict[str, Any]:
    """Sensitivity and specificity of the served calls, of levels that were all asked."""
    call, positive = judged.call[task], judged.truth[task] > 0.5
    unclear = np.isin(call, (Call.INDETERMINATE, WITHHELD))
    return {
        "sensitivity": _told(proportion((call == Call.PRESENT)[positive])),
        "specificity": _told(proportion((call == Call.ABSENT)[~positive])),
        "false_positive": _told(proportion((call == Call.PRESENT)[~positive])),
        "false_negative": _told(proportion((call == Call.ABSENT)[positive])),
        "undecided": _told(proportion(unclear)),
    }


def conformal_figures(judged: Judged) -> dict[str, Any]:
    """Coverage and size of the etiology sets, by conformal group."""
    given = judged.asked(ETIOLOGY, answered=False) & (judged.etiology_set != "")
    found: dict[str, Any] = {}
    for group in sorted(set(judged.group[given].tolist())):
        chosen = given & (judged.group == group)
        truth = [ETIOLOGY if one > 0.5 else "benign" for one in judged.truth[ETIOLOGY][chosen]]
        sets = [tuple(str(one).split("+")) for one in judged.etiology_set[chosen]]
        coverage = set_coverage(sets, truth)
        held = np.array([name in members for name, members in zip(truth, sets, strict=True)])
        found[group] = _told(proportion(held)) | {"mean_size": coverage.mean_size}
    return found


def subgroup_figures(judged: Judged, fact: str) -> dict[str, Any]:
    """AUROC and served calls of every task in every stratum of a fact."""
    strata = judged.facts[fact]
    known = sorted(set(strata.tolist()) - {UNKNOWN})
    return {
        stratum: {task: _of_stratum(judged.taken(strata == stratum), task) for task in TASKS}
        for stratum in known
    }


def _of_stratum(judged: Judged, task: str) -> dict[str, Any]:
    asked = judged.asked(task, answered=False)
    positive = judged.truth[task][asked] > 0.5
    result: dict[str, Any] = {"asked": int(asked.sum()), "positive": int(positive.sum())}
    if not asked.any():
        return result
    result |= operating_figures(judged.taken(asked), task)
    answered = judged.asked(task, answered=True)
    scores, truth = judged.probability[task][answered], judged.truth[task][answered] > 0.5
    if min(int(truth.sum()), int((~truth).sum())) >= FEWEST:
        result["auroc"] = auroc(scores, truth)
        result["auroc_delong_95"] = _interval(delong_interval(scores, truth))
    return result


Figure = Callable[[NDArray[np.floating], NDArray[np.bool_]], float | None]


def _resampled(
    scores: NDArray[np.float64],
    positive: NDArray[np.bool_],
    patients: list[str],
    figure: Figure,
    rounds: int,
) -> list[float] | None:
    if not rounds:
        return None
    drawn = patient_bootstrap(
        lambda these: figure(scores[these], positive[these]), patients, rounds
    )
    return _interval(drawn.interval())


def _expected_error(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float | None:
    return calibration_curve(scores, positive).expected_error


def _interval(interval: Interval | None) -> list[float] | None:
    """An interval for JSON; one without width rests on too little to be one."""
    if interval is None or interval.low == interval.high:
        return None
    return [interval.low, interval.high]


def _told(one: Proportion) -> dict[str, Any]:
    return {
        "hits": one.hits,
        "of": one.of,
        "share": one.share,
        "wilson_95": _interval(one.interval),
    }


def _thinned(
    coverage: NDArray[np.float64], error: NDArray[np.float64], points: int = 50
) -> Mapping[str, list[float]]:
    """A curve at evenly spread places, for JSON and drawing."""
    place = np.unique(np.linspace(0, len(coverage) - 1, points).round().astype(int))
    return {"coverage": coverage[place].tolist(), "error": error[place].tolist()}
