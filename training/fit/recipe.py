"""Recipes: what is trained, from what, on what and how long, in one TOML file each.

Paths in a recipe start from the recipe's own folder. Those that come with the package, named by
their file's middle (`fit_scorer_fine_tune.toml` is `scorer_fine_tune`), take their paths from the
command line.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.fit.errors import FitRecipeError

FOLDER: Final = Path(__file__).parent.parent / "recipes"

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0, lt=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelPart(_Part):
    """What is trained.

    Attributes:
        kind: Which network.
        start: "scratch", "served", or the folder of a bundle.
        encoder: "full", "low_rate" (its learning rate is multiplied by `encoder_rate`) or "frozen".
        encoder_rate: See above.
    """

    kind: Literal["scorer", "localiser"]
    start: str = "served"
    encoder: Literal["full", "low_rate", "frozen"] = "full"
    encoder_rate: Annotated[float, Field(gt=0, le=1)] = 0.1


class DataPart(_Part):
    """What it is trained on.

    Attributes:
        manifest: Labelled studies; None for synthetic ones only.
        phantom: Phantom recipe of synthetic patients to train on beside or instead.
        phantom_count: How many are drawn (scorer; the localiser draws without end).
        phantom_share: Part of every batch that is synthetic, where there are both.
        cache: Folder of crops made before; a fresh one in the run folder by default.
        crossed: Learn twice, from the part to train on and from the part to validate on, each time
            validating with the other, and keep the mean of both networks (scorer); see
            `training.crossing`.
    """

    manifest: Path | None = None
    phantom: str | None = None
    phantom_count: Positive = 200
    phantom_share: Share = 0.5
    cache: Path | None = None
    crossed: bool = False


class SchedulePart(_Part):
    """How it is trained.

    Attributes:
        steps, batch: Steps, and crops in each over all processes.
        rate, warm_up: Largest learning rate, and the part of the steps over which it is reached.
        decay, clip: Weight decay and largest gradient norm.
        average: Decay of the averaged weights, which are those that are kept.
        seed: Of weights, order and disturbance.
        checkpoint_every, validate_every: Steps.
        kept: Parts of the way from the weights it began with to the learned ones; the one with the
            lowest loss on the validation part is kept. With 0 among them, a run that helps nothing
            changes nothing. Empty keeps the learned weights.
    """

    steps: Positive
    batch: Positive = 32
    rate: Rate = 1e-3
    warm_up: Share = 0.05
    decay: Annotated[float, Field(ge=0)] = 1e-3
    clip: Annotated[float, Field(gt=0)] = 5.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.98
    seed: Annotated[int, Field(ge=0)] = 1
    checkpoint_every: Positive = 50
    validate_every: Positive = 50
    kept: tuple[Share, ...] = ()


class RunPart(_Part):
    """Where and how it computes; none of it changes what is learnt, but for rounding.

    Attributes:
        device: "auto" takes a GPU when there is one.
        precision: Of products on a GPU; sums, weights and everything on a CPU stay float32.
        deterministic: Only algorithms that give the same bits every time.
        threads: Of each process on the CPU.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    deterministic: bool = True
    threads: Positive = 1


class FitRecipe(_Part):
    """A whole recipe."""

    model: ModelPart
    data: DataPart = DataPart()
    schedule: SchedulePart
    run: RunPart = RunPart()

    @model_validator(mode="after")
    def _trains_on_something(self) -> Self:
        if self.data.manifest is None and self.data.phantom is None:
            raise ValueError("data: give a manifest, a phantom recipe, or both")
        if self.model.start == "scratch" and self.model.kind == "scorer" and not self.data.phantom:
            raise ValueError(
                "data: a scorer from nothing needs a phantom recipe: its thresholds and what "
                "images it may be shown are chosen on synthetic levels"
            )
        if self.model.start == "scratch" and self.model.encoder != "full":
            raise ValueError("model: an encoder without training can only be trained in full")
        if self.model.start == "scratch" and self.schedule.kept:
            raise ValueError("schedule: there are no weights to keep a part of")
        if self.model.start == "scratch" and self.data.crossed:
            raise ValueError("data: two networks from nothing have no mean, they cannot be crossed")
        if self.model.kind != "scorer" and self.data.crossed:
            raise ValueError("data: only the run of a scorer can be crossed")
        if self.data.manifest is None and self.data.crossed:
            raise ValueError("data: without a manifest there are no parts to cross")
        return self

    @property
    def sha256(self) -> str:
        """Stands for what is learnt: the same for the same recipe wherever its files lie."""
        told = self.model_dump(mode="json", exclude={"run": True, "data": {"manifest", "cache"}})
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line lays over a recipe; None keeps what it says."""

    manifest: Path | None = None
    start: str | None = None
    steps: int | None = None
    threads: int | None = None


def load_recipe(which: str, overrides: Overrides | None = None) -> FitRecipe:
    """Read a recipe by its path, or one that comes with the package by its name.

    Raises:
        FitRecipeError: There is none, or it is not valid; what is wrong is named.
    """
    path = Path(which) if which.endswith(".toml") else FOLDER / f"fit_{which}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        names = sorted(one.stem.removeprefix("fit_") for one in FOLDER.glob("fit_*.toml"))
        raise FitRecipeError(f"no recipe {which}; there are {', '.join(names)}") from error
    except tomllib.TOMLDecodeError as error:
        raise FitRecipeError(f"recipe {path.name} is not TOML: {error}") from error
    given = overrides or Overrides()
    data = table.setdefault("data", {})
    for name in ("manifest", "cache"):
        if isinstance(data, dict) and isinstance(data.get(name), str):
            data[name] = str((path.parent / data[name]).resolve())
    laid = {
        ("data", "manifest"): given.manifest,
        ("model", "start"): given.start,
        ("schedule", "steps"): given.steps,
        ("run", "threads"): given.threads,
    }
    for (part, name), value in laid.items():
        if value is not None:
            table.setdefault(part, {})[name] = value
    try:
        return FitRecipe.model_validate(table)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'recipe'}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)
        )
        raise FitRecipeError(f"recipe {path.name}: {told}") from error
