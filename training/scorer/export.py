"""From a finished run to a bundle: calibrate, evaluate, write the card, export, check parity.

python -m training.scorer.export --run RUN --cache CACHE --held-out HELD --stress STRESS \
    --weighing FRESH --calibrating ROUGH --store DIR
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.torch import load_file

from models.manifest import METADATA, SECTION, NetworkSpec
from models.registry import require_free
from models.scorer.calibration import read_calibration
from models.scorer.crops import (
    CHANNELS,
    CROP_PITCH_MM,
    CROP_SHAPE,
    NORMAL_QUANTILE,
    POSTERIOR_SHIFT_MM,
    PRESENCE,
)
from models.scorer.heads import HEADS
from models.scorer.network import ScorerNetwork
from models.scorer.normalisation import LOG_RANGE
from training.export import BundleDraft, export_bundle, tensor_format
from training.phantom.recipe import recipe_of
from training.scorer.baselines import TASKS, baselines, compared, sign_table, unweighed
from training.scorer.calibrate import FittedCalibration, fit_calibration
from training.scorer.card import model_card
from training.scorer.combine import weighed
from training.scorer.figures import evaluate
from training.scorer.pool import LevelPool
from training.scorer.predict import predict

LEARNED_FROM: Final = ("train", "rare", "rough")
"""Recipes whose patients a network may have learned from."""

CHOSEN_ON: Final = "held-out synthetic cases, calibration half"


def load_run(run: Path) -> ScorerNetwork:
    """The averaged network of a run's last checkpoint, in evaluation mode."""
    network = ScorerNetwork()
    network.load_state_dict(load_file(run / "last.safetensors"))
    return network.eval()


def halves(held_out: Path) -> tuple[LevelPool, LevelPool]:
    """Held-out levels, split by case: one half for calibration, the other for the figures."""
    pools = LevelPool(held_out), LevelPool(held_out)
    for which, pool in enumerate(pools):
        everything = {path.name for path in held_out.glob("case-*.npz")}
        seeds = {name: int(Path(name).stem.split("-")[1]) for name in everything}
        pool.known.update(name for name, seed in seeds.items() if seed % 2 != which)
        pool.refresh()
        pool.known.update(everything)
    return pools


def whole(cache: Path) -> LevelPool:
    """All levels of a cache."""
    pool = LevelPool(cache)
    pool.refresh()
    return pool


@dataclass(frozen=True, slots=True)
class Crops:
    """Folders of crops that a run is finished with.

    Attributes:
        learned: Of the training cases.
        held_out: Of cases of which one half calibrates, the other gives the figures.
        stress: Of cases of the recipe `stress`, for figures under "stress" only.
        weighing: Of cases that the network did not learn from, for the combination of its answers
            with measured signs; None for a bundle without.
        calibrating: Of more cases to calibrate on, from worse scanners, say: probabilities and
            sets that keep their word only on scanners like those of training keep it nowhere else.
    """

    learned: Path
    held_out: Path
    stress: Path | None = None
    weighing: Path | None = None
    calibrating: Path | None = None


def finish(run: Path, crops: Crops) -> tuple[FittedCalibration, dict[str, Any]]:
    """Calibrate and evaluate a run; both are also written into its folder."""
    network = load_run(run)
    calibration, test_half = halves(crops.held_out)
    figures: dict[str, Any] = {}
    chosen_on = CHOSEN_ON
    if crops.calibrating is not None:
        calibration.folder = crops.calibrating
        calibration.refresh()
        figures["calibration_studies"] = drawn_from(crops.calibrating)
        chosen_on = f"{CHOSEN_ON}, and cases of {', '.join(figures['calibration_studies'])}"
    training = LevelPool(crops.learned, "train")
    training.refresh()
    levels = None if crops.weighing is None else whole(crops.weighing)
    fitted = fit_calibration(network, calibration, training, chosen_on, levels)
    metadata = {
        SECTION: {
            "calibration": fitted.calibration,
            "operating_points": fitted.operating_points,
        }
    }
    (run / "calibration.json").write_text(json.dumps(metadata, indent=1))
    figures |= beside_baselines(network, test_half, training, metadata)
    figures["training_levels"] = len(training.crops)
    figures["training_studies"] = drawn_from(crops.learned)
    how = json.loads((run / "recipe.json").read_text())
    figures["steps"] = how["steps"]
    start = Path(how["start"]) if how["start"] else None
    figures["begun_with"] = start and start.parent.name
    figures["begun_data"] = start and _data_of(start.with_name(METADATA))
    figures["kept"] = how["kept"]
    if crops.weighing is not None and levels is not None:
        figures["weighing_levels"] = len(levels.crops)
        figures["weighing_studies"] = drawn_from(crops.weighing)
    figures["calibration_levels"] = len(calibration.crops)
    if crops.stress is not None:
        figures["stress"] = beside_baselines(network, whole(crops.stress), training, metadata)
    (run / "figures.json").write_text(json.dumps(figures, indent=1))
    return fitted, figures


def _data_of(metadata: Path) -> str | None:
    """What the weights of a bundle were taught with, in its own words; None where it is gone."""
    if not metadata.is_file():
        return None
    told: str = json.loads(metadata.read_text())["data_source"]
    return told.removesuffix(".")


def drawn_from(cache: Path) -> dict[str, int]:
    """Name of a recipe to how many studies of a cache were drawn from it."""
    seeds = (int(path.stem.split("-")[1]) for path in cache.glob("case-*.npz"))
    counts = Counter(map(recipe_of, seeds))
    return {name: counts[name] for name in LEARNED_FROM if counts[name]}


def beside_baselines(
    network: ScorerNetwork, pool: LevelPool, training: LevelPool, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Figures of a set, with those of the baselines."""
    calibration = read_calibration(metadata)
    alone = predict(network, pool)
    seen = weighed(alone, pool, calibration.combination, calibration.reference_heights_mm)
    tables = sign_table(training, calibration), sign_table(pool, calibration)
    rows = {}
    for task in TASKS:
        others = [*unweighed(alone, seen, task), *baselines(training, tables, task)]
        rows[task] = compared(seen, others, task)
    return evaluate(network, pool, calibration, seen) | {"baselines": rows}


def draft_of(
    version: str, fitted: FittedCalibration, figures: dict[str, Any], changes: str
) -> BundleDraft:
    """Everything about the bundle but its weights."""
    crop = list(CROP_SHAPE)
    halved = [crop[0], crop[1] // 2, crop[2] // 2]
    return BundleDraft(
        name="scorer",
        version=version,
        network=NetworkSpec("explained_scorer", {}),
        inputs={
            "crops": tensor_format(CHANNELS, crop, value_range=LOG_RANGE),
            "presence": tensor_format(PRESENCE, [], kind="tuples", value_range=(0.0, 1.0)),
        },
        outputs={
            "edema_map": tensor_format(["edema_logit"], halved, data_format="segmentation"),
            "heads": tensor_format(HEADS, [], kind="probabilities", data_format="classes"),
            "evidence": tensor_format(["pathological_logit_part"], halved),
        },
        task="Score vertebral bodies for marrow edema, fracture, healing and etiology",
        description=(
            "A small anisotropic 3-D encoder-decoder over level-aligned crops with both neighbours "
            "in view. Any set of series works that holds a fluid-sensitive one; without one only "
            "fracture and cement are answered."
        ),
        card=model_card(figures),
        changelog={version: changes},
        preprocessing={
            "crop_shape": crop,
            "crop_pitch_mm": list(CROP_PITCH_MM),
            "posterior_shift_mm": POSTERIOR_SHIFT_MM,
            "log_range": list(LOG_RANGE),
            "normal_quantile": dict(NORMAL_QUANTILE),
        },
        operating_points=fitted.operating_points,
        calibration=fitted.calibration,
    )


def install(
    run: Path,
    held_out: Path,
    store: Path,
    fitted: FittedCalibration,
    figures: dict[str, Any],
    about: tuple[str, str],
) -> None:
    """Export a run as a bundle, the runtimes compared on real crops of held-out levels too.

    Args:
        run: Run folder.
        held_out: Crops of held-out cases.
        store: Folder of bundles.
        fitted: Of `finish`.
        figures: Of `finish`.
        about: Version, and what it changed.
    """
    test_half = halves(held_out)[1]
    seen = test_half.batch(np.arange(min(4, len(test_half.crops))))
    example = {"crops": seen.crops, "presence": seen.presence}
    draft = draft_of(about[0], fitted, figures, about[1])
    export_bundle(load_run(run), draft, store, examples=(example,))


def main() -> None:
    """Calibrate, evaluate and export a run as a bundle."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="crops of the training cases")
    parser.add_argument("--held-out", type=Path, required=True, help="crops of held-out cases")
    parser.add_argument("--stress", type=Path, help="crops of shifted cases, for figures only")
    parser.add_argument("--weighing", type=Path, help="crops of cases the network never saw")
    parser.add_argument("--calibrating", type=Path, help="crops of more cases to calibrate on")
    parser.add_argument("--store", type=Path, help="folder of bundles; without it nothing is made")
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--changes", default="First version.")
    arguments = parser.parse_args()
    if arguments.store is not None:
        require_free(arguments.store, "scorer", arguments.version)
    crops = Crops(
        arguments.cache,
        arguments.held_out,
        arguments.stress,
        arguments.weighing,
        arguments.calibrating,
    )
    fitted, figures = finish(arguments.run, crops)
    if arguments.store is not None:
        about = (arguments.version, arguments.changes)
        install(arguments.run, arguments.held_out, arguments.store, fitted, figures, about)


if __name__ == "__main__":
    main()
