"""Print how the localiser does on synthetic patients, held out and shifted.

python -m training.localiser.evaluate [--count N] [--curves N] [--json OUT]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from training.evaluate_real.networks import open_localiser
from training.localiser.evaluate.cases import draw_case, judge
from training.localiser.evaluate.curves import curves
from training.localiser.evaluate.summary import curve_lines, summarise, table
from training.phantom.recipe import load_recipe

SETS: Final = {"validate": "held out", "stress": "stress (shifted)"}


def main() -> int:
    """Evaluate on synthetic patients that nothing was trained on."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=300, help="patients of each set")
    parser.add_argument("--curves", type=int, default=4, help="patients of each step; 0: none")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--bundle-dir", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="a training checkpoint instead")
    given = parser.parse_args()
    localiser = open_localiser(given.bundle_dir, given.checkpoint)
    figures = {}
    for recipe_name, title in SETS.items():
        recipe = load_recipe(recipe_name)
        outcomes = [judge(draw_case(recipe, n), localiser) for n in range(given.count)]
        figures[title] = summarise(outcomes)
    sys.stdout.write(table(figures) + "\n")
    points = list(curves(load_recipe("validate"), given.curves, localiser))
    if given.curves:
        sys.stdout.write("\n" + curve_lines(points) + "\n")
    if given.json:
        steps = [{"what": p.what, "value": p.value, **summarise(p.outcomes)} for p in points]
        given.json.write_text(json.dumps({"sets": figures, "curves": steps}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
