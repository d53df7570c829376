"""Recipes: what a set of synthetic patients and scans is drawn from, in one TOML file each.

`train`, `validate` and `stress` come with the package; `stress` is shifted (other protocols,
thicker slices, worse noise, another mix of diseases), and no shipped weights are trained on it.
Seeds of different recipes do not overlap.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final

from models.errors import AcuityError
from training.phantom.disease import MIXES, DiseaseMix
from training.phantom.scanner.mix import AcquisitionMix
from training.phantom.scene import REGIONS, Scene, SceneRequest, sample_scene

FOLDER: Final = Path(__file__).parent.parent / "recipes"
_TABLES: Final = {
    "name", "about", "judging", "first_seed", "seeds", "regions", "disease", "acquisition",
}  # fmt: skip


class RecipeError(AcuityError, ValueError):
    """A recipe that cannot be read, or that asks for what there is not."""

    code: ClassVar[str] = "recipe_invalid"
    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class PhantomRecipe:
    """What patients and scans are drawn from.

    Attributes:
        name: Of the recipe.
        judging: Whether its patients only ever judge: no network is taught with them.
        first_seed, seeds: Patients are drawn from these seeds only.
        regions: Field of view and weight.
        disease: Shares of diseases.
        acquisition: Scanners, protocols and faults.
    """

    name: str
    judging: bool
    first_seed: int
    seeds: int
    regions: Mapping[str, float]
    disease: DiseaseMix
    acquisition: AcquisitionMix

    def seed(self, number: int) -> int:
        """The seed of patient `number`; numbers past the end begin again."""
        return self.first_seed + number % self.seeds

    def scene(self, number: int) -> Scene:
        """Patient `number` of this recipe."""
        return sample_scene(self.seed(number), SceneRequest(regions=self.regions, mix=self.disease))


def load_recipe(which: str | Path) -> PhantomRecipe:
    """Read a recipe that comes with the package by its name, or any by its path.

    Raises:
        RecipeError: There is none, or it is not valid.
    """
    path = Path(which)
    if path.suffix != ".toml":
        path = FOLDER / f"phantom_{which}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"no recipe {which}") from error
    try:
        return _parsed(tomllib.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise RecipeError(f"recipe {path.name}: {error}") from error


def recipe_of(seed: int) -> str:
    """Name of the package's recipe that has a seed among its patients'; "" where none has."""
    recipes = _packaged()
    return next((r.name for r in recipes if 0 <= seed - r.first_seed < r.seeds), "")


@cache
def _packaged() -> tuple[PhantomRecipe, ...]:
    return tuple(load_recipe(path) for path in sorted(FOLDER.glob("phantom_*.toml")))


def load_teaching_recipe(which: str | Path) -> PhantomRecipe:
    """Read a recipe to teach a network with.

    Raises:
        RecipeError: There is none, it is not valid, or it is for judging only.
    """
    recipe = load_recipe(which)
    if recipe.judging:
        raise RecipeError(f"recipe {recipe.name} is for judging only: nothing is taught with it")
    return recipe


def _yes_or_no(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("judging: true or false")
    return value


def _parsed(table: dict[str, Any]) -> PhantomRecipe:
    unknown = set(table) - _TABLES
    if unknown:
        raise ValueError(f"unknown entries: {', '.join(sorted(unknown))}")
    regions = {str(name): float(weight) for name, weight in table.get("regions", REGIONS).items()}
    if set(regions) - set(REGIONS) or min(regions.values()) < 0 or sum(regions.values()) <= 0:
        raise ValueError("regions: unknown names or weights that make no sense")
    disease = dict(table.get("disease", {}))
    base = MIXES[str(disease.pop("base", "train"))]
    return PhantomRecipe(
        name=str(table["name"]),
        judging=_yes_or_no(table.get("judging", False)),
        first_seed=int(table["first_seed"]),
        seeds=int(table["seeds"]),
        regions=regions,
        disease=DiseaseMix.from_mapping({**asdict(base), **disease}),
        acquisition=AcquisitionMix.from_mapping(table.get("acquisition", {})),
    )
