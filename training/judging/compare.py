r"""Compare a candidate with what serves, on the same cases, and say whether it may take its place.

    acuity train compare --manifest labels.parquet --split test --candidate DIR --out RUN

Paired tests: DeLong for AUROC, McNemar for calls, bootstrap over patients for the shares of calls.
The gates are non-inferiority: the lower bound of a difference must lie above a margin. Sensitivity
and specificity have no gates of their own, for thresholds trade one for the other: where the served
ones call too much, any that are right for a site lose sensitivity. What must not grow are errors;
and of all calls there must not be fewer right ones, both classes weighing the same and a doubt
counting half, as the toss of a coin would be right. A doubt that counted nothing would cost as much
as an error, and no thresholds could ever give up calls that are wrong for a site.

`RUN/comparison.json` is what `promote` asks for.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.durable import write_durably
from models.findings import Call
from models.registry import Bundle, read_bundle, resolve, verify
from service.settings import Settings
from training.datasets.checks import check_manifest
from training.datasets.manifest import read_manifest
from training.datasets.rows import Split
from training.datasets.selection import chosen, data_digest
from training.judging.cases import TASKS, Judged, same_cases, save_judged
from training.judging.errors import JudgingError
from training.judging.evaluate import open_model
from training.judging.figures import task_figures
from training.judging.learned import require_unseen
from training.judging.reading import read_cases
from training.judging.verdict import COMPARISON, SCHEMA, Gate, Margins, holds, sealed
from training.progress import progress_bar
from training.statistics.counts import mcnemar
from training.statistics.probabilities import calibration_curve
from training.statistics.resampling import Statistic, patient_bootstrap
from training.statistics.roc import delong_test

FEWEST: Final = 10
"""With fewer answered levels of a class a task is reported and has no gate."""

GATE_LEVEL: Final = 0.90
"""Two-sided interval whose lower bound is the one-sided 95 % bound of non-inferiority."""


def compare(served: Judged, candidate: Judged, margins: Margins | None = None) -> dict[str, Any]:
    """Paired figures, tests and gates of two models on the same cases.

    Raises:
        DifferentCasesError: The two are not of the same levels and labels.
        JudgingError: No gate could be formed: there are too few cases of every task.
    """
    same_cases(served, candidate)
    margins = margins or Margins()
    tasks = {task: _compare_task(served, candidate, task, margins) for task in TASKS}
    gates = [gate for one in tasks.values() for gate in one.pop("gates")]
    if not gates:
        raise JudgingError(
            f"no task has {FEWEST} answered levels of each class: nothing to compare"
        )
    gates += _body_gates(served, candidate, margins)
    return {
        "tasks": tasks,
        "gates": [asdict(gate) for gate in gates],
        "passed": all(gate.passed for gate in gates),
        "margins": asdict(margins),
    }


def _compare_task(served: Judged, candidate: Judged, task: str, margins: Margins) -> dict[str, Any]:
    asked = served.asked(task, answered=False)
    positive = served.truth[task] > 0.5
    result: dict[str, Any] = {
        "served": _short(task_figures(served, task, rounds=0)),
        "candidate": _short(task_figures(candidate, task, rounds=0)),
        "gates": [],
    }
    right = [_right(one, task)[asked] for one in (served, candidate)]
    result["mcnemar"] = asdict(mcnemar(right[0], right[1]))
    both = served.asked(task, answered=True) & candidate.asked(task, answered=True)
    if min(int(positive[both].sum()), int((~positive)[both].sum())) < FEWEST:
        return result
    scores = [one.probability[task][both] for one in (served, candidate)]
    test = delong_test(scores[0], scores[1], positive[both], GATE_LEVEL)
    if test is not None:
        result["delong"] = asdict(test)
        gate = _gate(f"{task}.auroc", test.difference, test.interval.low, margins.auroc)
        result["gates"].append(gate)
    result["gates"] += _call_gates(served, candidate, task, margins)
    result["gates"].append(_ece_gate(task, scores, positive[both], margins.ece))
    return result


def _right(judged: Judged, task: str) -> NDArray[np.bool_]:
    """(n,) whether the served call is the truth; undecided and withheld are not."""
    wanted = np.where(judged.truth[task] > 0.5, str(Call.PRESENT), str(Call.ABSENT))
    return np.asarray(judged.call[task] == wanted)


def _credit(judged: Judged, task: str) -> NDArray[np.float64]:
    """(n,) 1 for a right call, 0 for a wrong one, half for doubt and what is withheld."""
    definite = np.isin(judged.call[task], (str(Call.PRESENT), str(Call.ABSENT)))
    return np.where(_right(judged, task), 1.0, np.where(definite, 0.0, 0.5))


def _call_gates(served: Judged, candidate: Judged, task: str, margins: Margins) -> Iterator[Gate]:
    """Gates on missed positives, on false calls, and on right calls of both classes."""
    positive = served.truth[task] > 0.5
    for name, call, this in (("missed", Call.ABSENT, True), ("false", Call.PRESENT, False)):
        which = served.asked(task, answered=False) & (positive == this)
        wrong = [(one.call[task][which] == str(call)).astype(float) for one in (served, candidate)]
        gate = _share_gate(
            f"{task}.{name}", wrong[0] - wrong[1], served.patient[which], getattr(margins, name)
        )
        # Gained is what is no longer wrong; told is how much wrong calls have grown.
        yield _gate(gate.name, 0.0 - gate.difference, 0.0 - gate.bound, gate.margin)
    asked = served.asked(task, answered=False)
    gained = (_credit(candidate, task) - _credit(served, task))[asked]
    yield _bounded_gate(
        f"{task}.right",
        lambda these: _class_mean(gained[these], positive[asked][these]),
        served.patient[asked],
        margins.right,
    )


def _gate(name: str, difference: float, bound: float, margin: float) -> Gate:
    return Gate(name, difference, bound, margin, holds(name, bound, margin))


def _share_gate(
    name: str, gained: NDArray[np.float64], patients: NDArray[np.str_], margin: float
) -> Gate:
    """Gate on a mean gain of paired cases, bounded by bootstrap over patients."""
    return _bounded_gate(name, lambda these: float(gained[these].mean()), patients, margin)


def _bounded_gate(name: str, gain: Statistic, patients: NDArray[np.str_], margin: float) -> Gate:
    drawn = patient_bootstrap(gain, patients.tolist())
    interval = drawn.interval(GATE_LEVEL)
    found = gain(np.arange(len(patients)))
    difference = float("nan") if found is None else found  # what cannot be told does not pass
    return _gate(name, difference, difference if interval is None else interval.low, margin)


def _class_mean(gained: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """Mean of the mean gains of both classes; None where one is missing."""
    if positive.all() or not positive.any():
        return None
    return float((gained[positive].mean() + gained[~positive].mean()) / 2.0)


def _ece_gate(
    task: str, scores: Sequence[NDArray[np.float64]], positive: NDArray[np.bool_], margin: float
) -> Gate:
    errors = [calibration_curve(one, positive).expected_error for one in scores]
    grown = errors[1] - errors[0]
    return _gate(f"{task}.ece", grown, grown, margin)


def _body_gates(served: Judged, candidate: Judged, margins: Margins) -> list[Gate]:
    """Bodies found and named: they can only differ between two localisers."""
    gates = []
    for name in ("found", "named"):
        gained = getattr(candidate, name).astype(float) - getattr(served, name)
        if gained.any():
            gates.append(_share_gate(f"bodies.{name}", gained, served.patient, margins.found))
    return gates


def _short(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in found.items() if name not in ("selective", "calibration")
    }


def told(found: Mapping[str, Any]) -> str:
    """The comparison for a terminal."""
    lines = []
    for task in TASKS:
        one = found["tasks"][task]
        pair = [one[name].get("auroc") for name in ("served", "candidate")]
        if None not in pair:
            p_value = one["delong"]["p_value"] if "delong" in one else float("nan")
            lines.append(f"{task:<13} AUROC {pair[0]:.3f} -> {pair[1]:.3f} (p {p_value:.3g})")
        for name in ("sensitivity", "specificity"):
            shares = [one[which][name]["share"] for which in ("served", "candidate")]
            if None not in shares:
                lines.append(f"{'':<13} {name} {shares[0]:.3f} -> {shares[1]:.3f}")
    for gate in found["gates"]:
        mark = "passed" if gate["passed"] else "FAILED"
        lines.append(
            f"{mark}  {gate['name']}: {gate['difference']:+.3f}, bound {gate['bound']:+.3f}, "
            f"margin {gate['margin']:.3f}"
        )
    lines.append("all gates passed" if found["passed"] else "not promotable")
    return "\n".join(lines) + "\n"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    usual = Margins()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--split", action="append", default=[], choices=[str(one) for one in Split])
    parser.add_argument("--candidate", type=Path, required=True, help="bundle folder")
    parser.add_argument("--served", type=Path, help="bundle folder; what serves if not given")
    parser.add_argument("--out", type=Path, required=True)
    for name, value in asdict(usual).items():
        parser.add_argument(f"--margin-{name}", type=float, default=value)
    return parser.parse_args(arguments)


def served_beside(candidate: Bundle, given: Path | None, settings: Settings) -> Bundle:
    """The bundle that a candidate would replace.

    Raises:
        JudgingError: It is the candidate itself.
    """
    served = (
        read_bundle(given) if given else resolve(candidate.name, bundle_dir=settings.bundle_dir)
    )
    if served.sha256 == candidate.sha256:
        raise JudgingError("the candidate is the bundle that serves")
    return served


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare a candidate bundle with the one that serves."""
    given = _arguments(arguments)
    settings = Settings()
    candidate = read_bundle(given.candidate)
    verify(candidate)
    served = served_beside(candidate, given.served, settings)
    manifest = read_manifest(given.manifest)
    check_manifest(manifest).require_sound()
    manifest = chosen(manifest, given.split)
    require_unseen(candidate, manifest, by_calibration=True)
    models = [
        open_model(settings, **{candidate.name: bundle.path}) for bundle in (served, candidate)
    ]
    with progress_bar("reading") as progress:
        readings = read_cases(manifest, models, progress=progress)
    margins = Margins(**{name: getattr(given, f"margin_{name}") for name in asdict(Margins())})
    found = compare(readings.judged[0], readings.judged[1], margins)
    found |= {
        "schema": SCHEMA,
        "name": candidate.name,
        "served": {"version": served.version, "sha256": served.sha256},
        "candidate": {"version": candidate.version, "sha256": candidate.sha256},
        "data_sha256": data_digest(manifest),
        "levels": len(readings.judged[0]),
        "studies": readings.studies,
        "unread": readings.unread,
        "synthetic": all(row.source == "phantom" for row in manifest.rows),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    for name, judged, model in zip(("served", "candidate"), readings.judged, models, strict=True):
        save_judged(given.out / f"{name}.parquet", judged, {"bundles": model.names})
    write_durably(given.out / COMPARISON, json.dumps(sealed(found), indent=1).encode())
    sys.stdout.write(told(found))


if __name__ == "__main__":
    main()
