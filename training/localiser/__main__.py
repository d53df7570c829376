"""Train the localiser: `python -m training.localiser --out RUN`."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.localiser.crops import CropSettings
from training.localiser.fit import FitSettings, fit
from training.phantom.recipe import load_teaching_recipe


def main() -> None:
    """Train on synthetic patients drawn on the fly; run again with the same --out to go on."""
    usual = FitSettings()
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--recipe",
        nargs="+",
        default=["train"],
        help="names or TOML files of phantom recipes, drawn from equally often",
    )
    parser.add_argument("--out", type=Path, required=True, help="checkpoint and log go here")
    parser.add_argument("--steps", type=int, default=usual.steps)
    parser.add_argument("--minutes", type=float, help="end the schedule after this time")
    parser.add_argument("--batch", type=int, default=usual.batch)
    parser.add_argument("--workers", type=int, default=usual.workers)
    parser.add_argument("--rate", type=float, default=usual.peak_rate, help="peak learning rate")
    parser.add_argument("--start", type=Path, help="model.safetensors of a bundle to begin with")
    parser.add_argument("--averaging", type=float, default=usual.averaging)
    parser.add_argument("--device", default=usual.device, choices=("cpu", "cuda"))
    parser.add_argument("--shelf", type=int, default=usual.shelf, help="crops kept to show again")
    parser.add_argument("--shown", type=float, default=usual.shown, help="times, in the mean")
    parser.add_argument("--kept", type=float, default=usual.kept, help="see FitSettings.kept")
    parser.add_argument("--bfloat16", action="store_true", help="for GPUs, and CPUs with AMX")
    parser.add_argument("--save-every", type=int, default=usual.save_every, help="steps")
    parser.add_argument("--seed", type=int, default=usual.seed)
    given = parser.parse_args()
    settings = FitSettings(
        steps=given.steps,
        minutes=given.minutes,
        batch=given.batch,
        peak_rate=given.rate,
        averaging=given.averaging,
        device=given.device,
        shelf=given.shelf,
        shown=given.shown,
        kept=given.kept,
        bfloat16=given.bfloat16,
        workers=given.workers,
        save_every=given.save_every,
        seed=given.seed,
    )
    recipes = [load_teaching_recipe(which) for which in given.recipe]
    fit(recipes, given.out, CropSettings(), settings, given.start)


if __name__ == "__main__":
    main()
