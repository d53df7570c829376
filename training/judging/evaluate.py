"""Judge a pair of bundles on labelled studies: figures as JSON and as one HTML page.

    acuity train evaluate --manifest labels.parquet --out RUN            # the served bundles
    acuity train evaluate --manifest labels.parquet --out RUN --scorer DIR --split test
    acuity train evaluate --synthetic validate --count 60 --out RUN      # make evaluate

Studies are read, localised and scored exactly as the service does it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models.durable import write_durably
from models.registry import Bundle, read_bundle, resolve
from models.runtime import CpuOptions
from service.settings import Settings
from training.datasets.adapters.phantom import phantom_rows
from training.datasets.agreement import reader_agreement
from training.datasets.checks import check_manifest
from training.datasets.manifest import Manifest, read_manifest, write_manifest
from training.datasets.rows import Split
from training.datasets.selection import chosen, data_digest
from training.datasets.split import SplitRule
from training.judging.cases import TASKS, save_judged
from training.judging.figures import figures
from training.judging.page import evaluation_page
from training.judging.reading import Model, read_cases
from training.progress import progress_bar

JUDGED = "judged.parquet"
FIGURES = "figures.json"
PAGE = "evaluation.html"


def bundle_at(where: Path | None, name: str, settings: Settings) -> Bundle:
    """A bundle by its folder, or the one that serves."""
    return resolve(name, bundle_dir=settings.bundle_dir) if where is None else read_bundle(where)


def open_model(
    settings: Settings, localiser: Path | None = None, scorer: Path | None = None
) -> Model:
    """Open two bundles; those that serve where no folder is given."""
    return Model(
        bundle_at(localiser, settings.localiser_bundle, settings),
        bundle_at(scorer, settings.scorer_bundle, settings),
        settings.device,
        CpuOptions(threads=settings.threads),
    )


def evaluate(manifest: Manifest, model: Model, out: Path, data: str) -> dict[str, Any]:
    """Judge a model and write `judged.parquet`, `figures.json` and `evaluation.html`.

    Args:
        manifest: Rows to judge on.
        model: What is judged.
        out: Folder, made if it is not there.
        data: The data in words.

    Returns:
        The content of `figures.json`.
    """
    with progress_bar("reading") as progress:
        readings = read_cases(manifest, [model], progress=progress)
    judged = readings.judged[0]
    about = {
        "bundles": model.names,
        "data": data,
        "data_sha256": data_digest(manifest),
        "synthetic": all(row.source == "phantom" for row in manifest.rows),
        "unread": readings.unread,
        "studies": readings.studies,
        "software": f"vertebral-acuity {version('vertebral-acuity')}",
    }
    found = figures(judged) | {"about": about, "readers": _readers(manifest)}
    out.mkdir(parents=True, exist_ok=True)
    save_judged(out / JUDGED, judged, about)
    write_durably(out / FIGURES, json.dumps(found, indent=1).encode())
    write_durably(out / PAGE, evaluation_page(judged, found, about).encode())
    return found


def _readers(manifest: Manifest) -> list[dict[str, Any]]:
    told = []
    for one in reader_agreement(manifest.rows):
        interval = one.kappa.interval()
        told.append(
            {
                "readers": list(one.readers),
                "column": one.column,
                "levels": one.kappa.of,
                "kappa": one.kappa.value,
                "kappa_95": None if interval is None else [interval.low, interval.high],
            }
        )
    return told


def synthetic_manifest(recipe_name: str, count: int, folder: Path) -> Manifest:
    """Draw synthetic studies that are not there yet, and label them with their truth.

    Args:
        recipe_name: Name or TOML file of a phantom recipe.
        count: Patients.
        folder: Kept between runs: drawing a study takes seconds.
    """
    from training.phantom.__main__ import write_patient  # noqa: PLC0415  numba compiles painters
    from training.phantom.recipe import load_recipe  # noqa: PLC0415

    recipe = load_recipe(recipe_name)
    with progress_bar("drawing") as progress:
        for number in range(count):
            progress(number, count)
            study = folder / f"{recipe.name}-{recipe.seed(number)}"
            if not (study / "truth.json").exists():
                write_patient(recipe, number, study)
        progress(count, count)
    rows = phantom_rows(folder, SplitRule(validation=0.0, test=1.0)).rows
    return write_manifest(folder / "labels.parquet", rows)


def summary(found: dict[str, Any]) -> str:
    """The figures that fit on a terminal."""
    lines = [
        f"{found['levels']} levels of {found['patients']} patients, "
        f"{found['found']['share']:.3f} found, {found['named']['share']:.3f} named right"
    ]
    for task in TASKS:
        one = found["tasks"][task]
        area = one.get("auroc")
        between = one.get("auroc_delong_95") or [float("nan")] * 2
        told = "-" if area is None else f"{area:.3f} ({between[0]:.3f} to {between[1]:.3f})"
        parts = [
            f"{name} {one[name]['share']:.3f}"
            for name in ("sensitivity", "specificity")
            if one[name]["share"] is not None
        ]
        parts += [f"ECE {one['ece']:.3f}"] if "ece" in one else []
        lines.append(
            f"{task:<13} {one['positive']}/{one['asked']}  AUROC {told}  {'  '.join(parts)}"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge the served bundles, or others, on labelled or synthetic studies."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--synthetic", help="phantom recipe to draw studies from instead")
    parser.add_argument("--count", type=int, default=60, help="synthetic studies")
    parser.add_argument("--studies", type=Path, help="where synthetic studies are kept")
    parser.add_argument("--split", action="append", default=[], choices=[str(one) for one in Split])
    parser.add_argument("--localiser", type=Path, help="bundle folder; the served one if not given")
    parser.add_argument("--scorer", type=Path, help="bundle folder; the served one if not given")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    if (given.manifest is None) == (given.synthetic is None):
        parser.error("give --manifest or --synthetic")
    if given.synthetic is not None:
        folder = given.studies or given.out / "studies"
        manifest = synthetic_manifest(given.synthetic, given.count, folder)
        data = f"synthetic studies of recipe {given.synthetic}"
    else:
        manifest = read_manifest(given.manifest)
        check_manifest(manifest).require_sound()
        manifest = chosen(manifest, given.split)
        data = f"manifest, {', '.join(given.split) or 'every split'}"
    settings = Settings()
    model = open_model(settings, given.localiser, given.scorer)
    found = evaluate(manifest, model, given.out, data)
    sys.stdout.write(summary(found) + f"{given.out / PAGE}\n")


if __name__ == "__main__":
    main()
