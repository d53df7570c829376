"""Draw what patients and scans are drawn from: the picture of distributions of the datasheet.

python -m training.realism.distributions [--recipe train] [--count 1500] --out FILE.png

Nothing is painted: patients are drawn as numbers, protocols as settings. Means of real masks
(`reference.toml`) lie beside body sizes and discs.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from models.volume import Role
from training.phantom.recipe import PhantomRecipe, load_recipe
from training.phantom.scanner.protocols import Protocol, sample_protocol
from training.phantom.scene import Scene, levels_in_view
from training.realism.reference import measured_shapes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BODIES: Final = (*(f"T{n}" for n in range(4, 13)), *(f"L{n}" for n in range(1, 6)))
DISCS: Final = ("T11/T12", "T12/L1", "L1/L2", "L2/L3", "L3/L4", "L4/L5")
ROLES: Final = (Role.T1, Role.T2, Role.STIR, Role.T2_FS, Role.DIXON_WATER)
INCHES: Final = (12.0, 8.6)
DPI: Final = 80


def draw(recipe: PhantomRecipe, count: int, out: Path) -> None:
    """Draw nine panels of distributions as one PNG.

    Args:
        recipe: What patients and scans are drawn from.
        count: How many patients, and protocols of each role.
        out: Where to.
    """
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    scenes = [recipe.scene(number) for number in range(count)]
    rng = np.random.default_rng(recipe.first_seed)
    protocols = {
        role: [sample_protocol(role, rng, mix=recipe.acquisition) for _ in range(count)]
        for role in ROLES
    }
    figure, axes = pyplot.subplots(3, 3, figsize=INCHES)
    _people(axes[0, 0], scenes)
    _marrow(axes[0, 1], scenes)
    _hydration(axes[0, 2], scenes)
    _heights(axes[1, 0], scenes)
    _disc_heights(axes[1, 1], scenes)
    _curves(axes[1, 2], scenes)
    _seats(axes[2, 0], scenes)
    _edema(axes[2, 1], scenes)
    _times(axes[2, 2], protocols)
    figure.suptitle(f"{count} patients and protocols of the recipe {recipe.name}", fontsize=10)
    figure.tight_layout()
    figure.savefig(out, dpi=DPI)
    pyplot.close(figure)


def _people(axes: Axes, scenes: Sequence[Scene]) -> None:
    for sex, name in (("F", "women"), ("M", "men")):
        ages = [s.spine.subject.age_years for s in scenes if s.spine.subject.sex == sex]
        axes.hist(ages, bins=np.arange(15, 100, 5).tolist(), alpha=0.6, label=name)
    _titled(axes, "age", "years", "patients", legend=True)


def _marrow(axes: Axes, scenes: Sequence[Scene]) -> None:
    for sex, name in (("F", "women"), ("M", "men")):
        people = [s.spine.subject for s in scenes if s.spine.subject.sex == sex]
        axes.plot(
            [one.age_years for one in people],
            [100 * one.marrow_fat for one in people],
            ".",
            markersize=2,
            label=name,
        )
    _titled(axes, "marrow fat", "years", "percent", legend=True)


def _hydration(axes: Axes, scenes: Sequence[Scene]) -> None:
    for level in ("T12", "L3", "L5"):
        known = [
            (s.spine.subject.age_years, s.spine.bone(level).disc)
            for s in scenes
            if level in s.spine.levels
        ]
        pairs = np.array([(age, disc.hydration) for age, disc in known if disc is not None])
        edges = np.arange(20, 95, 10)
        middle = [
            np.median(pairs[(pairs[:, 0] >= low) & (pairs[:, 0] < low + 10), 1]) for low in edges
        ]
        axes.plot(edges + 5, middle, label=f"below {level}")
    axes.set_ylim(0, 1)
    _titled(axes, "hydration of nuclei, median", "years", "1 Pfirrmann I, 0 V", legend=True)


def _heights(axes: Axes, scenes: Sequence[Scene]) -> None:
    drawn = {
        name: [s.spine.bone(name).intact.height_posterior for s in scenes if name in s.spine.levels]
        for name in BODIES
    }
    _spread(axes, BODIES, drawn)
    _measured(axes, "body", BODIES, "height post")
    _titled(axes, "posterior height, before any fracture", "", "mm", legend=True)


def _disc_heights(axes: Axes, scenes: Sequence[Scene]) -> None:
    drawn: dict[str, list[float]] = {}
    for pair in DISCS:
        upper, lower = pair.split("/")
        for scene in scenes:
            known = {upper, lower} <= set(scene.spine.levels)
            if known and not (scene.disease(upper).fractured or scene.disease(lower).fractured):
                above, below = scene.spine.bone(upper), scene.spine.bone(lower)
                apart = float(np.linalg.norm(above.centre - below.centre))
                drawn.setdefault(pair, []).append(apart)
    _spread(axes, DISCS, drawn)
    _measured(axes, "disc", DISCS, "centroid distance")
    _titled(axes, "distance of unbroken neighbours", "", "mm", legend=True)


def _curves(axes: Axes, scenes: Sequence[Scene]) -> None:
    axes.hist([s.spine.cobb_deg for s in scenes], bins=np.arange(0, 50, 2.5).tolist(), alpha=0.7)
    axes.set_yscale("log")
    _titled(axes, "scoliosis (Cobb angle)", "degrees", "patients")


def _seats(axes: Axes, scenes: Sequence[Scene]) -> None:
    broken: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for scene in scenes:
        for level in levels_in_view(scene.spine.levels, scene.region):
            seen[level] += 1
            broken[level] += scene.disease(level).etiology == "benign"
    axes.bar(BODIES, [100 * broken[name] / max(seen[name], 1) for name in BODIES])
    axes.tick_params(axis="x", rotation=90)
    _titled(axes, "osteoporotic fractures of levels in view", "", "percent")


def _edema(axes: Axes, scenes: Sequence[Scene]) -> None:
    edemas = [
        (d.stage, d.edema) for s in scenes for d in s.diseases.values() if d.edema is not None
    ]
    for stage in ("acute", "subacute", "unhealed_cleft"):
        axes.hist(
            [edema.intensity for known, edema in edemas if known == stage],
            bins=np.linspace(0, 1, 21).tolist(),
            alpha=0.55,
            density=True,
            label=stage.replace("_", " "),
        )
    _titled(
        axes, "free water of edema in fractures", "of the most that marrow holds", "", legend=True
    )


def _times(axes: Axes, protocols: dict[Role, list[Protocol]]) -> None:
    for role, drawn in protocols.items():
        sequences = [one.sequence for one in drawn]
        axes.plot(
            [one.repetition_ms for one in sequences],
            [one.echo_ms for one in sequences],
            ".",
            markersize=2,
            label=role.value,
        )
    axes.set_xscale("log")
    _titled(axes, "protocols", "repetition time, ms", "echo time, ms", legend=True)


def _spread(axes: Axes, names: Sequence[str], drawn: dict[str, list[float]]) -> None:
    axes.boxplot([drawn[name] for name in names], whis=(5, 95), showfliers=False)
    axes.set_xticks(np.arange(1, len(names) + 1), names, rotation=90)


def _measured(axes: Axes, section: str, names: Sequence[str], figure: str) -> None:
    known = measured_shapes(section)
    found = [(n, known.get((name, figure))) for n, name in enumerate(names, start=1)]
    places = [(n, one) for n, one in found if one is not None]
    axes.errorbar(
        [n for n, _ in places],
        [one.mean for _, one in places],
        [one.sd for _, one in places],
        fmt="r.",
        label="measured, mean and SD",
    )


def _titled(axes: Axes, title: str, across: str, up: str, *, legend: bool = False) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(across, fontsize=8)
    axes.set_ylabel(up, fontsize=8)
    axes.tick_params(labelsize=7)
    if legend:
        axes.legend(fontsize=7)


def main() -> None:
    """Draw the distributions of a recipe."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--recipe", default="train", help="name or TOML file")
    parser.add_argument("--count", type=int, default=1500, help="patients, and protocols per role")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    draw(load_recipe(given.recipe), given.count, given.out)


if __name__ == "__main__":
    main()
