"""Network outputs for a pool of levels, under any choice of series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.scorer.network import ScorerNetwork
from training.scorer.pool import LevelPool

MAP_LEVELS: Final = tuple(round(0.2 + 0.05 * i, 2) for i in range(13))
"""Thresholds of the edema map that calibration chooses from."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the network said of every level of a pool.

    Attributes:
        heads: (level, len(HEADS)).
        targets: (level, len(HEADS)), NaN where not asked.
        extents: (level, len(MAP_LEVELS)) part of the body where the edema map's probability is
            at least each threshold.
        extent_mean: (level,) mean probability of the map inside the body.
        extent_truth: (level,) edematous part of the body on the same voxels.
        presence: (level, len(PRESENCE)) after hiding.
        extent_lines: (level, 3) extents of a combination, not yet bounded; None without one.
        height_loss: (level,) percent, of a combination that says it; else None.
    """

    heads: NDArray[np.float32]
    targets: NDArray[np.float32]
    extents: NDArray[np.float32]
    extent_mean: NDArray[np.float32]
    extent_truth: NDArray[np.float32]
    presence: NDArray[np.float32]
    extent_lines: NDArray[np.float64] | None = None
    height_loss: NDArray[np.float64] | None = None

    @staticmethod
    def joined(parts: Sequence[Predictions]) -> Predictions:
        """Several sets as one."""
        columns = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in Predictions.__slots__
            if getattr(parts[0], name) is not None
        }
        return Predictions(**columns)


def predict(
    network: ScorerNetwork, pool: LevelPool, hide: Sequence[str] = (), batch: int = 32
) -> Predictions:
    """Run the network over a pool.

    Args:
        network: Set to evaluation mode here.
        pool: Levels.
        hide: Channels the network does not get to see.
        batch: Levels at once.
    """
    network.eval()
    device = next(network.parameters()).device
    parts = []
    with torch.no_grad():
        for start in range(0, len(pool.crops), batch):
            chosen = np.arange(start, min(start + batch, len(pool.crops)))
            seen = pool.batch(chosen, hide)
            edema_map, heads = network(
                torch.from_numpy(seen.crops).to(device), torch.from_numpy(seen.presence).to(device)
            )
            probability = torch.sigmoid(edema_map).cpu().numpy()
            over = (1, 2, 3, 4)
            inside = np.maximum(seen.counts.sum(axis=over), 1.0)
            extents = [
                ((probability >= level) * seen.counts).sum(axis=over) / inside
                for level in MAP_LEVELS
            ]
            truth = (seen.edema_map * seen.counts).sum(axis=over) / inside
            parts.append(
                Predictions(
                    heads.cpu().numpy(),
                    seen.targets,
                    np.stack(extents, axis=1).astype(np.float32),
                    ((probability * seen.counts).sum(axis=over) / inside).astype(np.float32),
                    truth.astype(np.float32),
                    seen.presence,
                )
            )
    return Predictions.joined(parts)
