"""From a finished run to a bundle: calibrate, evaluate, write the card, export, check parity.

python -m training.scorer.export --run RUN --cache CACHE --held-out HELD --stress STRESS --store DIR
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.torch import load_file

from models.manifest import SECTION, NetworkSpec
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
from training.export import BundleDraft, Figure, ModelCard, export_bundle, tensor_format
from training.scorer.calibrate import CALLED, FittedCalibration, fit_calibration
from training.scorer.evaluate import evaluate
from training.scorer.pool import LevelPool

COMMAND: Final = "python -m training.scorer.export"
CHOSEN_ON: Final = "held-out synthetic cases, calibration half"
MEASURED_ON: Final = "held-out synthetic cases, test half"
STRESSED_ON: Final = (
    "synthetic cases of the shifted recipe `stress`, never trained or calibrated on"
)


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


def finish(
    run: Path, cache: Path, held_out: Path, stress: Path | None = None
) -> tuple[FittedCalibration, dict[str, Any]]:
    """Calibrate and evaluate a run; both are also written into its folder.

    Args:
        run: Run folder.
        cache: Crops of the training cases.
        held_out: Crops of held-out cases.
        stress: Crops of cases of the recipe `stress`, for figures under "stress" only.
    """
    network = load_run(run)
    calibration_half, test_half = halves(held_out)
    training = LevelPool(cache, "train")
    training.refresh()
    fitted = fit_calibration(network, calibration_half, training, CHOSEN_ON)
    metadata = {
        SECTION: {
            "calibration": fitted.calibration,
            "operating_points": fitted.operating_points,
        }
    }
    (run / "calibration.json").write_text(json.dumps(metadata, indent=1))
    figures = evaluate(network, test_half, read_calibration(metadata))
    figures["training_levels"] = len(training.crops)
    figures["calibration_levels"] = len(calibration_half.crops)
    if stress is not None:
        shifted = LevelPool(stress)
        shifted.refresh()
        figures["stress"] = evaluate(network, shifted, read_calibration(metadata))
    (run / "figures.json").write_text(json.dumps(figures, indent=1))
    return fitted, figures


def draft_of(
    version: str, fitted: FittedCalibration, figures: dict[str, Any], changes: str
) -> BundleDraft:
    """Everything about the bundle but its weights."""
    crop = list(CROP_SHAPE)
    halved = [crop[0], crop[1] // 2, crop[2] // 2]
    return BundleDraft(
        name="scorer",
        version=version,
        network=NetworkSpec("scorer", {}),
        inputs={
            "crops": tensor_format(CHANNELS, crop, value_range=LOG_RANGE),
            "presence": tensor_format(PRESENCE, [], kind="tuples", value_range=(0.0, 1.0)),
        },
        outputs={
            "edema_map": tensor_format(["edema_logit"], halved, data_format="segmentation"),
            "heads": tensor_format(HEADS, [], kind="probabilities", data_format="classes"),
        },
        task="Score vertebral bodies for marrow edema, fracture, healing and etiology",
        description=(
            "A small anisotropic 3-D encoder-decoder over level-aligned crops with both neighbours "
            "in view. Any set of series works that holds a fluid-sensitive one; without one only "
            "fracture and cement are answered."
        ),
        card=_card(figures),
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


def _figures(figures: dict[str, Any], measured_on: str) -> list[Figure]:
    shown = []
    for view in ("as_acquired", "fluid_only"):
        for name in CALLED:
            part = figures[view][name]
            if part.get("auroc") is None:
                continue
            interval = part["auroc_95"]
            between = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
            text = (
                f"AUROC {part['auroc']:.3f}{between}, called present of positives "
                f"{part['sensitivity']:.2f}, called absent of negatives {part['specificity']:.2f}, "
                f"indeterminate {part['indeterminate']:.2f}, ECE {part['ece']:.3f}, "
                f"{part['positive']} of {part['asked']} positive"
            )
            series = view.replace("_", " ")
            shown.append(Figure(f"{name}, {series}", text, measured_on, COMMAND))
    extent = figures["as_acquired"]["extent"]
    if extent["bodies"]:
        text = (
            f"mean error {extent['mean_error_points']:.1f} points, "
            f"half-body bin right in {extent['bins_right']:.0%}"
        )
        shown.append(Figure("edema extent, as acquired", text, measured_on, COMMAND))
    return shown


def _card(figures: dict[str, Any]) -> ModelCard:
    shown = _figures(figures, MEASURED_ON)
    if "stress" in figures:
        shown += _figures(figures["stress"], STRESSED_ON)
    return ModelCard(
        intended_use=(
            "Research. Second look at vertebral bodies on sagittal spine MRI before vertebroplasty "
            "planning; not a diagnosis and not a treatment recommendation."
        ),
        training_data=(
            f"{figures['training_levels']} vertebral levels of synthetic spines only; calibrated "
            f"on {figures['calibration_levels']} others. No patient data."
        ),
        figures=tuple(shown),
        limitations=(
            "All figures are of synthetic spines; none says how it does on patients.",
            "Benign and pathological are told apart poorly without T1 or a Dixon fat image.",
            "Edema is not age: an old fracture may keep it and a new one may hide it.",
            "The sacrum is not scored; bodies cut by the image edge get no call.",
            "Edema that outshines the marrow around it by less than a fifth was not asked for in "
            "training or evaluation.",
            "An edema is called present only where measured contrast agrees with the network. The "
            "thresholds of that rule were chosen on held-out synthetic cases and while looking at "
            "one real study with STIR and 25 water images of volunteers, so its results on these "
            "are no test of it: `make evaluate-real` prints them.",
            "The same STIR study was looked at while the training's disturbances and the rule for "
            "operating points were chosen. Fracture and etiology have not been tried on labelled "
            "real scans at all.",
        ),
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
    parser.add_argument("--store", type=Path, help="folder of bundles; without it nothing is made")
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--changes", default="First version.")
    arguments = parser.parse_args()
    fitted, figures = finish(arguments.run, arguments.cache, arguments.held_out, arguments.stress)
    if arguments.store is not None:
        about = (arguments.version, arguments.changes)
        install(arguments.run, arguments.held_out, arguments.store, fitted, figures, about)


if __name__ == "__main__":
    main()
