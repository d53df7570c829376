"""Write synthetic patients as DICOM studies with their truth.

python -m training.phantom --recipe train --count 20 --out DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np

from models.volume import Role
from training.phantom.dicom.placement import PaintedScene
from training.phantom.dicom.recipe import ExtraSeries, HeaderFlaws, StudyRecipe
from training.phantom.dicom.study import WrittenStudy, write_study
from training.phantom.draw import EXTENT_MM, draw_roles
from training.phantom.patient import grid_around, paint_case
from training.phantom.recipe import PhantomRecipe, load_recipe

CASE_PITCH_MM: Final = (1.6, 1.0, 1.0)
"""Of the grid on which the truth of a level is counted."""

ANGULATION_DEG: Final = 1.5


def write_patient(
    recipe: PhantomRecipe,
    number: int,
    out: Path,
    *,
    roles: tuple[Role, ...] | None = None,
    extras: ExtraSeries | None = None,
) -> WrittenStudy:
    """Write one patient of a recipe: `dicom/`, `truth.json` and the label maps.

    Args:
        recipe: What patients and scans are drawn from.
        number: Which patient; the same one gives the same bytes.
        out: The study's folder, created when missing.
        roles: Series of the spine; drawn by default.
        extras: Rates of further series; those of a mixed archive by default.
    """
    scene = recipe.scene(number)
    rng = np.random.default_rng([scene.seed, 2])
    shape = tuple(int(mm / pitch) for mm, pitch in zip(EXTENT_MM, CASE_PITCH_MM, strict=True))
    case = paint_case(scene, grid_around(scene.aim, (shape[0], shape[1], shape[2]), CASE_PITCH_MM))
    drawn = draw_roles(rng)
    plan = StudyRecipe(
        roles=tuple(role for role in roles or drawn if role is not Role.DIXON_FAT),
        gradient_echo_dixon=None,
        angulation_deg=ANGULATION_DEG,
        flaws=HeaderFlaws(),
        extras=extras or ExtraSeries(),
        storage=None,
        mix=recipe.acquisition,
    )
    return write_study(case, out, plan, rng, tissue=PaintedScene(scene, EXTENT_MM))


def main() -> None:
    """Write synthetic patients as DICOM studies; folders that are there already are kept."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--recipe", default="train", help="name or TOML file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first patient")
    given = parser.parse_args()
    recipe = load_recipe(given.recipe)
    for number in range(given.first, given.first + given.count):
        folder = given.out / f"{recipe.name}-{recipe.seed(number)}"
        if not (folder / "truth.json").exists():
            write_patient(recipe, number, folder)


if __name__ == "__main__":
    main()
