"""Count what a recipe draws: the shares of diseases, signs and variants that the datasheet states.

python -m training.realism.shares [--recipe train] [--count 4000]

Shares come out of chances (`disease/mix.py`), age, bone mass and what is there already, so they are
counted, not read off the recipe. Levels are those in view.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from typing import Final

from training.phantom.recipe import load_recipe
from training.phantom.scene import Scene, levels_in_view

OF_SPINES: Final = ("discitis", "scheuermann", "post_radiation", "red_marrow", "andersson")
PARTS: Final = {"C": "cervical", "T": "thoracic and lumbar", "L": "thoracic and lumbar", "S": "S1"}
SIGNS: Final = tuple(f"B{n}" for n in range(1, 13)) + tuple(f"G{n}" for n in range(1, 9))


class Counted:
    """Counts over many spines."""

    def __init__(self) -> None:
        self.spines: Counter[str] = Counter()
        self.stages: Counter[str] = Counter()
        self.lesions: Counter[str] = Counter()
        self.levels: Counter[str] = Counter()
        self.found: dict[str, Counter[str]] = {}
        self.signs: dict[str, Counter[str]] = {}

    def add(self, scene: Scene) -> None:
        """Count one patient."""
        view = levels_in_view(scene.spine.levels, scene.region)
        diseases = {level: scene.disease(level) for level in view}
        self.spines["all"] += 1
        self.spines["with screws"] += scene.implants is not None
        self.spines["with a sacral fracture"] += scene.sacral_fracture is not None
        sick = [d for d in scene.diseases.values() if d.etiology != "none" or d.public_mimics]
        self.spines["without anything that a truth names"] += not sick
        self.spines["with an osteoporotic fracture"] += any(d.etiology == "benign" for d in sick)
        kinds = {d.lesion.kind for d in sick if d.lesion is not None}
        self.spines["with marrow disease"] += "diffuse" in kinds
        self.spines["with metastases"] += bool(kinds - {"diffuse"})
        mimics = {mimic for d in sick for mimic in d.mimics}
        self.spines["with inflamed or fatty corners"] += bool(
            mimics & {"inflammatory_corner", "fatty_corner"}
        )
        for name in OF_SPINES:
            self.spines[f"with {name}"] += name in mimics
        for level, disease in diseases.items():
            part = PARTS[level[0]]
            self.levels[part] += 1
            found = self.found.setdefault(part, Counter())
            found.update(set(disease.mimics))
            found["fracture"] += disease.fractured
            found["lesion"] += disease.lesion is not None
            if disease.lesion is not None:
                self.lesions[disease.lesion.kind] += 1
                self.lesions["fractured"] += disease.fractured
            if disease.fractured:
                self._add_fracture(disease.etiology, disease.stage, disease.fracture, disease.signs)

    def _add_fracture(self, etiology: str, stage: str, shape: str, signs: frozenset[str]) -> None:
        if etiology == "benign":
            self.stages[stage] += 1
            self.stages["acute or subacute without deformity"] += (
                stage in ("acute", "subacute") and shape == "none"
            )
        kind = f"{etiology}, {'acute' if stage == 'acute' else 'other'}"
        counted = self.signs.setdefault(kind, Counter())
        counted["all"] += 1
        counted.update(signs)

    def text(self) -> str:
        """All shares in percent."""
        lines = [f"{self.spines['all']} spines"]
        lines += _shares(self.spines, self.spines["all"])
        fractures = sum(
            n for stage, n in self.stages.items() if not stage.startswith("acute or subacute")
        )
        lines += [f"{fractures} osteoporotic fractures in view", *_shares(self.stages, fractures)]
        lesions = sum(n for kind, n in self.lesions.items() if kind != "fractured")
        lines += [f"{lesions} levels with a lesion in view", *_shares(self.lesions, lesions)]
        for part, count in self.levels.items():
            lines += [f"{count} {part} levels in view", *_shares(self.found[part], count)]
        for kind, counted in sorted(self.signs.items()):
            lines.append(f"{counted['all']} fractures, {kind}")
            lines += _shares(Counter({s: counted[s] for s in SIGNS}), counted["all"])
        return "\n".join(lines) + "\n"


def _shares(counted: Counter[str], total: int) -> list[str]:
    return [
        f"  {name:40s} {100.0 * count / max(total, 1):5.1f} %"
        for name, count in sorted(counted.items())
        if name != "all"
    ]


def main() -> None:
    """Print the shares of a recipe."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--recipe", default="train", help="name or TOML file")
    parser.add_argument("--count", type=int, default=4000, help="spines")
    given = parser.parse_args()
    recipe, counted = load_recipe(given.recipe), Counted()
    for number in range(given.count):
        counted.add(recipe.scene(number))
    sys.stdout.write(counted.text())


if __name__ == "__main__":
    main()
