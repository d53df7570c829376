"""From a finished run to a candidate bundle: weights, metadata, and a card filled from the run.

    acuity train export --run RUN --version 0.4.0-site.1 --out CANDIDATES

A run that started from a bundle keeps that bundle's calibration until `acuity train calibrate` fits
the site's own; a scorer trained from nothing is calibrated on synthetic levels. The candidate
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

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from models.localiser.network import LocaliserNetwork, ServedLocaliser
from models.manifest import METADATA, SECTION, NetworkSpec
from models.registry import Bundle, require_free, resolve
from models.scorer.network import ScorerNetwork
from service.settings import Settings
from training.crossing import PARTS, half_run, half_store, half_version
from training.export import BundleDraft, Figure, ModelCard, export_bundle
from training.fit.__main__ import NETWORK
from training.fit.errors import FitError
from training.fit.prepare import CALIBRATION, start_bundle
from training.fit.recipe import FitRecipe
from training.fit.records import LEARNED, LOG
from training.fit.timings import Timings
from training.judging.learned import CALIBRATED_ON, LEARNED_FROM
from training.localiser.crops import whole_images
from training.scorer.calibrate import fit_calibration
from training.scorer.pool import LevelPool

COMMAND: Final = "acuity train fit"


def export_run(run: Path, version: str, store: Path) -> Bundle:
    """Make a candidate bundle of a run, and of a crossed one bundles of its halves.

    Args:
        run: Its folder.
        version: Semantic version.
        store: Folder of candidates.

    Raises:
        FitError: The run is not finished, or its files do not fit together.
        VersionTakenError: There is such a bundle in the store.
        BundleError: The runtimes disagree.
    """
    fitted = _recipe_of(run)
    require_free(store, fitted.model.kind, version)
    with Timings(run).phase("exporting"):
        if fitted.data.crossed:
            for learned in PARTS:
                _export(half_run(run, learned), half_version(learned), half_store(run))
        return _export(run, version, store)


def _recipe_of(run: Path) -> FitRecipe:
    told = {name: part for name, part in _told(run / "recipe.json").items() if name != "sha256"}
    try:
        return FitRecipe.model_validate(told)
    except ValidationError as error:
        raise FitError("the run's recipe.json is not one that this version exports") from error


def _export(run: Path, version: str, store: Path) -> Bundle:
    """One bundle; the same one again is no error."""
    fitted, data = _recipe_of(run), _told(run / "data.json")
    recipe_sha256 = _told(run / "recipe.json")["sha256"]
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
    trained = {"recipe_sha256": recipe_sha256, "data_sha256": data["sha256"]}
    draft = replace(draft, trained=trained | _learned(run, fitted, start))
    if fitted.model.kind == "localiser":
        network = ServedLocaliser(network)  # type: ignore[arg-type]
    seen = whole_images() if fitted.model.kind == "localiser" else ()
    bundle, parity = export_bundle(network.eval(), draft, store, eight_bit=seen)
    sys.stdout.write(f"{parity}\n")
    return bundle


def _learned(run: Path, recipe: FitRecipe, start: Bundle | None) -> dict[str, Any]:
    """What a bundle of the run learned from and was calibrated on, by what it started from too."""
    parts = PARTS if recipe.data.crossed else PARTS[:1] if recipe.data.manifest else ()
    found: dict[str, Any] = {"learned_parts": [str(part) for part in parts]}
    before: dict[str, Any] = {}
    if start is not None:
        before = json.loads((start.path / METADATA).read_bytes())[SECTION].get("trained", {})
    sets = {name: list(before.get(name, ())) for name in (LEARNED_FROM, CALIBRATED_ON)}
    if (run / LEARNED).exists():
        own = _told(run / LEARNED)
        found["learned_parts"] = own.pop("parts")
        sets[LEARNED_FROM].append(own)
    return found | {name: those for name, those in sets.items() if those}


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
    held_out = "validation" if recipe.data.manifest is None else CALIBRATION
    validation, training = LevelPool(cache / held_out), LevelPool(cache / "synthetic")
    for pool in (validation, training):
        if not pool.refresh():
            raise FitError(f"the run's cache has no levels in {pool.folder.name}: fit it again")
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
