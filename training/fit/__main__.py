"""Train from a recipe; run again with the same --out to go on.

acuity train fit --recipe scorer_fine_tune --manifest labels.parquet --out RUN
torchrun --nproc-per-node 4 -m training.fit --recipe mine.toml --out RUN
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from training.blending import between
from training.crossing import PARTS, half_run
from training.datasets.rows import Split
from training.fit.loop import fit
from training.fit.prepare import prepare, require_ready
from training.fit.processes import Processes, joined
from training.fit.recipe import FitRecipe, Overrides, load_recipe
from training.fit.records import learned_of, write_learned, write_start
from training.fit.timings import Timings
from training.progress import progress_bar

NETWORK = "network.safetensors"


def run_recipe(recipe: FitRecipe, run: Path, processes: Processes | None = None) -> None:
    """Prepare, train and keep the averaged network as `network.safetensors`.

    A crossed recipe trains two, in run folders of their own, and keeps their mean.
    """
    processes = processes or Processes.alone(recipe.run.device)
    timings = Timings(run, enabled=processes.first)
    if recipe.data.crossed:
        _train_both(recipe, run, processes, timings)
    else:
        require_ready(recipe, {run: recipe})
        _train(recipe, run, processes, timings)
    if processes.first:
        sys.stdout.write(f"{timings}\n")


def _train_both(recipe: FitRecipe, run: Path, processes: Processes, timings: Timings) -> None:
    half = half_recipe(recipe, run)
    runs = {learned: half_run(run, learned) for learned in PARTS}
    require_ready(recipe, dict.fromkeys(runs.values(), half))
    told = learned_of(recipe, PARTS)
    for learned, own in runs.items():
        _train(half, own, processes, timings, learned)
    if processes.first:
        data = {
            str(part): json.loads((one / "data.json").read_bytes()) for part, one in runs.items()
        }
        digest = hashlib.sha256("".join(one["sha256"] for one in data.values()).encode())
        write_start(run, recipe, {"sha256": digest.hexdigest(), **data})
        write_learned(run, told)
        first, second = (load_file(one / NETWORK) for one in runs.values())
        _keep(between(first, second, 0.5), run)
    processes.wait()


def half_recipe(recipe: FitRecipe, run: Path) -> FitRecipe:
    """What each half of a crossed run goes by; what is read and drawn is shared."""
    alone = {"crossed": False, "cache": recipe.data.cache or run / "cache"}
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=alone)})


def _train(
    recipe: FitRecipe,
    run: Path,
    processes: Processes,
    timings: Timings,
    learned: Split = Split.TRAIN,
) -> None:
    # The first process reads and draws for all; the others then find it done.
    if not processes.first:
        processes.wait()
    noted = learned_of(recipe, [learned])
    with timings.phase("preparing"):
        trainee = prepare(recipe, run, learned)
    if processes.first:
        processes.wait()
    with timings.phase("teaching"), progress_bar("training") as progress:

        def told(step: int, _losses: Mapping[str, float]) -> None:
            progress(step, recipe.schedule.steps)

        network = fit(trainee, recipe, run, processes=processes, on_step=told)
    if processes.first:
        write_learned(run, noted)
        _keep(network.state_dict(), run)
    processes.wait()


def _keep(weights: Mapping[str, Tensor], run: Path) -> None:
    """Write the weights of a finished run, whole or not at all."""
    whole = {name: value.contiguous() for name, value in weights.items()}
    save_file(whole, run / f".{NETWORK}.part")
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
