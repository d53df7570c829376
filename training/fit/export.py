"""From a finished run to a candidate bundle: weights, metadata, and a card filled from the run.

    acuity train export --run RUN --version 0.4.0-site.1 --out CANDIDATES

A run that started from a bundle keeps that bundle's calibration until `acuity train calibrate` fits
the site's own; a scorer trained from nothing is calibrated on its validation part. The candidate
serves nobody until it is promoted. Of a crossed run both halves become bundles too, inside the run
folder: `acuity train calibrate --run RUN` asks them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from models.localiser.network import LocaliserNetwork, ServedLocaliser
from models.manifest import METADATA, SECTION, NetworkSpec
from models.registry import Bundle, resolve
from models.scorer.network import ScorerNetwork
from service.settings import Settings
from training.crossing import PARTS, half_run, half_store, half_version
from training.export import BundleDraft, Figure, ModelCard, export_bundle
from training.fit.__main__ import NETWORK
from training.fit.errors import FitError
from training.fit.prepare import start_bundle
from training.fit.recipe import FitRecipe
from training.fit.records import LOG
from training.scorer.calibrate import fit_calibration
from training.scorer.pool import LevelPool

COMMAND: Final = "acuity train fit"


def export_run(run: Path, version: str, store: Path) -> Bundle:
    """Make a candidate bundle of a run.

    Args:
        run: Its folder.
        version: Semantic version.
        store: Folder of candidates.

    Raises:
        FitError: The run is not finished, or its files do not fit together.
        BundleError: The runtimes disagree, or the version is taken.
    """
    recipe, data = _told(run / "recipe.json"), _told(run / "data.json")
    recipe_sha256 = recipe.pop("sha256")
    fitted = FitRecipe.model_validate(recipe)
    if fitted.data.crossed:
        for learned in PARTS:
            export_run(half_run(run, learned), half_version(learned), half_store(run))
    start = start_bundle(fitted, Settings())
    try:
        weights = load_file(run / NETWORK)
    except (OSError, SafetensorError) as error:
        raise FitError("the run has no whole network.safetensors: it is not finished") from error
    network: nn.Module = (
        ScorerNetwork(**(start.network.arguments if start else {}))
        if fitted.model.kind == "scorer"
        else LocaliserNetwork(**(start.network.arguments if start else {}))
    )
    network.load_state_dict(weights)
    card = _card(fitted, data, _validation(run, fitted), start)
    change = f"Trained from {_origin(fitted, start)} on data {data['sha256'][:12]}"
    if start is None:
        draft = _scratch_draft(fitted, network, run, (version, change), card)
    else:
        draft = _draft_from(start, version, card, change)
    parts = PARTS if fitted.data.crossed else PARTS[:1] if fitted.data.manifest else ()
    trained = {"recipe_sha256": recipe_sha256, "data_sha256": data["sha256"]}
    draft = replace(draft, trained=trained | {"learned_parts": [str(part) for part in parts]})
    if fitted.model.kind == "localiser":
        network = ServedLocaliser(network)  # type: ignore[arg-type]
    bundle, parity = export_bundle(network.eval(), draft, store)
    sys.stdout.write(f"OpenVINO within {parity.largest:.1e} of PyTorch\n")
    return bundle


def _told(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FitError(f"the run folder has no readable {path.name}") from error
    return found


def _validation(run: Path, recipe: FitRecipe) -> dict[str, float]:
    """Last figures on the validation part; of a crossed run the mean of both halves'."""
    if not recipe.data.crossed:
        return _last_validation(run)
    first, second = (_last_validation(half_run(run, learned)) for learned in PARTS)
    return {name: (first[name] + second[name]) / 2 for name in first if name in second}


def _last_validation(run: Path) -> dict[str, float]:
    lines = [json.loads(line) for line in (run / LOG).read_text(encoding="utf-8").splitlines()]
    rows = [line for line in lines if line["part"] == "validation"]
    return {name: value for name, value in (rows or [{}])[-1].items() if name != "part"}


def _origin(recipe: FitRecipe, start: Bundle | None) -> str:
    return "nothing" if start is None else f"{recipe.model.kind} {start.version}"


def _card(
    recipe: FitRecipe,
    data: Mapping[str, Any],
    validation: Mapping[str, float],
    start: Bundle | None,
) -> ModelCard:
    measured = "validation part of the training data, not independent"
    if recipe.data.crossed:
        measured = "each half's network on the other half's data, mean of both, not independent"
    figures = tuple(
        Figure(name.replace("_", " "), f"{value:.3f}", measured, COMMAND)
        for name, value in validation.items()
        if name != "step"
    )
    told = {name: part for name, part in data.items() if name != "sha256"}
    intended = "Research, at the site whose data it was trained on; not a medical device."
    return ModelCard(
        intended_use=intended if start is None else str(start.metadata["intended_use"]),
        training_data=(
            f"Started from {_origin(recipe, start)}; {recipe.schedule.steps} steps of "
            f"{recipe.schedule.batch} on data with SHA-256 {data['sha256']} "
            f"(recipe {recipe.sha256[:12]}, seed {recipe.schedule.seed}): "
            f"{json.dumps(told, sort_keys=True)}. "
            + ("" if start is None else f"Before that: {start.metadata['data_source']}")
        ),
        figures=figures,
        limitations=(
            "Not shown to be better than what it started from until `acuity train compare` has "
            "said so on cases that took no part in training; see the record of its promotion.",
            "Trained in part or wholly on synthetic spines.",
            "Thresholds are those of the bundle it started from until it was calibrated.",
        ),
    )


def _draft_from(start: Bundle, version: str, card: ModelCard, change: str) -> BundleDraft:
    """Everything as in the bundle the run started from, but weights, version and card."""
    document = json.loads((start.path / METADATA).read_bytes())
    section = document[SECTION]
    formats = document["network_data_format"]
    return BundleDraft(
        name=start.name,
        version=version,
        network=NetworkSpec(section["network"]["builder"], section["network"]["arguments"]),
        inputs=formats["inputs"],
        outputs=formats["outputs"],
        task=document["task"],
        description=document["description"],
        card=card,
        changelog={version: change, **document["changelog"]},
        preprocessing=section["preprocessing"],
        operating_points=section["operating_points"],
        calibration=section["calibration"],
    )


def _scratch_draft(
    recipe: FitRecipe, network: nn.Module, run: Path, about: tuple[str, str], card: ModelCard
) -> BundleDraft:
    version, change = about
    # Inputs, outputs and preprocessing are those of this version of the code, as it ships them.
    outline = replace(
        _draft_from(resolve(recipe.model.kind), version, card, change), changelog={version: change}
    )
    if not isinstance(network, ScorerNetwork):
        return outline
    cache = recipe.data.cache or run / "cache"
    validation, training = LevelPool(cache / "validation"), LevelPool(cache / "synthetic")
    for pool in (validation, training):
        pool.refresh()
    try:
        fitted = fit_calibration(network, validation, training, "synthetic validation levels")
    except ValueError as error:
        raise FitError("the validation part has too few answers to choose thresholds on") from error
    return replace(
        outline, operating_points=fitted.operating_points, calibration=fitted.calibration
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Make a candidate bundle of a finished run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of candidate bundles")
    given = parser.parse_args(arguments)
    sys.stdout.write(f"{export_run(given.run, given.version, given.out).path}\n")


if __name__ == "__main__":
    main()
