"""The training loop, to be read from top to bottom: there is no framework behind it.

    fit(trainee, recipe, run)            # or with torchrun, one process a GPU

A step's data, order and noise follow from (seed, step, process) alone and the checkpoint holds all
the rest, so an interrupted run that is resumed ends in the same bits as one that was not.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.blending import between
from training.fit.checkpoint import load_checkpoint, save_checkpoint
from training.fit.processes import Processes
from training.fit.recipe import FitRecipe, SchedulePart
from training.fit.records import Records
from training.fit.trainee import Trainee, Turn

CHECKPOINT: Final = "checkpoint.pt"
_LOWEST: Final = 0.01
"""Part of the largest rate that is left at the end."""

Told = Callable[[int, Mapping[str, float]], None]


@dataclass(slots=True)
class State:
    """All that changes during training.

    Attributes:
        network: Being trained.
        average: Its running average, which is kept in the end.
        optimiser: AdamW with one group for the encoder and one for the rest.
        scaler: Keeps float16 gradients from vanishing; does nothing for other precisions.
        step: Steps done.
    """

    network: nn.Module
    average: AveragedModel
    optimiser: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    step: int = 0

    def stored(self) -> dict[str, Any]:
        """Everything a checkpoint needs."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
        }

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Go on from what `stored` gave."""
        self.network.load_state_dict(stored["network"])
        self.average.load_state_dict(stored["average"])
        self.optimiser.load_state_dict(stored["optimiser"])
        self.scaler.load_state_dict(stored["scaler"])
        self.step = int(stored["step"])


def fit(
    trainee: Trainee,
    recipe: FitRecipe,
    run: Path,
    *,
    processes: Processes | None = None,
    on_step: Told = lambda _step, _losses: None,
) -> nn.Module:
    """Train, or go on training where the run folder's checkpoint ends.

    Args:
        trainee: Network, data and loss.
        recipe: How.
        run: Run folder; receives checkpoint, curves and pictures.
        processes: This process among the others; alone by default.
        on_step: Told every step and its losses.

    Returns:
        The averaged network, or what `schedule.kept` leaves of it, in evaluation mode, on the CPU.

    Raises:
        CheckpointError: The folder's checkpoint is damaged.
        OtherRunError: The folder's checkpoint is of another recipe or other data.
    """
    processes = processes or Processes.alone(recipe.run.device)
    with _settled(recipe):
        return _fit(trainee, recipe, run, processes, on_step)


def _fit(
    trainee: Trainee, recipe: FitRecipe, run: Path, processes: Processes, on_step: Told
) -> nn.Module:
    device, schedule = processes.device, recipe.schedule
    state = _start(trainee, recipe, device)
    begun = copy.deepcopy(trainee.network.state_dict())
    mark = {"recipe_sha256": recipe.sha256, "data_sha256": trainee.data_sha256}
    if (run / CHECKPOINT).exists():
        state.restore(load_checkpoint(run / CHECKPOINT, mark, device))
    model = processes.shared(state.network)
    with Records(run, recipe, trainee, enabled=processes.first) as records:
        while state.step < schedule.steps:
            started = time.perf_counter()
            losses = _step(model, state, trainee, recipe, processes)
            told = {name: float(value) for name, value in losses.items()}
            records.step(state.step, told, time.perf_counter() - started)
            on_step(state.step, told)
            last = state.step == schedule.steps
            if processes.first and (last or state.step % schedule.validate_every == 0):
                kept = state.average.module
                records.validated(state.step, trainee.validate(kept, device))
                trainee.picture(kept, device, records.picture(state.step))
            if processes.first and (last or state.step % schedule.checkpoint_every == 0):
                save_checkpoint(run / CHECKPOINT, state.stored(), mark)
            processes.wait()
        network: nn.Module = state.average.module
        if schedule.kept and processes.first:
            _keep_best(network, begun, trainee, schedule, records)
    return network.cpu().eval()


def _keep_best(
    network: nn.Module,
    begun: Mapping[str, Tensor],
    trainee: Trainee,
    schedule: SchedulePart,
    records: Records,
) -> None:
    """Go back towards the first weights as far as the validation part asks for."""
    learned = copy.deepcopy(network.state_dict())
    device = next(network.parameters()).device
    tried: dict[float, Mapping[str, float]] = {}
    for kept in schedule.kept:
        network.load_state_dict(between(begun, learned, kept))
        tried[kept] = trainee.validate(network, device)
        records.blended(schedule.steps, {"kept": kept, **tried[kept]})
    best = min(tried, key=lambda kept: tried[kept]["total"])
    network.load_state_dict(between(begun, learned, best))
    records.validated(schedule.steps, {"kept": best, **tried[best]})


@contextmanager
def _settled(recipe: FitRecipe) -> Iterator[None]:
    """Fix what the platform leaves open, for as long as the run lasts."""
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
    )
    torch.set_num_threads(recipe.run.threads)
    torch.use_deterministic_algorithms(recipe.run.deterministic)
    torch.backends.cudnn.benchmark = not recipe.run.deterministic
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.backends.cudnn.benchmark = before[2]


def _start(trainee: Trainee, recipe: FitRecipe, device: torch.device) -> State:
    network = trainee.network.to(device)
    average = AveragedModel(
        network,
        multi_avg_fn=get_ema_multi_avg_fn(recipe.schedule.average),  # type: ignore[no-untyped-call]
        use_buffers=True,
    )
    optimiser = torch.optim.AdamW(
        _groups(network, trainee.encoder, recipe),
        recipe.schedule.rate,
        weight_decay=recipe.schedule.decay,
    )
    half = recipe.run.precision == "float16" and device.type == "cuda"
    return State(network, average, optimiser, torch.amp.GradScaler(device.type, enabled=half))


def _groups(
    network: nn.Module, encoder: tuple[str, ...], recipe: FitRecipe
) -> list[dict[str, Any]]:
    """The encoder's parameters and the rest, each with its factor of the learning rate."""
    factor = {"full": 1.0, "low_rate": recipe.model.encoder_rate, "frozen": 0.0}[
        recipe.model.encoder
    ]
    parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in network.named_parameters():
        inside = name.startswith(tuple(f"{part}." for part in encoder))
        if inside and factor == 0.0:
            parameter.requires_grad = False
        parts[inside].append(parameter)
    groups = [{"params": parts[False], "factor": 1.0}]
    if factor > 0.0:
        groups.append({"params": parts[True], "factor": factor})
    return groups


def learning_rate(step: int, schedule: SchedulePart) -> float:
    """Linear warm-up, then a cosine to a hundredth."""
    rising = max(1, round(schedule.warm_up * schedule.steps))
    if step < rising:
        return schedule.rate * (step + 1) / rising
    part = (step - rising) / max(1, schedule.steps - rising)
    return schedule.rate * (_LOWEST + (1 - _LOWEST) * 0.5 * (1.0 + math.cos(math.pi * part)))


def _step(
    model: nn.Module, state: State, trainee: Trainee, recipe: FitRecipe, processes: Processes
) -> Mapping[str, Tensor]:
    schedule, device = recipe.schedule, processes.device
    turn = Turn(schedule.seed, state.step, processes.rank, processes.world, schedule.batch)
    # Dropout draws from torch's own generator: seeded by the step, it needs no checkpoint.
    torch.manual_seed((schedule.seed * 1_000_003 + state.step) * processes.world + processes.rank)
    batch = {name: value.to(device) for name, value in trainee.batch(turn).items()}
    for group in state.optimiser.param_groups:
        group["lr"] = group["factor"] * learning_rate(state.step, schedule)
    _train_mode(model, trainee, recipe)
    with _lowered(recipe, device):
        losses = trainee.losses(model, batch)
    state.optimiser.zero_grad(set_to_none=True)
    state.scaler.scale(losses["total"]).backward()  # type: ignore[no-untyped-call]
    state.scaler.unscale_(state.optimiser)
    nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
    state.scaler.step(state.optimiser)
    state.scaler.update()
    state.average.update_parameters(state.network)
    state.step += 1
    return {name: value.detach() for name, value in losses.items()}


def _train_mode(model: nn.Module, trainee: Trainee, recipe: FitRecipe) -> None:
    """Training mode; a frozen encoder keeps its running statistics too."""
    model.train()
    if recipe.model.encoder == "frozen":
        for name, part in trainee.network.named_children():
            if name in trainee.encoder:
                part.eval()


def _lowered(recipe: FitRecipe, device: torch.device) -> AbstractContextManager[Any]:
    """Products in half precision, on a GPU where the recipe asks for it."""
    kinds = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    if device.type != "cuda" or recipe.run.precision not in kinds:
        return nullcontext()
    return torch.autocast(device.type, dtype=kinds[recipe.run.precision])
