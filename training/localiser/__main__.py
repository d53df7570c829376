"""Train the localiser: `python -m training.localiser --cases DIR --out RUN`."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.localiser.crops import CropSettings
from training.localiser.fit import FitSettings, fit


def main() -> None:
    """Train on a folder of synthetic cases; run again with the same --out to go on."""
    usual = FitSettings()
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--cases", type=Path, required=True, help="folder of case-*.npz")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint and log go here")
    parser.add_argument("--steps", type=int, default=usual.steps)
    parser.add_argument("--minutes", type=float, help="end the schedule after this time")
    parser.add_argument("--batch", type=int, default=usual.batch)
    parser.add_argument("--workers", type=int, default=usual.workers)
    parser.add_argument("--seed", type=int, default=usual.seed)
    given = parser.parse_args()
    settings = FitSettings(
        steps=given.steps,
        minutes=given.minutes,
        batch=given.batch,
        workers=given.workers,
        seed=given.seed,
    )
    fit(given.cases, given.out, CropSettings(), settings)


if __name__ == "__main__":
    main()
