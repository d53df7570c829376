"""The scorer as a trainee: labelled levels, synthetic ones, or both in every batch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.scorer.crops import CHANNELS
from models.scorer.heads import BINARY_HEADS, HEADS
from training.fit.errors import TooFewLevelsError
from training.fit.levels import MAP_UNKNOWN
from training.fit.trainee import Tensors, Turn
from training.scorer.augment import augmented
from training.scorer.losses import batch_losses, matched_weights, positive_weights
from training.scorer.pool import Batch, LevelPool
from training.statistics.roc import auroc

FEWEST_LEVELS: Final = 6
"""Of the training part."""

REPORTED: Final = ("edema", "fracture", "unhealed", "pathological")
DRAWN: Final = 6
"""Levels in a picture."""


@dataclass(slots=True)
class ScorerTrainee:
    """A scorer network with its levels.

    Attributes:
        network: To train.
        labelled: The site's levels; empty for a run on synthetic ones only.
        synthetic: Drawn levels; empty for a run on labelled ones only.
        validation: Levels that are never trained on.
        synthetic_share: Part of a batch, where there are both.
        counts: For `about`.
    """

    network: nn.Module
    labelled: LevelPool
    synthetic: LevelPool
    validation: LevelPool
    synthetic_share: float = 0.5
    counts: Mapping[str, Any] = field(default_factory=dict)
    _weights: Mapping[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        pools = (self.labelled, self.synthetic)
        for pool in (*pools, self.validation):
            pool.refresh()
        levels = sum(len(pool.crops) for pool in pools)
        if levels < FEWEST_LEVELS or not self.validation.crops:
            raise TooFewLevelsError(
                f"{levels} levels to train on (at least {FEWEST_LEVELS} are needed) and "
                f"{len(self.validation.crops)} to validate with (at least 1)"
            )
        for name in ("labelled", "validation"):
            pool = getattr(self, name)
            if pool.crops and not any(_answers(pool).values()):
                raise TooFewLevelsError(
                    f"none of the {len(pool.crops)} {name} levels says anything of "
                    f"{', '.join(REPORTED)}: the manifest has no such labels"
                )
        self._weights = _weights_of(self.labelled, self.synthetic)

    @property
    def encoder(self) -> tuple[str, ...]:
        """Stem, stages and their strided convolutions."""
        return ("stem", "stage1", "down2", "stage2", "down3", "stage3", "down4", "stage4")

    @property
    def data_sha256(self) -> str:
        """Over crops and targets of all parts."""
        digest = hashlib.sha256()
        for pool in (self.labelled, self.synthetic, self.validation):
            for crops, target in zip(pool.crops, pool.targets, strict=True):
                digest.update(crops.tobytes() + target.tobytes())
            digest.update(b"|")
        return digest.hexdigest()

    def batch(self, turn: Turn) -> Tensors:
        """Levels of both pools in the recipe's shares, disturbed."""
        share = self.synthetic_share if self.labelled.crops else 1.0
        drawn = round(share * turn.own) if self.synthetic.crops else 0
        rng = np.random.default_rng([turn.seed, turn.step, turn.rank])
        shares = {"labelled": turn.own - drawn, "synthetic": drawn}
        parts = [
            _part(pool, turn, shares[name])
            for name, pool in (("labelled", self.labelled), ("synthetic", self.synthetic))
            if shares[name]
        ]
        joined = _joined([augmented_part(pool, numbers, rng) for pool, numbers in parts])
        weights = [self._weights[name].expand(count, -1) for name, count in shares.items()]
        return _tensors(joined) | {"weights": torch.cat(weights)}

    def losses(self, network: nn.Module, batch: Tensors) -> Mapping[str, Tensor]:
        """Loss of a batch and its parts."""
        found = batch_losses(
            network(batch["crops"], batch["presence"]),
            batch["targets"],
            (batch["edema_map"], batch["counts"]),
            batch["weights"],
        )
        return {name: getattr(found, name) for name in found.__slots__}

    def validate(self, network: nn.Module, device: torch.device) -> Mapping[str, float]:
        """Loss, and AUROC of every reported question that has both answers."""
        heads, targets, losses = [], [], []
        own = self._weights["labelled" if self.labelled.crops else "synthetic"]
        network.eval()
        with torch.inference_mode():
            for start in range(0, len(self.validation.crops), 32):
                numbers = np.arange(start, min(start + 32, len(self.validation.crops)))
                batch = _tensors(known_maps(self.validation, numbers))
                batch["weights"] = own.expand(len(numbers), -1)
                batch = {name: value.to(device) for name, value in batch.items()}
                losses.append(float(self.losses(network, batch)["total"]) * len(numbers))
                heads.append(network(batch["crops"], batch["presence"])[1].float().cpu().numpy())
                targets.append(batch["targets"].cpu().numpy())
        said, truth = np.concatenate(heads), np.concatenate(targets)
        found = {"total": sum(losses) / len(said)}
        for name in REPORTED:
            column = BINARY_HEADS.index(name)
            asked = np.isfinite(truth[:, column])
            area = auroc(said[asked, column], truth[asked, column] > 0.5)
            if area is not None:
                found[f"auroc_{name}"] = area
        return found

    def picture(self, network: nn.Module, device: torch.device, path: Path) -> None:
        """Draw levels of the validation part with the edema map and the answers."""
        from training.fit.pictures import draw_levels  # noqa: PLC0415  matplotlib is slow to import

        count = len(self.validation.crops)
        numbers = np.unique(np.linspace(0, count - 1, min(DRAWN, count)).round().astype(np.int64))
        batch = known_maps(self.validation, numbers)
        network.eval()
        with torch.inference_mode():
            edema_map, heads = network(
                torch.from_numpy(batch.crops).to(device),
                torch.from_numpy(batch.presence).to(device),
            )
        chances = torch.sigmoid(heads[:, : len(BINARY_HEADS)]).float().cpu().numpy()
        maps = torch.sigmoid(edema_map[:, 0]).float().cpu().numpy()
        shown = batch.crops[:, [CHANNELS.index("fluid"), CHANNELS.index("body")]]
        draw_levels(path, shown, maps, (chances, batch.targets[:, : len(BINARY_HEADS)]))

    def about(self) -> Mapping[str, Any]:
        """Counts by part and question."""
        parts = {
            "labelled": self.labelled,
            "synthetic": self.synthetic,
            "validation": self.validation,
        }
        return {
            name: {"levels": len(pool.crops), "positive": _positives(pool)}
            for name, pool in parts.items()
        } | {"read": dict(self.counts)}


def _weights_of(labelled: LevelPool, synthetic: LevelPool) -> dict[str, Tensor]:
    """Weights of positive answers of each pool; the site's are brought to the odds of the drawn."""
    own, drawn = (
        torch.from_numpy(np.stack(pool.targets)) if pool.targets else torch.zeros(0, len(HEADS))
        for pool in (labelled, synthetic)
    )
    if not len(drawn):
        return {"labelled": positive_weights(own), "synthetic": positive_weights(own)}
    weights = positive_weights(drawn)
    return {"labelled": matched_weights(own, drawn, weights), "synthetic": weights}


def _answers(pool: LevelPool) -> dict[str, int]:
    targets = np.stack(pool.targets)
    return {name: int(np.isfinite(targets[:, HEADS.index(name)]).sum()) for name in REPORTED}


def _positives(pool: LevelPool) -> dict[str, int]:
    targets = np.stack(pool.targets) if pool.targets else np.zeros((0, len(HEADS)))
    return {name: int((targets[:, HEADS.index(name)] == 1).sum()) for name in REPORTED}


def _part(pool: LevelPool, turn: Turn, count: int) -> tuple[LevelPool, NDArray[np.int64]]:
    """This process's next levels of a pool: an order for every pass, wherever a run was resumed."""
    levels = len(pool.crops)
    first = (turn.step * turn.world + turn.rank) * count
    places = np.arange(first, first + count)
    orders = {
        passed: np.random.default_rng([turn.seed, 7, int(passed)]).permutation(levels)
        for passed in np.unique(places // levels)
    }
    return pool, np.array([orders[place // levels][place % levels] for place in places])


def known_maps(pool: LevelPool, numbers: NDArray[np.int64]) -> Batch:
    """A batch whose edema maps are judged only where somebody has outlined the edema."""
    return _without_unknown_maps(pool.batch(numbers), pool, numbers)


def augmented_part(pool: LevelPool, numbers: NDArray[np.int64], rng: np.random.Generator) -> Batch:
    """A disturbed batch of a pool, maps judged where they are known."""
    return _without_unknown_maps(augmented(pool.batch(numbers), rng), pool, numbers)


def _without_unknown_maps(batch: Batch, pool: LevelPool, numbers: NDArray[np.int64]) -> Batch:
    unknown = np.array([bool(pool.about[number].get(MAP_UNKNOWN)) for number in numbers])
    batch.counts[unknown] = 0.0
    return batch


def _joined(parts: list[Batch]) -> Batch:
    names = ("crops", "presence", "targets", "edema_map", "counts")
    return Batch(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _tensors(batch: Batch) -> Tensors:
    names = ("crops", "presence", "targets", "edema_map", "counts")
    return {name: torch.from_numpy(np.ascontiguousarray(getattr(batch, name))) for name in names}
