"""Make the scorer from case files in one go: crops, training, calibration, figures, bundle.

    python -m training.scorer --cases CASES --held-out CASES --out RUN [--store STORE]

Each part may be run alone, on several cores or again where it stopped: `training.scorer.cache`,
`training.scorer.loop`, `training.scorer.export`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from training.scorer.cache import fill_cache
from training.scorer.export import finish, install
from training.scorer.loop import Recipe, train


def main() -> None:
    """Make the scorer from case files."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--cases", type=Path, required=True, help="training cases")
    parser.add_argument("--held-out", type=Path, required=True, help="cases for figures")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--store", type=Path, help="folder of bundles; without it nothing is made")
    parser.add_argument("--studies", type=int, default=2, help="studies per case")
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--changes", default="First version.")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    run = arguments.out / "train"
    cache, held_out = arguments.out / "cache", arguments.out / "held_out"
    fill_cache(arguments.cases, cache, arguments.studies, (0, 1))
    fill_cache(arguments.held_out, held_out, arguments.studies, (0, 1))
    train(cache, run, Recipe(steps=arguments.steps), resume=(run / "state.pt").exists())
    fitted, figures = finish(run, cache, held_out)
    if arguments.store is not None:
        about = (arguments.version, arguments.changes)
        install(run, held_out, arguments.store, fitted, figures, about)


if __name__ == "__main__":
    main()
