"""From a recipe to a trainee: what is wrong with labels, bundle or folder is said here, at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from models.errors import BundleError
from models.localiser.network import LocaliserNetwork, ServedLocaliser
from models.manifest import MODEL_SAFETENSORS
from models.registry import Bundle, open_verified, read_bundle, resolve
from models.scorer.network import ScorerNetwork
from service.settings import Settings
from training.crossing import PARTS, other_part
from training.datasets.checks import check_manifest
from training.datasets.manifest import Manifest, read_manifest
from training.datasets.rows import Split
from training.datasets.selection import chosen
from training.fit.checkpoint import load_checkpoint
from training.fit.levels import fill_levels
from training.fit.localiser import LocaliserTrainee, localiser_trainee
from training.fit.loop import CHECKPOINT
from training.fit.recipe import FitRecipe
from training.fit.records import learned_of, require_tracker
from training.fit.scorer import ScorerTrainee
from training.judging.errors import SeenCasesError
from training.judging.learned import require_unseen
from training.phantom.recipe import load_recipe as load_phantom
from training.phantom.recipe import load_teaching_recipe
from training.progress import progress_bar
from training.scorer.cache import fill_cache
from training.scorer.pool import LevelPool

VALIDATION_OF: Final = "validate"
"""Phantom recipe of the validation part of a run without labelled studies."""

VALIDATION_COUNT: Final = 12

CALIBRATION: Final = "calibration"
"""Folder of synthetic levels for the thresholds of a scorer that begins with nothing, where the
validation part is a site's: its levels lack the measured signs that thresholds are chosen with."""


def start_bundle(recipe: FitRecipe, settings: Settings) -> Bundle | None:
    """The verified bundle that a recipe starts from, None for scratch.

    Raises:
        BundleError: It is missing, damaged, or of another kind.
    """
    if recipe.model.start == "scratch":
        return None
    if recipe.model.start == "served":
        named = {"scorer": settings.scorer_bundle, "localiser": settings.localiser_bundle}
        bundle = resolve(named[recipe.model.kind], bundle_dir=settings.bundle_dir)
    else:
        bundle = read_bundle(Path(recipe.model.start))
    open_verified(bundle)
    if bundle.name != recipe.model.kind:
        raise BundleError(f"the recipe trains a {recipe.model.kind}, the bundle is a {bundle.name}")
    return bundle


def sound_manifest(recipe: FitRecipe) -> Manifest | None:
    """The checked manifest of a recipe, None where it has none.

    Raises:
        DatasetError: It cannot be read, is not sound, or lacks a training or validation part.
    """
    if recipe.data.manifest is None:
        return None
    manifest = read_manifest(recipe.data.manifest)
    check_manifest(manifest).require_sound()
    for part in (Split.TRAIN, Split.VALIDATION):
        chosen(manifest, [part])
    return manifest


def require_ready(recipe: FitRecipe, runs: Mapping[Path, FitRecipe]) -> None:
    """Refuse what would come to light only after studies were read or drawn.

    What else can be wrong with manifest, bundle and labels `prepare` says before it begins.

    Args:
        recipe: As given.
        runs: Folder to recipe of what is trained: of a crossed run both halves.

    Raises:
        TrackerMissingError: A tracking server is named that nothing here can speak to.
        CheckpointError: A run folder's checkpoint is damaged.
        OtherRunError: A run folder was begun with another recipe.
        RecipeError: There is no such phantom recipe.
        SeenCasesError: The network that the run begins with learned from what is to validate it.
        JudgingError: There are more studies than a bundle can name.
        DatasetError: The manifest cannot be read, or lacks a part.
    """
    require_tracker()
    for run, own in runs.items():
        if (run / CHECKPOINT).exists():
            mark = {"recipe_sha256": own.sha256}
            load_checkpoint(run / CHECKPOINT, mark, torch.device("cpu"))
    if recipe.data.phantom is not None:
        load_teaching_recipe(recipe.data.phantom)
    bundle = start_bundle(recipe, Settings())
    learned_of(recipe, PARTS if recipe.data.crossed else PARTS[:1])
    if bundle is not None and recipe.data.manifest is not None:
        validating = PARTS if recipe.data.crossed else PARTS[1:]
        held = chosen(read_manifest(recipe.data.manifest), validating)
        try:
            require_unseen(bundle, held)
        except SeenCasesError as error:
            raise SeenCasesError(
                f"{bundle.name} {bundle.version}, which the run begins with, learned from studies "
                "that are to validate it: --start from one that did not, as the shipped one"
            ) from error


def prepare(
    recipe: FitRecipe, run: Path, learned: Split = Split.TRAIN
) -> ScorerTrainee | LocaliserTrainee:
    """Make everything that a run needs; nothing is trained yet.

    Args:
        recipe: Of the run.
        run: Its folder; crops are kept in `run/cache` unless the recipe names a cache.
        learned: The part of the manifest to learn from; the other one validates.

    Raises:
        AcuityError: Something is wrong that would come to light after hours.
    """
    torch.manual_seed(recipe.schedule.seed)
    settings = Settings()
    bundle = start_bundle(recipe, settings)
    manifest = sound_manifest(recipe)
    arguments = bundle.network.arguments if bundle else {}
    if recipe.model.kind == "localiser":
        localiser = LocaliserNetwork(**arguments)
        if bundle is not None:
            load_weights(ServedLocaliser(localiser), bundle)
        return localiser_trainee(recipe, localiser, manifest)
    scorer = ScorerNetwork(**arguments)
    if bundle is not None:
        load_weights(scorer, bundle)
    return _scorer(recipe, recipe.data.cache or run / "cache", scorer, manifest, learned)


def load_weights(network: nn.Module, bundle: Bundle) -> None:
    """Fill a network with the weights of a verified bundle.

    Raises:
        BundleError: They are those of an older or newer network than this version trains.
    """
    try:
        network.load_state_dict(load(open_verified(bundle)[MODEL_SAFETENSORS]))
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(
            f"{bundle.name} {bundle.version} holds another network than this version trains: "
            "start from a newer bundle, or from scratch"
        ) from error


def _scorer(
    recipe: FitRecipe,
    cache: Path,
    network: ScorerNetwork,
    manifest: Manifest | None,
    learned: Split,
) -> ScorerTrainee:
    labelled, validation = learned, other_part(learned)
    counts = {}
    if manifest is not None:
        settings = Settings()
        localiser = resolve(settings.localiser_bundle, bundle_dir=settings.bundle_dir)
        for name, split in (("labelled", labelled), ("validation", validation)):
            rows = chosen(manifest, [split])
            with progress_bar(f"reading, {split}") as progress:
                counts[name] = fill_levels(rows, localiser, cache / split, progress)
    if recipe.data.phantom is not None:
        count = recipe.data.phantom_count
        fill_cache(load_teaching_recipe(recipe.data.phantom), cache / "synthetic", count)
        if manifest is None:
            # Levels of patients that are never trained on: seeds of recipes do not overlap.
            fill_cache(load_phantom(VALIDATION_OF), cache / validation, VALIDATION_COUNT)
        elif recipe.model.start == "scratch":
            fill_cache(load_phantom(VALIDATION_OF), cache / CALIBRATION, VALIDATION_COUNT)
    return ScorerTrainee(
        network,
        LevelPool(cache / labelled),
        LevelPool(cache / "synthetic"),
        LevelPool(cache / validation),
        recipe.data.phantom_share,
        counts,
    )
