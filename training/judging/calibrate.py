r"""Fit a site's own temperature and thresholds to a served scorer, without touching its weights.

    acuity train calibrate --manifest labels.parquet --split validation --out CANDIDATES \
        --version 0.3.0-site.1

The result is a bundle with the same network and new calibration; `compare` and `promote` take it
from there. A question with too few local cases keeps the served calibration, and says so; when
none has enough, nothing is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

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
from training.judging.thresholds import FittedTask, fit_task, needs_of
from training.scorer.conformal import conformal_quantile, etiology_coverage

FEWEST_CONFORMAL = 20
"""With fewer local answers a conformal quantile is kept as served."""


def site_calibration(judged: Judged, served: Bundle, chosen_on: str) -> dict[str, FittedTask]:
    """Fit every task that has enough cases.

    Raises:
        TooFewCasesError: None has.
    """
    known = read_calibration(served.metadata)
    found = {
        task: fit_task(judged, task, (known.platt[task], known.operating_points[task]), chosen_on)
        for task in TASKS
    }
    fitted = {task: one for task, one in found.items() if one is not None}
    if not fitted:
        told = "; ".join(f"{task}: {needs_of(judged, task).told}" for task in TASKS)
        raise TooFewCasesError(f"too few local cases to calibrate anything ({told})")
    return fitted


def with_calibration(
    served: Bundle, fitted: Mapping[str, FittedTask], judged: Judged, about: Mapping[str, str]
) -> dict[str, bytes]:
    """Files of a bundle with the served weights and the site's calibration.

    Args:
        served: What was calibrated.
        fitted: Of `site_calibration`.
        judged: The cases, for the conformal quantiles.
        about: "version", "chosen_on", "data_sha256".
    """
    content = dict(open_verified(served))
    document = json.loads((served.path / METADATA).read_bytes())
    section = document[SECTION]
    told = {}
    for task, one in fitted.items():
        section["calibration"]["platt"][task] = {"scale": one.platt.scale, "bias": one.platt.bias}
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
    section["calibration"]["fitted_on"] = about["chosen_on"]
    section["calibrated_from"] = {
        "name": served.name, "version": served.version, "sha256": served.sha256,
    }  # fmt: skip
    section["site_calibration"] = {"data_sha256": about["data_sha256"], "tasks": told}
    kept = [task for task in TASKS if task not in fitted]
    change = f"Site calibration of {', '.join(fitted)}" + (
        f"; {', '.join(kept)} as in {served.version}" if kept else ""
    )
    content[CARD] += _card_section(served, told, about).encode()
    return resealed(document, content, about["version"], change)


def _quantiles(judged: Judged, fitted: FittedTask) -> dict[str, float]:
    """Local conformal quantiles of the groups that have enough answers."""
    asked = judged.asked("pathological", answered=True)
    probability = fitted.platt.probability(judged.logit["pathological"].astype("float32"))
    truth = judged.truth["pathological"] > 0.5
    quantiles = {}
    for group in sorted(set(judged.group[asked].tolist())):
        these = asked & (judged.group == group)
        if int(these.sum()) >= FEWEST_CONFORMAL:
            right = [
                value if pathological else 1.0 - value
                for value, pathological in zip(probability[these], truth[these], strict=True)
            ]
            scores = 1.0 - np.array(right)
            quantiles[group] = conformal_quantile(scores, etiology_coverage(group))
    return quantiles


def _card_section(
    served: Bundle, told: Mapping[str, Mapping[str, Any]], about: Mapping[str, str]
) -> str:
    lines = [
        "",
        "## Site calibration",
        "",
        f"Weights of {served.name} {served.version} (sha256 {served.sha256}). Temperature and "
        f"thresholds fitted on {about['chosen_on']}, data sha256 {about['data_sha256']}. Figures "
        "above are those of the original thresholds.",
        "",
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


def calibrate(manifest: Manifest, model: Model, version: str, chosen_on: str) -> dict[str, bytes]:
    """Judge local cases and return the files of the calibrated bundle."""
    with progress_bar("reading") as progress:
        judged = read_cases(manifest, [model], progress=progress).judged[0]
    fitted = site_calibration(judged, model.scorer, chosen_on)
    about = {
        "version": version,
        "chosen_on": chosen_on,
        "data_sha256": data_digest(manifest),
    }
    return with_calibration(model.scorer, fitted, judged, about)


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
    content = calibrate(manifest, model, given.version, chosen_on)
    bundle = install(content, given.out)
    told = bundle.metadata[SECTION]["site_calibration"]["tasks"]
    for task in TASKS:
        if task in told:
            one = told[task]
            low, high = one["intervals_95"]["temperature"]
            sys.stdout.write(
                f"{task:<13} temperature {one['temperature']:.2f} ({low:.2f} to {high:.2f}), "
                f"{one['positives']} + {one['negatives']} levels"
                f"{', no change shown' if one['temperature'] == 1.0 else ''}\n"
            )
        else:
            sys.stdout.write(f"{task:<13} too few cases: kept as served\n")
    sys.stdout.write(f"{bundle.path}\n")


if __name__ == "__main__":
    main()
