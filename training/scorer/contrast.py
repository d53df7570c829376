"""What the rule of measured contrast costs and gains on held-out synthetic cases.

    python -m training.scorer.contrast --run RUN --held-out CACHE

Crops on disk carry no place in the patient: bodies of a study are laid on a straight spine.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.scorer.calibration import ScorerCalibration, read_calibration
from models.scorer.contrast import contrast_of
from models.scorer.crops import CHANNELS, CROP_PITCH_MM
from models.scorer.distribution import FLUID_ROLES, OWN_BODY
from models.scorer.heads import HEADS
from training.scorer.combine import answered
from training.scorer.export import halves, load_run
from training.scorer.pool import LevelPool

LEVEL_STEP_MM: Final = 34.0
"""Distance of neighbouring bodies, about that of lumbar ones."""


def studies_of(about: Sequence[dict[str, Any]]) -> Iterator[list[int]]:
    """Numbers of the levels that were drawn together: one study after the other."""
    together: list[int] = []
    for number, level in enumerate(about):
        known = {about[other]["level"] for other in together}
        first = about[together[0]] if together else level
        same = all(level[key] == first[key] for key in ("case", "sequence_set"))
        if not same or level["level"] in known:
            yield together
            together = []
        together.append(number)
    if together:
        yield together


def bright_fractions(pool: LevelPool, calibration: ScorerCalibration) -> NDArray[np.float64]:
    """(level,) measured bright share; NaN where the study shows no fluid-sensitive series."""
    fractions = np.full(len(pool.crops), np.nan)
    for chosen in studies_of(pool.about):
        role = str(pool.about[chosen[0]]["sequence_set"]).split("+")[0]
        if role not in FLUID_ROLES:
            continue
        crops = pool.batch(np.array(chosen)).crops
        contrast = contrast_of(
            crops[:, CHANNELS.index("fluid")],
            crops[:, -2] > OWN_BODY,
            np.stack([straight_grid(place) for place in range(len(chosen))]),
            role,
            calibration.contrast,
        )
        fractions[chosen] = contrast.bright
    return fractions


def straight_grid(place: int) -> NDArray[np.float64]:
    """Crop index to LPS mm of the body at a place of a straight spine."""
    slice_mm, row_mm, column_mm = CROP_PITCH_MM
    grid = np.eye(4)
    grid[:3, :3] = [[slice_mm, 0.0, 0.0], [0.0, 0.0, column_mm], [0.0, -row_mm, 0.0]]
    grid[2, 3] = -LEVEL_STEP_MM * place
    return grid


def compare(
    probability: NDArray[np.float64],
    truth: NDArray[np.float32],
    bright: NDArray[np.float64],
    calibration: ScorerCalibration,
) -> dict[str, float | int]:
    """Edema called present of true and of absent edema, by the network alone and with the rule."""
    point, rule = calibration.operating_points["edema"], calibration.contrast
    called = probability >= point.high
    both = called & (bright >= rule.agrees_from)
    unexplained = (probability < point.low) & (bright >= rule.clear_from)
    wet, dry = truth == 1, truth == 0
    shares = {
        "sensitivity_network": called[wet],
        "sensitivity_with_rule": both[wet],
        "called_of_absent_network": called[dry],
        "called_of_absent_with_rule": both[dry],
        "flagged_of_absent": unexplained[dry],
    }
    return {
        "edematous": int(wet.sum()),
        "not_edematous": int(dry.sum()),
        **{name: round(float(flags.mean()), 4) for name, flags in shares.items()},
    }


def main() -> None:
    """Print the comparison for both halves of the held-out cases, as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    given = parser.parse_args()
    calibration = read_calibration(json.loads((given.run / "calibration.json").read_text()))
    network = load_run(given.run)
    figures = {}
    for name, pool in zip(("calibration_half", "test_half"), halves(given.held_out), strict=True):
        seen = answered(network, pool, calibration)
        column = HEADS.index("edema")
        figures[name] = compare(
            calibration.platt["edema"].probability(seen.heads[:, column]),
            seen.targets[:, column],
            bright_fractions(pool, calibration),
            calibration,
        )
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
