"""What a run leaves behind: recipe, environment, data, log, curves and pictures.

    RUN/recipe.json        as it was run, with what the command line changed
    RUN/environment.json   versions of everything that computes
    RUN/data.json          digest and counts of the data
    RUN/learned.json       salted digests of what it learns from, for the bundle
    RUN/log.jsonl          one line a validated or logged step
    RUN/timings.json       wall seconds by phase, see `training.fit.timings`
    RUN/curves/            TensorBoard event files
    RUN/pictures/          predictions beside their truth
    RUN/checkpoint.pt, RUN/network.safetensors

With MLFLOW_TRACKING_URI set and mlflow installed, parameters and curves go there too.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import torch

from models.durable import write_durably
from training.datasets.manifest import read_manifest
from training.datasets.rows import Split
from training.datasets.selection import chosen, data_digest
from training.fit.errors import TrackerMissingError
from training.fit.recipe import FitRecipe
from training.fit.trainee import Trainee
from training.judging.learned import noted

LOG: Final = "log.jsonl"
LEARNED: Final = "learned.json"
LOG_EVERY: Final = 10
PACKAGES: Final = ("vertebral-acuity", "torch", "monai", "numpy", "scipy", "openvino", "onnx")


class Records:
    """Writes them; does nothing in any process but the first."""

    def __init__(
        self, run: Path, recipe: FitRecipe, trainee: Trainee, *, enabled: bool = True
    ) -> None:
        """Open the run folder's records.

        Raises:
            TrackerMissingError: MLFLOW_TRACKING_URI is set and mlflow is not installed.
        """
        self._run, self._enabled = run, enabled
        self._writer: Any = None
        self._tracker: Any = None
        if enabled:
            write_start(run, recipe, {"sha256": trainee.data_sha256, **trainee.about()})
            self._tracker = _tracker(recipe, trainee)

    def __enter__(self) -> Self:
        if self._enabled:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

            self._writer = SummaryWriter(str(self._run / "curves"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._tracker is not None:
            self._tracker.end_run("FINISHED" if kind is None else "FAILED")

    def step(self, step: int, losses: Mapping[str, float], seconds: float) -> None:
        """Note a step's losses."""
        if self._enabled and step % LOG_EVERY == 0:
            self._note(step, "training", {**losses, "seconds": seconds})

    def validated(self, step: int, found: Mapping[str, float]) -> None:
        """Note figures on the validation part."""
        self._note(step, "validation", found)

    def blended(self, step: int, found: Mapping[str, float]) -> None:
        """Note figures of weights between the first and the learned ones."""
        self._note(step, "blended", found)

    def picture(self, step: int) -> Path:
        """Where the pictures of a step belong."""
        folder = self._run / "pictures"
        folder.mkdir(exist_ok=True)
        return folder / f"step-{step:06d}.png"

    def _note(self, step: int, part: str, values: Mapping[str, float]) -> None:
        if self._writer is None:
            return
        for name, value in values.items():
            self._writer.add_scalar(f"{part}/{name}", value, step)
        if self._tracker is not None:
            named = {f"{part}.{name}": value for name, value in values.items()}
            self._tracker.log_metrics(named, step=step)
        rounded = {name: round(value, 6) for name, value in values.items()}
        with (self._run / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "part": part, **rounded}) + "\n")


def write_start(run: Path, recipe: FitRecipe, data: Mapping[str, Any]) -> None:
    """Write recipe, environment and data.

    Args:
        run: Run folder.
        recipe: As it is run.
        data: "sha256" and counts.
    """
    run.mkdir(parents=True, exist_ok=True)
    told = recipe.model_dump(mode="json") | {"sha256": recipe.sha256}
    write_durably(run / "recipe.json", json.dumps(told, indent=1).encode())
    write_durably(run / "environment.json", json.dumps(environment(), indent=1).encode())
    write_durably(run / "data.json", json.dumps(dict(data), indent=1).encode())


def write_learned(run: Path, told: Mapping[str, Any]) -> None:
    """Write what a run learned from, see `learned_of`; nothing where that was no study."""
    if told:
        write_durably(run / LEARNED, json.dumps(dict(told), indent=1).encode())


def learned_of(recipe: FitRecipe, parts: Sequence[Split]) -> dict[str, Any]:
    """Parts of a recipe's manifest, and its patients, studies and pictures as salted digests.

    Empty where there is no manifest.

    Raises:
        DatasetError: The manifest cannot be read, or has no row in the parts.
        JudgingError: There is more than a bundle can hold.
    """
    if recipe.data.manifest is None:
        return {}
    own = chosen(read_manifest(recipe.data.manifest), parts)
    return {"parts": [str(part) for part in parts], **noted(own.rows, data_digest(own))}


def environment() -> dict[str, Any]:
    """Versions of what computes; nothing of the machine's name or places."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: version(name) for name in PACKAGES},
        "cuda": torch.version.cuda,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def require_tracker() -> bool:
    """Whether a tracking server is named, and what speaks to it is there.

    Raises:
        TrackerMissingError: MLFLOW_TRACKING_URI is set and mlflow is not installed.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return False
    if find_spec("mlflow") is None:
        raise TrackerMissingError("MLFLOW_TRACKING_URI is set: install mlflow-skinny, or unset it")
    return True


def _tracker(recipe: FitRecipe, trainee: Trainee) -> Any:  # noqa: ANN401  mlflow is optional
    """Mlflow with a run begun, where a tracking server is named."""
    if not require_tracker():
        return None
    import mlflow  # type: ignore[import-not-found]  # noqa: PLC0415

    mlflow.set_experiment(f"acuity-{recipe.model.kind}")
    mlflow.start_run()
    flat = {
        f"{part}.{name}": value
        for part, values in recipe.model_dump(mode="json").items()
        for name, value in values.items()
    }
    mlflow.log_params(flat | {"data_sha256": trainee.data_sha256})
    return mlflow
