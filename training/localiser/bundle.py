"""Make a bundle of a trained localiser.

python -m training.localiser.bundle --checkpoint RUN/checkpoint.pt --version 1.0.0 --store STORE
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.localiser.classes import Structure
from models.localiser.evidence import LevelSettings
from models.localiser.network import ANSWER, DEPTHS, WIDTHS, ServedLocaliser
from models.localiser.preprocess import LOCAL_MEAN_MM, OFFSET_UNIT_MM, PIXEL_MM, SLICE_MM
from models.manifest import NetworkSpec
from models.registry import PACKAGED, require_free
from training.export import BundleDraft, Figure, ModelCard, export_bundle, tensor_format
from training.localiser.crops import whole_images
from training.localiser.fit import Trained, load_averaged, trained_until

_PLANE = ("*", "32*h", "32*w")
_ANSWERED = ("*", f"{32 // ANSWER}*h", f"{32 // ANSWER}*w")

_CARD_USE = (
    "Finds, outlines and names vertebral bodies (with S1) on sagittal spine MRI of any usual "
    "contrast, for research. Not a medical device; a wrong level is a possible error and every "
    "name must be checked by a reader."
)
_CARD_DATA = (
    "Synthetic spines only (training.phantom), drawn on the fly: parametric anatomy and disease, "
    "MR physics for 70 % of the images and random contrast for 30 %. 3889 steps of four crops from "
    "random weights (0.4.0, version 5 of the phantom, recipe `train`), then {steps} steps in "
    "{minutes:.0f} minutes on a part of two CPU cores (version 6; of five patients two of `train`, "
    "two of `rough`, one of `upper`; of the first 440 steps none of `upper`, and in single "
    "precision as far as 700, then bfloat16). A quarter of the crops, from step 2500 on a third, "
    "end within a body, S1 for choice, as real images do. Served in eight bits, with ranges taken "
    "from 16 synthetic images. Where a body's outline is drawn against its dark wall (margins of "
    "-1.5 mm in front, -0.5 mm behind) was chosen by comparing the outlines of 0.2.0 with masks of "
    "real scans, how wide it is on water images (1.4 times) by those of 0.4.0; how thick ribs and "
    "transverse processes are drawn by looking at real scans. `upper` was laid down after seeing "
    "which bodies 0.4.0 missed on `stress`. No scan of a person was used in training."
)
_LIMITATIONS = (
    "The rules that turn votes into bodies and name them were chosen with these real scans in "
    "view, though no weight was trained on them: take the figures on them as optimistic.",
    "Levels are counted from the sacrum or C2, and the usual number of vertebrae is assumed "
    "likely; transitional vertebrae are not recognised as such, their names are offered as "
    "alternatives. Four or six lumbar vertebrae are flagged or named where the image shows the "
    "last ribs; where it does not they are named as the usual five.",
    'Without sacrum, C2 or another view that has them nothing is named (abstention "unanchored").',
    "On synthetic scans nearly all ribs are found, on real ones, in slices of 4 mm, the smaller "
    "part: where none is, nothing but the sacrum tells a variant of numbering.",
    "Necks were an eighth of the later training patients, spines with screws and rods 2.5 %.",
    "S1 is least sure on water images that end within it: of two real ones it has less than a "
    "tenth of what is taken for it. From 2 % on it counts as seen, a limit counted on synthetic "
    "scans after looking at such images; both are named right and flagged as uncertain.",
    "How much is believed of ribs that are found (0.95 at most) was chosen among five limits on "
    "other synthetic scans with the calibration errors of those evaluated here in view: take these "
    "as optimistic.",
    "The two false bodies on real scans are vertebrae above the last one that has a mask, whose "
    "masks reach beside them; seen on the overlays.",
    "Real scans it was tried on have 4 mm slices and 1 mm pixels; masks of the pathological ones "
    "are drawn smaller than those it was trained on, so Dice on them is held down.",
)


def draft(
    version: str,
    calibration: Mapping[str, Any],
    figures: tuple[Figure, ...],
    trained: Trained,
) -> BundleDraft:
    """Describe the bundle of this version."""
    return BundleDraft(
        name="localiser",
        version=version,
        network=NetworkSpec("localiser", {"widths": list(WIDTHS), "depths": list(DEPTHS)}),
        inputs={
            "image": tensor_format(
                ("percentile-normalised signal", "signal over its local mean"),
                _PLANE,
                value_range=(0.0, 2.0),
            )
        },
        outputs={
            "structure": tensor_format(
                tuple(structure.name.lower() for structure in Structure),
                _ANSWERED,
                kind="probabilities",
                data_format="classes",
                value_range=(0.0, 1.0),
            ),
            "offsets": tensor_format(
                ("rows to the centre of the body", "columns to the centre of the body"), _ANSWERED
            ),
        },
        task="Vertebral bodies on sagittal spine MRI: segmentation and votes for their centres",
        description=(
            "Anisotropic 3-D U-Net of MONAI blocks. Every square of 2 mm gets a structure, and "
            "every one of a body votes for the centre of its body."
        ),
        card=ModelCard(_CARD_USE, _CARD_DATA.format(**asdict(trained)), figures, _LIMITATIONS),
        changelog={version: "The weights of 0.5.1; one missed rib no longer overrules the others."},
        preprocessing={
            "pixel_mm": PIXEL_MM,
            "slice_mm_of_thin_stacks": SLICE_MM,
            "local_mean_mm": LOCAL_MEAN_MM,
            "offset_unit_mm": OFFSET_UNIT_MM,
            "percentiles": [1.0, 99.5],
        },
        calibration=dict(calibration),
    )


def figures_of(evaluation: Mapping[str, Any]) -> tuple[Figure, ...]:
    """Card figures from what `training.evaluate_real --json` wrote."""
    command = "make evaluate-real"
    figures = []
    for group, row in evaluation["groups"].items():
        if not row["series"]:
            continue
        low, high = row["found_95"]
        series = row["series"] - row["unread"]
        on = f"{series} real series, {group}"
        parts = {
            "bodies found": f"{row['found']}/{row['bodies']} (95 % {low:.3f}-{high:.3f})",
            "false bodies": str(row["false_bodies"]),
            "Dice, central five slices": f"{row['dice']:.3f}, {row['central_dice']:.3f}",
            "predicted over true volume": f"{row['volume_ratio']:.2f}",
            "centroid error, median": f"{row['centroid_error_mm']:.2f} mm",
            "S1 recognised": f"{row['sacrum']}/{series}",
            "all levels right": f"{row['levels_right']}/{series}",
        }
        figures += [Figure(name, value, on, command) for name, value in parts.items()]
    return tuple(figures)


def synthetic_figures(evaluation: Mapping[str, Any]) -> tuple[Figure, ...]:
    """Card figures from what `training.localiser.evaluate --json` wrote."""
    command = "make evaluate-localiser"
    figures = []
    for title, row in evaluation["sets"].items():
        on = f"{row['scans']} synthetic scans, {title}"
        parts = {
            "bodies found": _hits(row["found"]),
            "Dice, central five slices": f"{row['dice']:.3f}, {row['central_dice']:.3f}",
            "centroid error, median": f"{row['centroid_mm']:.2f} mm",
            "height errors, anterior, middle, posterior, median": ", ".join(
                f"{value:.2f} mm" for value in row["height_errors_mm"]
            ),
            "all levels right where countable": _hits(row["levels_right_where_countable"]),
            "names withheld where uncountable": _hits(row["withheld_where_uncountable"]),
            "variants right or flagged": _hits(row["variants_right_or_flagged"]),
            "usual numbering flagged": _hits(row["usual_flagged"]),
            "calibration error of names (ECE)": f"{row['level_ece']:.3f}",
        }
        figures += [Figure(name, value, on, command) for name, value in parts.items()]
    for point in evaluation["curves"]:
        right = point["levels_right_where_countable"]
        figures.append(
            Figure(
                f"Dice and levels right, {point['what']} {point['value']:g}",
                f"{point['dice']:.3f}, {right[0]}/{right[1]}",
                f"{point['scans']} synthetic scans",
                command,
            )
        )
    return tuple(figures)


def _hits(part: Sequence[float]) -> str:
    hits, of, low, high = part
    return f"{hits:g}/{of:g} (95 % {low:.3f}-{high:.3f})" if of else "none in the set"


def main() -> None:
    """Export a checkpoint."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--store", type=Path, default=PACKAGED)
    parser.add_argument("--evaluation", type=Path, help="JSON of training.evaluate_real")
    parser.add_argument("--synthetic", type=Path, help="JSON of training.localiser.evaluate")
    parser.add_argument("--calibration", type=Path, help="JSON of training.localiser.calibrate")
    given = parser.parse_args()
    require_free(given.store, "localiser", given.version)
    figures = figures_of(json.loads(given.evaluation.read_text())) if given.evaluation else ()
    if given.synthetic:
        figures += synthetic_figures(json.loads(given.synthetic.read_text()))
    calibration = {"levels": asdict(LevelSettings())}
    if given.calibration:
        calibration = json.loads(given.calibration.read_text())
    network = ServedLocaliser(load_averaged(given.checkpoint)).eval()
    described = draft(given.version, calibration, figures, trained_until(given.checkpoint))
    bundle, parity = export_bundle(network, described, given.store, eight_bit=whole_images())
    sys.stdout.write(f"{bundle.name} {bundle.version}: {parity}\n")


if __name__ == "__main__":
    main()
