"""The training loop: steps over a pool of cached levels, one run folder with all there is to know.

    python -m training.scorer.loop --cache DIR --out RUN --steps 2000

RUN/last.safetensors is written every `--report-every` steps with RUN/log.jsonl beside it;
RUN/state.pt lets `--resume` go on with the optimiser as it was.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.scorer.heads import BINARY_HEADS
from models.scorer.network import ScorerNetwork
from training.blending import between
from training.scorer.augment import augmented
from training.scorer.losses import Losses, batch_losses, positive_weights
from training.scorer.pool import Batch, LevelPool
from training.scorer.predict import predict
from training.statistics.roc import auroc

REPORTED: Final = ("edema", "fracture", "unhealed", "pathological")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a run goes. Kept in the run folder.

    Attributes:
        start: File of weights to begin from; "" for none. A run that goes on from weights wants a
            third of the usual rate.
        kept: Part of the way from these weights to the learned ones at which the run ends: half
            way does as well on what was learned and better on what is shifted.
        bfloat16: Filters in half precision, losses and weights in single; faster on a GPU and on a
            CPU with AMX.
        minutes: The schedule ends after this time even if `steps` are not reached; None: no limit.
        device: "cpu" or "cuda".
        preparing: Threads that make batches ahead of the step.
        report_every: Steps between checkpoints and their validation.

    Source: Wortsman 2022, CVPR 7959 (interpolating weights before and after fine-tuning).
    """

    steps: int = 2000
    batch: int = 32
    rate: float = 2e-3
    warm_up: int = 60
    decay: float = 1e-3
    average: float = 0.995
    seed: int = 1
    start: str = ""
    kept: float = 1.0
    bfloat16: bool = False
    minutes: float | None = None
    device: str = "cpu"
    preparing: int = 1
    report_every: int = 100


def train(cache: Path, out: Path, recipe: Recipe, *, resume: bool = False) -> ScorerNetwork:
    """Train on a cache, which may still be growing.

    Args:
        cache: Folder of `training.scorer.cache`.
        out: Run folder.
        recipe: How.
        resume: Go on from `state.pt` of the run folder.

    Returns:
        The averaged network, in evaluation mode.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2))
    torch.manual_seed(recipe.seed)
    network = ScorerNetwork()
    if recipe.start and not resume:
        network.load_state_dict(load_file(recipe.start))
    network.to(recipe.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    average = AveragedModel(
        network,
        multi_avg_fn=get_ema_multi_avg_fn(recipe.average),  # type: ignore[no-untyped-call]
        use_buffers=True,
    )
    optimiser = torch.optim.AdamW(network.parameters(), recipe.rate, weight_decay=recipe.decay)
    first, before = _resume(out, network, average, optimiser) if resume else (0, 0.0)
    pool, validation = LevelPool(cache, "train"), LevelPool(cache, "validation")
    batches = prepared_batches(pool, recipe, first)
    started = time.monotonic() - before
    step, progress = first, _progress(first, before, recipe)
    while progress < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * _schedule(step, progress, recipe)
        batch, weights = next(batches)
        losses = _step(network, optimiser, batch, weights, recipe)
        average.update_parameters(network)
        step += 1
        seconds = time.monotonic() - started
        progress = _progress(step, seconds, recipe)
        if step % recipe.report_every == 0 or progress >= 1.0:
            row = {
                "step": step,
                "seconds": round(seconds, 1),
                "levels": len(pool.crops),
                **{name: round(float(value), 4) for name, value in _parts(losses).items()},
                **_validate(_averaged(average), validation),
            }
            _write_checkpoint(out, row, network, average, optimiser)
    batches.close()
    learned = _averaged(average).cpu()
    if recipe.start:
        learned.load_state_dict(between(load_file(recipe.start), learned.state_dict(), recipe.kept))
        save_file(_contiguous(learned), out / "last.safetensors")
    return learned.eval()


def prepared_batches(
    pool: LevelPool, recipe: Recipe, first: int
) -> Generator[tuple[Batch, Tensor], None, None]:
    """Batches of a pool that may grow, made ahead of the step; level by level in a random order.

    Every batch has a generator of its own, so that threads change nothing about it.

    Args:
        pool: Read again whenever all of its levels were shown.
        recipe: Size of a batch, seed, and how many threads make them.
        first: Number of the first batch.

    Yields:
        A batch, and the weights of positive answers in the pool it came from.
    """
    rng = np.random.default_rng([recipe.seed, first])
    made: deque[tuple[Future[Batch], Tensor]] = deque()
    order: list[int] = []
    weights = torch.ones(len(BINARY_HEADS))
    step = first
    with ThreadPoolExecutor(recipe.preparing) as threads:
        while True:
            while len(made) < 2 * recipe.preparing:
                if len(order) < recipe.batch:
                    order = rng.permutation(pool.refresh()).tolist()
                    weights = positive_weights(torch.from_numpy(np.stack(pool.targets)))
                chosen = np.array([order.pop() for _ in range(min(recipe.batch, len(order)))])
                own = np.random.default_rng([recipe.seed, first, step])
                made.append((threads.submit(_prepared, pool, chosen, own), weights))
                step += 1
            batch, its_weights = made.popleft()
            yield batch.result(), its_weights


def _prepared(pool: LevelPool, chosen: NDArray[np.int64], rng: np.random.Generator) -> Batch:
    return augmented(pool.batch(chosen), rng)


def _contiguous(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.contiguous().cpu() for name, value in network.state_dict().items()}


def _averaged(average: AveragedModel) -> ScorerNetwork:
    network = average.module
    if not isinstance(network, ScorerNetwork):
        raise TypeError("the average is not of a scorer network")
    return network


def _progress(step: int, seconds: float, recipe: Recipe) -> float:
    """How much of the schedule is done, 0 to 1, by steps or by time."""
    by_time = seconds / (60.0 * recipe.minutes) if recipe.minutes else 0.0
    return max(step / recipe.steps, by_time)


def _schedule(step: int, progress: float, recipe: Recipe) -> float:
    """Linear warm-up by steps, then a cosine by progress to a hundredth."""
    if step < recipe.warm_up:
        return (step + 1) / recipe.warm_up
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress))


def _step(
    network: ScorerNetwork,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    weights: Tensor,
    recipe: Recipe,
) -> Losses:
    network.train()
    device = recipe.device
    crops = torch.from_numpy(batch.crops).to(device, memory_format=torch.channels_last_3d)
    presence, targets, edema_map, counts = (
        torch.from_numpy(values).to(device)
        for values in (batch.presence, batch.targets, batch.edema_map, batch.counts)
    )
    with torch.autocast(device, dtype=torch.bfloat16, enabled=recipe.bfloat16):
        said_map, heads = network(crops, presence)
    losses = batch_losses(
        (said_map.float(), heads.float()), targets, (edema_map, counts), weights.to(device)
    )
    optimiser.zero_grad(set_to_none=True)
    losses.total.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return losses


def _parts(losses: Losses) -> dict[str, Tensor]:
    return {name: getattr(losses, name).detach() for name in losses.__slots__}


def _validate(network: ScorerNetwork, validation: LevelPool) -> dict[str, Any]:
    if validation.refresh() < 20:
        return {}
    seen = predict(network, validation)
    heads, targets = seen.heads, seen.targets
    row: dict[str, Any] = {"validation_levels": len(heads)}
    for name in REPORTED:
        column = BINARY_HEADS.index(name)
        asked = np.isfinite(targets[:, column])
        value = auroc(heads[asked, column], targets[asked, column] > 0.5)
        row[f"auroc_{name}"] = None if value is None else round(value, 4)
    wet = targets[:, BINARY_HEADS.index("edema")] == 1
    if wet.any():
        errors = np.abs(seen.extent_mean[wet] - seen.extent_truth[wet])
        row["extent_error"] = round(float(errors.mean()), 4)
    return row


def _write_checkpoint(
    out: Path,
    row: dict[str, Any],
    network: ScorerNetwork,
    average: AveragedModel,
    optimiser: torch.optim.Optimizer,
) -> None:
    save_file(_contiguous(average.module), out / "part.safetensors")
    (out / "part.safetensors").replace(out / "last.safetensors")
    state = {
        "step": row["step"],
        "seconds": row["seconds"],
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    torch.save(state, out / "part.pt")
    (out / "part.pt").replace(out / "state.pt")
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps(row) + "\n")


def _resume(
    out: Path,
    network: ScorerNetwork,
    average: AveragedModel,
    optimiser: torch.optim.Optimizer,
) -> tuple[int, float]:
    """Load the run's state; returns the first step still to be done, and the seconds so far."""
    state = torch.load(out / "state.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"]), float(state.get("seconds", 0.0))


def main() -> None:
    """Train the scorer on a crop cache."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--rate", type=float, default=Recipe().rate)
    parser.add_argument("--average", type=float, default=Recipe().average)
    parser.add_argument("--start", default="", help="weights to begin from")
    parser.add_argument("--kept", type=float, default=Recipe().kept, help="see Recipe.kept")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=Recipe().batch)
    parser.add_argument("--minutes", type=float, help="end the schedule after this time")
    parser.add_argument("--device", default=Recipe().device, choices=("cpu", "cuda"))
    parser.add_argument("--preparing", type=int, default=Recipe().preparing, help="threads")
    parser.add_argument("--report-every", type=int, default=Recipe().report_every, help="steps")
    parser.add_argument("--bfloat16", action="store_true", help="for GPUs, and CPUs with AMX")
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = Recipe(
        steps=arguments.steps,
        rate=arguments.rate,
        average=arguments.average,
        start=arguments.start,
        kept=arguments.kept,
        bfloat16=arguments.bfloat16,
        batch=arguments.batch,
        minutes=arguments.minutes,
        device=arguments.device,
        preparing=arguments.preparing,
        report_every=arguments.report_every,
    )
    train(arguments.cache, arguments.out, recipe, resume=arguments.resume)


if __name__ == "__main__":
    main()
