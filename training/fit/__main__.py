"""Train from a recipe; run again with the same --out to go on.

acuity train fit --recipe scorer_fine_tune --manifest labels.parquet --out RUN
torchrun --nproc-per-node 4 -m training.fit --recipe mine.toml --out RUN
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import save_file

from training.fit.loop import fit
from training.fit.prepare import prepare
from training.fit.processes import Processes, joined
from training.fit.recipe import FitRecipe, Overrides, load_recipe
from training.judging.evaluate import progress_bar

NETWORK = "network.safetensors"


def run_recipe(recipe: FitRecipe, run: Path, processes: Processes | None = None) -> None:
    """Prepare, train and keep the averaged network as `network.safetensors`."""
    trainee = prepare(recipe, run)
    processes = processes or Processes.alone(recipe.run.device)
    with progress_bar("training") as progress:

        def told(step: int, _losses: Mapping[str, float]) -> None:
            progress(step, recipe.schedule.steps)

        network = fit(trainee, recipe, run, processes=processes, on_step=told)
    if processes.first:
        weights = {name: value.contiguous() for name, value in network.state_dict().items()}
        save_file(weights, run / f".{NETWORK}.part")
        (run / f".{NETWORK}.part").replace(run / NETWORK)
        sys.stdout.write(f"{run / NETWORK}\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train from a recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", required=True, help="TOML file, or the name of a shipped one")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--manifest", type=Path, help="in place of the recipe's")
    parser.add_argument("--start", help="in place of the recipe's: scratch, served, bundle folder")
    parser.add_argument("--steps", type=int, help="in place of the recipe's")
    parser.add_argument("--threads", type=int, help="in place of the recipe's")
    given = parser.parse_args(arguments)
    overrides = Overrides(given.manifest, given.start, given.steps, given.threads)
    recipe = load_recipe(given.recipe, overrides)
    # cuBLAS repeats its products only with a workspace of fixed size (its "reproducibility").
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with joined(recipe.run.device) as processes:
        run_recipe(recipe, given.out, processes)


if __name__ == "__main__":
    main()
