r"""Fit a site's own temperature and thresholds to a served scorer, without touching its weights.

    acuity train calibrate --manifest labels.parquet --split validation --out CANDIDATES \
        --version 0.3.0-site.1

The result is a bundle with the same network and new calibration; `compare` and `promote` take it
from there. A question with too few local cases keeps the served calibration, and says so; when
none has enough, nothing is written. A candidate with other weights is first brought level with what
serves: training moves all answers to a question up or down a little, and thresholds that mean
something else than before are no thresholds that anybody chose. That needs no labels, and is done
where there are too few of them for the rest. Choose cases that it did not learn from.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.findings import Call
from models.manifest import CARD, METADATA, SECTION
from models.registry import Bundle, install, open_verified
from models.scorer.calibration import read_calibration
from service.settings import Settings
from training.datasets.checks import check_manifest
from training.datasets.manifest import Manifest, read_manifest
from training.datasets.rows import Split
from training.datasets.selection import chosen, data_digest
from training.judging.cases import TASKS, Judged
from training.judging.errors import TooFewCasesError
from training.judging.evaluate import open_model, progress_bar
from training.judging.reading import Model, read_cases
from training.judging.rebundle import resealed
from training.judging.thresholds import RULE_OF_THREE, FittedTask, composed, fit_task, needs_of
from training.scorer.conformal import conformal_quantile, etiology_coverage

FEWEST_ALIKE = 20
"""With fewer levels a median difference of two models is not told."""


def site_calibration(
    judged: Judged, served: Bundle, chosen_on: str, shifts: Mapping[str, float] | None = None
) -> dict[str, FittedTask]:
    """Fit every task that has enough cases.

    Args:
        judged: Local cases, none of which has taught what answered them.
        served: What answered them.
        chosen_on: The cases in words, for the bundle.
        shifts: Of `level_shifts`; None where the answers already lie where they lay.

    Raises:
        TooFewCasesError: None has.
    """
    known = read_calibration(served.metadata)
    found = {
        task: fit_task(
            judged,
            task,
            (
                composed(known.platt[task], 1.0, (shifts or {}).get(task, 0.0)),
                known.operating_points[task],
            ),
            chosen_on,
        )
        for task in TASKS
    }
    fitted = {task: one for task, one in found.items() if one is not None}
    if not fitted:
        told = "; ".join(f"{task}: {needs_of(judged, task).told}" for task in TASKS)
        raise TooFewCasesError(f"too few local cases to calibrate anything ({told})")
    return fitted


def level_shifts(before: Judged, after: Judged) -> dict[str, float]:
    """What is added to a candidate's calibrated logits to bring them level with what serves.

    The median difference over the bodies that have something to judge, whatever is true of them:
    where the answers to all other bodies lie moves no call. Local cases with labels may show that
    a candidate's own level is the better one; that is for `fit_task` to find.

    Args:
        before: Answers of what serves.
        after: Of the candidate, to the same levels.

    Returns:
        Task to shift; without those that fewer than `FEWEST_ALIKE` levels tell of.
    """
    absent = str(Call.ABSENT)
    told = (before.call["edema"] != absent) | (before.call["fracture"] != absent)
    shifts = {}
    for task in TASKS:
        apart = _log_odds(before.probability[task]) - _log_odds(after.probability[task])
        apart = apart[told & np.isfinite(apart)]
        if len(apart) >= FEWEST_ALIKE:
            shifts[task] = round(float(np.median(apart)), 4)
    return shifts


def _log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    held = np.clip(probability, 1e-6, 1.0 - 1e-6)
    return np.asarray(np.log(held) - np.log1p(-held))


@dataclass(frozen=True, slots=True)
class Levelled:
    """How a candidate was brought level with what serves.

    Attributes:
        to: What serves.
        shifts: Of `level_shifts`.
    """

    to: Bundle
    shifts: Mapping[str, float]


def with_calibration(
    served: Bundle,
    fitted: Mapping[str, FittedTask],
    judged: Judged,
    about: Mapping[str, str],
    levelled: Levelled | None = None,
) -> dict[str, bytes]:
    """Files of a bundle with the served weights and the site's calibration.

    Args:
        served: What was calibrated.
        fitted: Of `site_calibration`.
        judged: The cases, for the conformal quantiles.
        about: "version", "chosen_on", "data_sha256".
        levelled: How the answers of other weights than those that serve were moved beforehand.
    """
    content = dict(open_verified(served))
    document = json.loads((served.path / METADATA).read_bytes())
    section = document[SECTION]
    told = {}
    platts = {task: one.platt for task, one in fitted.items()}
    if levelled is not None:
        known = read_calibration(served.metadata)
        for task in levelled.shifts.keys() - platts.keys():
            platts[task] = composed(known.platt[task], 1.0, levelled.shifts[task])
        section["levelled"] = {
            "to": _named(levelled.to),
            "shifts": dict(levelled.shifts),
            "data_sha256": about["data_sha256"],
        }
    for task, platt in platts.items():
        section["calibration"]["platt"][task] = {"scale": platt.scale, "bias": platt.bias}
    for task, one in fitted.items():
        point = {"low": one.point.low, "high": one.point.high}
        point |= {"sensitivity": one.point.sensitivity, "specificity": one.point.specificity}
        section["operating_points"][task] = point | {"chosen_on": one.point.chosen_on}
        told[task] = {
            "temperature": one.temperature,
            "shift": one.shift,
            "intervals_95": {name: [i.low, i.high] for name, i in one.intervals.items()},
            **asdict(one.needs),
        }
    if "pathological" in fitted:
        section["calibration"]["etiology_quantile"] |= _quantiles(judged, fitted["pathological"])
    if fitted:
        section["calibration"]["fitted_on"] = about["chosen_on"]
    section["calibrated_from"] = _named(served)
    section["site_calibration"] = {"data_sha256": about["data_sha256"], "tasks": told}
    content[CARD] += _card_section(served, told, about, levelled).encode()
    return resealed(document, content, about["version"], _change(served, fitted, levelled))


def _change(served: Bundle, fitted: Mapping[str, FittedTask], levelled: Levelled | None) -> str:
    """For the bundle's changelog."""
    kept = [task for task in TASKS if task not in fitted]
    told = [] if levelled is None else [f"Brought level with {levelled.to.version}"]
    if fitted:
        told.append(f"Site calibration of {', '.join(fitted)}")
    if fitted and kept:
        told.append(f"{', '.join(kept)} as in {served.version}")
    return "; ".join(told)


def _named(bundle: Bundle) -> dict[str, str]:
    return {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256}


def _quantiles(judged: Judged, fitted: FittedTask) -> dict[str, float]:
    """Local conformal quantiles of the groups that have enough answers, as for a threshold."""
    asked = judged.asked("pathological", answered=True)
    probability = fitted.platt.probability(judged.logit["pathological"].astype("float32"))
    truth = judged.truth["pathological"] > 0.5
    quantiles = {}
    for group in sorted(set(judged.group[asked].tolist())):
        these = asked & (judged.group == group)
        coverage = etiology_coverage(group)
        if int(these.sum()) * (1.0 - coverage) >= RULE_OF_THREE:
            right = [
                value if pathological else 1.0 - value
                for value, pathological in zip(probability[these], truth[these], strict=True)
            ]
            scores = 1.0 - np.array(right)
            quantiles[group] = conformal_quantile(scores, coverage)
    return quantiles


def _card_section(
    served: Bundle,
    told: Mapping[str, Mapping[str, Any]],
    about: Mapping[str, str],
    levelled: Levelled | None,
) -> str:
    lines = [
        "",
        "## Site calibration",
        "",
        f"Weights of {served.name} {served.version} (sha256 {served.sha256}). "
        f"Data: {about['chosen_on']}, sha256 {about['data_sha256']}. Figures above are those of "
        "the original thresholds.",
        *_levelled_lines(levelled),
        "",
        "Temperature and thresholds fitted to these cases:"
        if told
        else "Temperature and thresholds are kept: there are too few cases.",
        "",
    ]
    if told:
        lines += [
            "| question | temperature (95 %) | sensitivity (95 %) | specificity (95 %) | levels |",
            "|---|---|---|---|---|",
        ]
    for task, one in told.items():
        spans = one["intervals_95"]
        cells = [
            f"{one['temperature']:.2f} ({spans['temperature'][0]:.2f} to "
            f"{spans['temperature'][1]:.2f})",
            *(f"{spans[name][0]:.2f} to {spans[name][1]:.2f}"
              for name in ("sensitivity", "specificity")),
            f"{one['positives']} + {one['negatives']}",
        ]  # fmt: skip
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _levelled_lines(levelled: Levelled | None) -> list[str]:
    if levelled is None:
        return []
    shifts = ", ".join(f"{task} {shift:+.2f}" for task, shift in levelled.shifts.items())
    return [
        "",
        f"Its answers are first brought level with those of {levelled.to.name} "
        f"{levelled.to.version} to the same bodies, in log odds: {shifts or 'none'}.",
    ]


def calibrate(
    manifest: Manifest, model: Model, version: str, chosen_on: str, serving: Model | None = None
) -> dict[str, bytes]:
    """Judge local cases and return the files of the calibrated bundle.

    Args:
        manifest: The cases.
        model: What is calibrated.
        version: Of the new bundle.
        chosen_on: The cases in words.
        serving: What serves, where that is something else.
    """
    models = [model] if serving is None else [model, serving]
    with progress_bar("reading") as progress:
        judged, *other = read_cases(manifest, models, progress=progress).judged
    about = {
        "version": version,
        "chosen_on": chosen_on,
        "data_sha256": data_digest(manifest),
    }
    if serving is None:
        fitted = site_calibration(judged, model.scorer, chosen_on)
        return with_calibration(model.scorer, fitted, judged, about)
    (before,) = other
    levelled = Levelled(serving.scorer, level_shifts(before, judged))
    try:
        fitted = site_calibration(judged, model.scorer, chosen_on, levelled.shifts)
    except TooFewCasesError:
        if not levelled.shifts:
            raise
        fitted = {}
    return with_calibration(model.scorer, fitted, judged, about, levelled)


def main(arguments: Sequence[str] | None = None) -> None:
    """Calibrate a scorer to a site's own cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--split", action="append", default=[], choices=[str(one) for one in Split])
    parser.add_argument("--localiser", type=Path, help="bundle folder; the served one if not given")
    parser.add_argument("--scorer", type=Path, help="bundle folder; the served one if not given")
    parser.add_argument("--version", required=True, help="of the new bundle")
    parser.add_argument("--out", type=Path, required=True, help="folder of candidate bundles")
    given = parser.parse_args(arguments)
    manifest = read_manifest(given.manifest)
    check_manifest(manifest).require_sound()
    manifest = chosen(manifest, given.split)
    studies = len({row.study_instance_uid for row in manifest.rows})
    chosen_on = f"{studies} local studies ({', '.join(given.split) or 'every split'})"
    model = open_model(Settings(), given.localiser, given.scorer)
    serving = open_model(Settings(), given.localiser) if given.scorer else None
    if serving is not None and serving.scorer.sha256 == model.scorer.sha256:
        serving = None
    content = calibrate(manifest, model, given.version, chosen_on, serving)
    bundle = install(content, given.out)
    told = bundle.metadata[SECTION]["site_calibration"]["tasks"]
    shifts = bundle.metadata[SECTION].get("levelled", {}).get("shifts", {})
    for task in TASKS:
        if task in told:
            one = told[task]
            low, high = one["intervals_95"]["temperature"]
            sys.stdout.write(
                f"{task:<13} temperature {one['temperature']:.2f} ({low:.2f} to {high:.2f}), "
                f"{one['positives']} + {one['negatives']} levels"
                f"{', no change shown' if one['temperature'] == 1.0 else ''}"
            )
        else:
            sys.stdout.write(f"{task:<13} too few cases: kept as served")
        if task in shifts:
            sys.stdout.write(f"; brought level by {shifts[task]:+.2f}")
        sys.stdout.write("\n")
    sys.stdout.write(f"{bundle.path}\n")


if __name__ == "__main__":
    main()
