"""What the rule of measured contrast costs and gains on held-out synthetic cases.

python -m training.scorer.contrast --run RUN --held-out CACHE
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.scorer.calibration import ScorerCalibration, read_calibration
from models.scorer.heads import HEADS
from training.scorer.calibrate import bright_fractions
from training.scorer.combine import answered
from training.scorer.export import halves, load_run


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
            bright_fractions(pool),
            calibration,
        )
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
