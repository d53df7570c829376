r"""Fit a site's own temperature and thresholds to a served scorer, without touching its weights.

    acuity train calibrate --manifest labels.parquet --split validation --out CANDIDATES \
        --version 0.3.0-site.1

The result is a bundle with the same network and new calibration; `compare` and `promote` take it
from there. A question with too few local cases keeps the served calibration, and says so; when
none has enough, nothing is written. Of a candidate with other weights, a threshold for which there
are too few cases is laid where as many levels lie beyond it as with what serves: training moves all
answers to a question up or down, and on another scale the same number is another threshold. That
needs no labels.

Choose cases that it did not learn from. A candidate of a crossed run learned from both parts of its
manifest; `--run RUN` lets the half that did not see a study answer for it.
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

from models.manifest import CARD, METADATA, SECTION
from models.registry import Bundle, install, open_verified, read_bundle, require_free
from models.scorer.calibration import OperatingPoint, read_calibration
from service.settings import Settings
from training.crossing import PARTS, half_bundle, other_part
from training.datasets.checks import check_manifest
from training.datasets.manifest import Manifest, read_manifest
from training.datasets.rows import Split
from training.datasets.selection import chosen, data_digest
from training.judging.cases import TASKS, Judged, joined
from training.judging.errors import JudgingError, TooFewCasesError
from training.judging.evaluate import bundle_at, open_model
from training.judging.learned import (
    CALIBRATED_ON,
    learned_parts,
    noted,
    require_unseen,
    trained,
)
from training.judging.reading import Model, read_cases
from training.judging.rebundle import require_version, resealed
from training.judging.thresholds import (
    Before,
    FittedTask,
    as_many,
    fit_task,
    needs_of,
)
from training.progress import progress_bar
from training.scorer.conformal import conformal_quantile, etiology_coverage

FEWEST_OUTSIDE = 3.0
"""Answers that a local prediction set may leave out; with fewer it would hold nearly everything."""


def site_calibration(
    judged: Judged, served: Bundle, chosen_on: str, before: Before | None = None
) -> dict[str, FittedTask]:
    """Fit every task that has enough cases.

    Args:
        judged: Local cases, none of which has taught what answered them.
        served: What answered them.
        chosen_on: The cases in words, for the bundle.
        before: What serves and its answers to the same; None where it has the same weights.

    Raises:
        TooFewCasesError: None has.
    """
    known = read_calibration(served.metadata)
    found = {
        task: fit_task(
            judged, task, (known.platt[task], known.operating_points[task]), chosen_on, before
        )
        for task in TASKS
    }
    fitted = {task: one for task, one in found.items() if one is not None}
    if not fitted:
        told = "; ".join(f"{task}: {needs_of(judged, task).told}" for task in TASKS)
        raise TooFewCasesError(f"too few local cases to calibrate anything ({told})")
    return fitted


@dataclass(frozen=True, slots=True)
class Alike:
    """Thresholds of other weights that were laid by how many levels lie beyond them.

    Attributes:
        to: What serves.
        points: Of `as_many`, by task; without those that have cases enough for thresholds of their
            own, or that too few levels tell of.
    """

    to: Bundle
    points: Mapping[str, OperatingPoint]


def alike(judged: Judged, before: Before, to: Bundle, fitted: Mapping[str, FittedTask]) -> Alike:
    """Thresholds of the tasks that have too few cases.

    Args:
        judged: Answers of a candidate.
        before: Of what serves, to the same levels.
        to: What serves.
        fitted: Of `site_calibration`.
    """
    points = {
        task: as_many(before, task, judged.probability[task])
        for task in TASKS
        if task not in fitted
    }
    return Alike(to, {task: point for task, point in points.items() if point is not None})


def with_calibration(
    served: Bundle,
    fitted: Mapping[str, FittedTask],
    judged: Judged,
    about: Mapping[str, str],
    laid: Alike | None = None,
    cases: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """Files of a bundle with the served weights and the site's calibration.

    Args:
        served: What was calibrated.
        fitted: Of `site_calibration`.
        judged: The cases, for the conformal quantiles.
        about: "version", "chosen_on", "data_sha256".
        laid: Thresholds of other weights than those that serve.
        cases: The cases as `noted`: nothing is compared on what it was calibrated on.
    """
    content = dict(open_verified(served))
    document = json.loads((served.path / METADATA).read_bytes())
    section = document[SECTION]
    told = {}
    if laid is not None:
        section["thresholds_as_many"] = {"as": _named(laid.to), "tasks": sorted(laid.points)}
        for task, kept in laid.points.items():
            moved = f"{kept.chosen_on}; laid to call as many as {laid.to.version}"
            edges = {"low": kept.low, "high": kept.high, "chosen_on": moved}
            section["operating_points"][task] |= edges
    for task, one in fitted.items():
        pair = {"scale": one.platt.scale, "bias": one.platt.bias}
        section["calibration"]["platt"][task] = pair
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
    if cases is not None:
        told_before = section.setdefault("trained", {})
        told_before[CALIBRATED_ON] = [*told_before.get(CALIBRATED_ON, ()), dict(cases)]
    section["site_calibration"] = {"data_sha256": about["data_sha256"], "tasks": told}
    content[CARD] += _card_section(served, told, about, laid).encode()
    return resealed(document, content, about["version"], _change(served, fitted, laid))


def _change(served: Bundle, fitted: Mapping[str, FittedTask], laid: Alike | None) -> str:
    """For the bundle's changelog."""
    points = laid.points if laid is not None else {}
    kept = [task for task in TASKS if task not in fitted and task not in points]
    told = [f"Site calibration of {', '.join(fitted)}"] if fitted else []
    if laid is not None and points:
        told.append(f"thresholds of {', '.join(points)} call as many as {laid.to.version}")
    if told and kept:
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
        if int(these.sum()) * (1.0 - coverage) >= FEWEST_OUTSIDE:
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
    laid: Alike | None,
) -> str:
    lines = [
        "",
        "## Site calibration",
        "",
        f"Weights of {served.name} {served.version} (sha256 {served.sha256}). "
        f"Data: {about['chosen_on']}, sha256 {about['data_sha256']}. Figures above are those of "
        "the original thresholds.",
        *_laid_lines(laid),
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


def _laid_lines(laid: Alike | None) -> list[str]:
    if laid is None or not laid.points:
        return []
    return [
        "",
        f"Thresholds of {', '.join(laid.points)}: as many local levels lie beyond them as with "
        f"{laid.to.name} {laid.to.version}, but none is called present below an even chance.",
    ]


@dataclass(frozen=True, slots=True)
class Answering:
    """Cases, and the model that answers for what is calibrated: one that did not learn from them.

    Attributes:
        manifest: The cases.
        model: The calibrated one itself, or a half of its crossed run.
    """

    manifest: Manifest
    model: Model


def answering(
    manifest: Manifest, model: Model, run: Path | None, localiser: Path | None = None
) -> list[Answering]:
    """Who answers which cases.

    Args:
        manifest: The cases.
        model: What is calibrated.
        run: Folder of the crossed run that it comes from; None where the cases are new to it.
        localiser: Bundle folder; the served one if not given.

    Raises:
        JudgingError: The run is another one.
        SeenCasesError: The model learned from these cases and no half of its run is there to
            answer, or the half that would answer learned from them too: the manifest has changed.
    """
    splits = {row.split for row in manifest.rows}
    if run is None:
        require_unseen(model.scorer, manifest)
        return [Answering(manifest, model)]
    if learned_parts(model.scorer) != set(PARTS) or (
        trained(model.scorer)["data_sha256"] != _data_of(run)
    ):
        raise JudgingError("the candidate is not of this run, or the run is not crossed")
    if not splits <= set(PARTS):
        raise JudgingError("a crossed run answers for what it learned from: leave out --split test")
    halves = {part: half_bundle(run, model.scorer.name, other_part(part)) for part in PARTS}
    cases = {part: chosen(manifest, [part]) for part in PARTS if part in splits}
    for part, those in cases.items():
        require_unseen(read_bundle(halves[part]), those)
    return [
        Answering(those, open_model(Settings(), localiser, halves[part]))
        for part, those in cases.items()
    ]


def _data_of(run: Path) -> str:
    try:
        return str(json.loads((run / "data.json").read_bytes())["sha256"])
    except (OSError, ValueError, KeyError) as error:
        raise JudgingError("the run folder has no readable data.json") from error


def calibrate(
    cases: Sequence[Answering],
    model: Model,
    about: Mapping[str, str],
    serving: Model | None = None,
) -> dict[str, bytes]:
    """Judge local cases and return the files of the calibrated bundle.

    Args:
        cases: Of `answering`.
        model: What is calibrated.
        about: "version", "chosen_on", "data_sha256".
        serving: What serves, where that is something else.
    """
    read = []
    for one in cases:
        models = [one.model] if serving is None else [one.model, serving]
        with progress_bar("reading") as progress:
            read.append(read_cases(one.manifest, models, progress=progress).judged)
    judged, *other = (joined(parts) for parts in zip(*read, strict=True))
    chosen_on = about["chosen_on"]
    rows = [row for one in cases for row in one.manifest.rows]
    used = noted(rows, about["data_sha256"])
    if serving is None:
        fitted = site_calibration(judged, model.scorer, chosen_on)
        return with_calibration(model.scorer, fitted, judged, about, cases=used)
    points = read_calibration(serving.scorer.metadata).operating_points
    before = Before(other[0], points)
    try:
        fitted = site_calibration(judged, model.scorer, chosen_on, before)
    except TooFewCasesError:
        fitted = {}
        if not (laid := alike(judged, before, serving.scorer, fitted)).points:
            raise
    else:
        laid = alike(judged, before, serving.scorer, fitted)
    return with_calibration(model.scorer, fitted, judged, about, laid, used)


def main(arguments: Sequence[str] | None = None) -> None:
    """Calibrate a scorer to a site's own cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--split", action="append", default=[], choices=[str(one) for one in Split])
    parser.add_argument("--localiser", type=Path, help="bundle folder; the served one if not given")
    parser.add_argument("--scorer", type=Path, help="bundle folder; the served one if not given")
    parser.add_argument("--run", type=Path, help="crossed run of the scorer: its halves answer")
    parser.add_argument("--version", required=True, help="of the new bundle")
    parser.add_argument("--out", type=Path, required=True, help="folder of candidate bundles")
    given = parser.parse_args(arguments)
    require_version(given.version)
    calibrated = bundle_at(given.scorer, Settings().scorer_bundle, Settings())
    require_free(given.out, calibrated.name, given.version)
    manifest = read_manifest(given.manifest)
    check_manifest(manifest).require_sound()
    manifest = chosen(manifest, given.split or (PARTS if given.run else ()))
    model = open_model(Settings(), given.localiser, given.scorer)
    serving = open_model(Settings(), given.localiser) if given.scorer else None
    if serving is not None and serving.scorer.sha256 == model.scorer.sha256:
        serving = None
    studies = len({row.study_instance_uid for row in manifest.rows})
    splits = ", ".join(given.split) or ("each by the other half" if given.run else "every split")
    about = {
        "version": given.version,
        "chosen_on": f"{studies} local studies ({splits})",
        "data_sha256": data_digest(manifest),
    }
    cases = answering(manifest, model, given.run, given.localiser)
    bundle = install(calibrate(cases, model, about, serving), given.out)
    told = bundle.metadata[SECTION]["site_calibration"]["tasks"]
    laid = bundle.metadata[SECTION].get("thresholds_as_many", {}).get("tasks", ())
    for task in TASKS:
        if task in told:
            one = told[task]
            low, high = one["intervals_95"]["temperature"]
            sys.stdout.write(
                f"{task:<13} temperature {one['temperature']:.2f} ({low:.2f} to {high:.2f}), "
                f"{one['positives']} + {one['negatives']} levels"
                f"{', no change shown' if one['temperature'] == 1.0 else ''}\n"
            )
        elif task in laid:
            sys.stdout.write(f"{task:<13} too few cases: as many calls as what serves\n")
        else:
            sys.stdout.write(f"{task:<13} too few cases: kept as served\n")
    sys.stdout.write(f"{bundle.path}\n")


if __name__ == "__main__":
    main()
