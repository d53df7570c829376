"""The training loop: one process that learns, workers that scan; it can be resumed."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from models.localiser.network import LocaliserNetwork, ServedLocaliser
from training.blending import between
from training.localiser.crops import Crop, CropSettings, CropStream
from training.localiser.loss import Loss, localiser_loss
from training.localiser.shelf import Shelf, collated
from training.phantom.recipe import PhantomRecipe

CHECKPOINT: Final = "checkpoint.pt"
LOG: Final = "log.jsonl"


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How long and how fast.

    Attributes:
        steps: Batches at most.
        minutes: The schedule ends after this time even if `steps` are not reached; None: no limit.
        batch: Crops per step.
        peak_rate: Largest learning rate.
        warm_up: Part of the schedule in which the rate rises.
        weight_decay, clip: Of AdamW and of the gradient norm.
        averaging: Decay of the averaged weights, which are those that are kept.
        device: "cpu", on one thread, or "cuda".
        shelf: Crops kept on the device to be shown again; 0: each is shown once.
        shown: How often a kept crop is shown at most, in the mean.
        kept: Part of the way from the weights that it began with to the learned ones at which the
            run ends: half way does as well on what was learned and better on what is unlike it.
        bfloat16: Filters in half precision, losses and weights in single. On a CPU with AMX a
            step takes 0.4 of the time; on one without bfloat16 it takes longer.
        workers: Scanning processes.
        log_every, save_every: Steps.
        seed: Of weights and crops.
    """

    steps: int = 2500
    minutes: float | None = None
    batch: int = 4
    peak_rate: float = 3e-3
    warm_up: float = 0.08
    weight_decay: float = 1e-3
    clip: float = 2.0
    averaging: float = 0.995
    device: str = "cpu"
    shelf: int = 0
    shown: float = 3.0
    kept: float = 1.0
    bfloat16: bool = False
    workers: int = 1
    log_every: int = 20
    save_every: int = 100
    seed: int = 1


@dataclass(slots=True)
class State:
    """All that changes during training.

    Attributes:
        ended: The schedule is over, and `averaged` is `FitSettings.kept` of the way.
    """

    network: LocaliserNetwork
    averaged: LocaliserNetwork
    optimiser: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0
    ended: bool = False

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        part = path.with_suffix(".part")
        torch.save(
            {
                "network": self.network.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
                "ended": self.ended,
            },
            part,
        )
        part.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        stored = torch.load(path, weights_only=True)
        self.network.load_state_dict(stored["network"])
        self.averaged.load_state_dict(stored["averaged"])
        self.optimiser.load_state_dict(stored["optimiser"])
        self.step, self.seconds = stored["step"], stored["seconds"]
        self.ended = stored.get("ended", False)


@dataclass(frozen=True, slots=True)
class Trained:
    """How long a checkpoint was trained."""

    steps: int
    minutes: float


def trained_until(path: Path) -> Trained:
    """How long the network of a checkpoint was trained."""
    stored = torch.load(path, map_location="cpu", weights_only=True)
    return Trained(int(stored["step"]), float(stored["seconds"]) / 60.0)


def load_averaged(path: Path) -> LocaliserNetwork:
    """The network to use: the averaged weights of a checkpoint."""
    network = LocaliserNetwork()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["averaged"])
    return network.eval()


def fit(
    recipes: Sequence[PhantomRecipe],
    out: Path,
    crops: CropSettings,
    settings: FitSettings,
    start: Path | None = None,
) -> LocaliserNetwork:
    """Train on patients of recipes; go on where a checkpoint in `out` ends.

    Args:
        recipes: What patients and scans are drawn from, equally often from each.
        out: Receives `checkpoint.pt` and `log.jsonl`.
        crops: What the crops look like.
        settings: Schedule.
        start: `model.safetensors` of a bundle to begin with; None: random weights.

    Returns:
        The network with its averaged weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(settings.seed)
    state = _start(settings, start)
    if (out / CHECKPOINT).exists():
        state.load(out / CHECKPOINT)
    batches = _batches(recipes, crops, settings, state.step)
    last = time.monotonic()
    while (progress := _progress(state, settings)) < 1.0:
        loss = _step(state, next(batches), settings, progress)
        state.ended = False
        now = time.monotonic()
        state.seconds += now - last
        last = now
        if state.step % settings.log_every == 0:
            _write_log(out / LOG, state, loss, progress)
        if state.step % settings.save_every == 0:
            state.save(out / CHECKPOINT)
    if start is not None and not state.ended:
        begun = ServedLocaliser(copy.deepcopy(state.averaged))
        begun.load_state_dict(load_file(start))
        learned = state.averaged.state_dict()
        state.averaged.load_state_dict(
            between(begun.network.to(settings.device).state_dict(), learned, settings.kept)
        )
    state.ended = True
    state.save(out / CHECKPOINT)
    return state.averaged.eval()


def _start(settings: FitSettings, start: Path | None) -> State:
    network = LocaliserNetwork()
    if start is not None:
        ServedLocaliser(network).load_state_dict(load_file(start))
    network.to(settings.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(
        network.parameters(), settings.peak_rate, weight_decay=settings.weight_decay
    )
    return State(network, copy.deepcopy(network).eval(), optimiser)


def _batches(
    recipes: Sequence[PhantomRecipe], crops: CropSettings, settings: FitSettings, done: int
) -> Iterator[dict[str, Tensor]]:
    # A resumed run draws other crops than the ones it has seen.
    stream = CropStream(recipes, crops, seed=settings.seed + 7919 * done)
    loader: DataLoader[Crop] = DataLoader(
        stream,
        batch_size=settings.batch,
        num_workers=settings.workers,
        prefetch_factor=8 if settings.workers else None,
        collate_fn=collated if settings.shelf else None,
    )
    batches: Iterator[dict[str, Tensor]] = iter(loader)
    device = torch.device(settings.device)
    if settings.shelf:
        shelf = Shelf(batches, device, settings.shelf, settings.shown)
        return shelf.batches(settings.batch)
    return ({name: value.to(device) for name, value in batch.items()} for batch in batches)


def _progress(state: State, settings: FitSettings) -> float:
    """How much of the schedule is done, 0 to 1, by steps or by time."""
    by_time = state.seconds / (60.0 * settings.minutes) if settings.minutes else 0.0
    return max(state.step / settings.steps, by_time)


def learning_rate(progress: float, settings: FitSettings) -> float:
    """One cycle: up along a cosine, then down along a longer one to nearly nothing."""
    if progress < settings.warm_up:
        part = 0.5 - 0.5 * np.cos(np.pi * progress / settings.warm_up)
        return float(settings.peak_rate * (0.04 + 0.96 * part))
    down = (progress - settings.warm_up) / (1.0 - settings.warm_up)
    return float(settings.peak_rate * (0.001 + 0.999 * (0.5 + 0.5 * np.cos(np.pi * down))))


def _step(state: State, batch: dict[str, Tensor], settings: FitSettings, progress: float) -> Loss:
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(progress, settings)
    state.network.train()
    image = batch["image"].to(memory_format=torch.channels_last_3d)
    with torch.autocast(settings.device, dtype=torch.bfloat16, enabled=settings.bfloat16):
        logits, offsets = state.network(image)
    loss = localiser_loss(logits.float(), offsets.float(), batch["structure"], batch["offsets"])
    state.optimiser.zero_grad(set_to_none=True)
    loss.total.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip)
    state.optimiser.step()
    state.step += 1
    _average(state, settings)
    return loss


@torch.no_grad()
def _average(state: State, settings: FitSettings) -> None:
    decay = min(settings.averaging, (1 + state.step) / (10 + state.step))
    current = state.network.state_dict()
    for name, averaged in state.averaged.state_dict().items():
        if averaged.is_floating_point():
            averaged.lerp_(current[name], 1.0 - decay)
        else:
            averaged.copy_(current[name])


def _write_log(path: Path, state: State, loss: Loss, progress: float) -> None:
    line: dict[str, Any] = {
        "step": state.step,
        "minutes": round(state.seconds / 60, 2),
        "progress": round(progress, 4),
        "loss": round(float(loss.total.detach()), 4),
        "cross_entropy": round(loss.cross_entropy, 4),
        "dice": round(loss.dice, 4),
        "offsets": round(loss.offsets, 4),
    }
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
