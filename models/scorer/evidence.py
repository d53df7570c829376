"""The scorer that also says where its answer on etiology comes from.

The heads are two linear layers with a rectifier over averages inside masks, so that, at one input,
an answer is a sum over voxels: each adds its own feature times the weight that the rectifier lets
through. The sum is drawn as a map, every feature counted from what the other bodies in view show:
a level is judged against its neighbours. Cost: one more pass over the averaged maps.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from models.scorer.crops import PRESENCE
from models.scorer.heads import HEADS
from models.scorer.network import WIDTHS, Averaged, ScorerNetwork
from models.scorer.readings import IMAGES, SHARES, SOFTNESS, STEPS, Signal, part_of

EXPLAINED: Final = "pathological"
"""The head whose answer is traced back."""


class ExplainedScorer(ScorerNetwork):
    """`ScorerNetwork` with a third output; same weights."""

    def forward(self, crops: Tensor, presence: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Score crops and trace the answer on etiology.

        Args:
            crops: See `ScorerNetwork.forward`.
            presence: See there.

        Returns:
            Edema map logits, heads, and the evidence (batch, 1, slice, row / 2, column / 2):
            what each voxel of the own body adds to the logit of a pathological cause; summed over
            the map, the part of that logit which tells this body from the others.
        """
        pooled = self._pool(crops, presence)
        slope = self._slope(pooled.given)
        evidence = torch.zeros_like(pooled.edema_map)
        first = WIDTHS[3] + len(PRESENCE)
        for each in pooled.averaged:
            width = each.features.shape[1]
            part = _of_features(each, slope[:, first : first + width])
            evidence = evidence + _spread(part, evidence)
            first += 3 * width
        evidence = evidence + _of_signal(pooled.signal, slope[:, first:])
        return pooled.edema_map, self.heads(pooled.given), evidence

    def _slope(self, pooled: Tensor) -> Tensor:
        """(batch, pooled) slope of the explained logit at this input."""
        hidden, out = self.heads[0], self.heads[3]
        if not (isinstance(hidden, nn.Linear) and isinstance(out, nn.Linear)):
            raise TypeError("the heads are not two linear layers")
        open_gates = (hidden(pooled) > 0).to(pooled.dtype)
        slope: Tensor = (open_gates * out.weight[HEADS.index(EXPLAINED)]) @ hidden.weight
        return slope


def _of_features(averaged: Averaged, slope: Tensor) -> Tensor:
    """(batch, 1, ...) what own voxels add, features counted from the mean of the other bodies."""
    features, masks, means = averaged
    added = _over(features.flatten(2), slope, means[:, 1])
    return added.reshape(len(features), 1, *features.shape[2:]) * part_of(masks[:, :1])


def _of_signal(signal: Signal, slope: Tensor) -> Tensor:
    """(batch, 1, ...) what the signal of own voxels adds, by the slopes of the readings."""
    as_is, against = slope[:, :SHARES], slope[:, 2 * SHARES : 3 * SHARES]
    steps = torch.tensor(STEPS, dtype=slope.dtype, device=slope.device)
    usual = torch.sigmoid(-steps / SOFTNESS).repeat_interleave(IMAGES)
    added = _over(signal.as_is, as_is, signal.shares[:, 1])
    added = added + _over(signal.against, against, usual[None])
    own = signal.inner[:, :1]
    return added.reshape(own.shape) * part_of(own)


def _over(values: Tensor, slope: Tensor, usual: Tensor) -> Tensor:
    """(batch, 1, voxel) sum over channels of slope times what a value has over the usual one."""
    counted_from: Tensor = (slope * usual).sum(dim=1)[:, None, None]
    return slope[:, None] @ values - counted_from


def _spread(part: Tensor, like: Tensor) -> Tensor:
    """A coarse map on a finer grid, each value shared among the voxels it covers."""
    covers = 1
    for fine, coarse in zip(like.shape[2:], part.shape[2:], strict=True):
        covers *= fine // coarse
    return nn.functional.interpolate(part, size=like.shape[2:], mode="nearest") / covers
