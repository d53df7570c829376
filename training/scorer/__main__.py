"""Make the scorer of synthetic patients in one go: crops, training, calibration, figures, bundle.

    python -m training.scorer --out RUN [--recipe NAME] [--studies N] [--store STORE]

Each part may be run alone, on several cores or again where it stopped: `training.scorer.cache`,
`training.scorer.loop`, `training.scorer.export`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from training.phantom.recipe import load_recipe, load_teaching_recipe
from training.scorer.cache import fill_cache
from training.scorer.export import Crops, finish, install
from training.scorer.loop import Recipe, train

HELD_OUT = "validate"
"""Recipe whose patients calibrate and give the figures."""


def main() -> None:
    """Make the scorer of synthetic patients, each scanned once."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--recipe", default="train", help="phantom recipe to learn from")
    parser.add_argument("--studies", type=int, default=1000, help="training studies")
    parser.add_argument("--held-out", type=int, default=400, help=f"studies of `{HELD_OUT}`")
    parser.add_argument("--store", type=Path, help="folder of bundles; without it nothing is made")
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--changes", default="First version.")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    run, crops = given.out / "train", Crops(given.out / "cache", given.out / "held_out")
    fill_cache(load_teaching_recipe(given.recipe), crops.learned, given.studies)
    fill_cache(load_recipe(HELD_OUT), crops.held_out, given.held_out)
    resume = (run / "state.pt").exists()
    train(crops.learned, run, Recipe(steps=given.steps), resume=resume)
    fitted, figures = finish(run, crops)
    if given.store is not None:
        about = (given.version, given.changes)
        install(run, crops.held_out, given.store, fitted, figures, about)


if __name__ == "__main__":
    main()
