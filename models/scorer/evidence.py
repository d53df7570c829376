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
from models.scorer.network import WIDTHS, ScorerNetwork, masks_like, pooling_masks
from models.scorer.readings import (
    IMAGES,
    SOFTNESS,
    STEPS,
    beside,
    halved,
    mean_inside,
    shares_map,
)

EXPLAINED: Final = "pathological"
"""The head whose answer is traced back."""

_EMPTY: Final = 1e-2
"""Added to a mask's volume, as in the averages themselves."""


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
        edema_map, pooled, (up2, coarse) = self._pool(crops, presence)
        gradient = self._gradient(pooled)
        masks = pooling_masks(crops)
        images, own, others = halved(crops, masks[:, :2])
        first = WIDTHS[3] + len(PRESENCE)
        evidence = torch.zeros_like(edema_map)
        for features in (up2, coarse):
            width = features.shape[1]
            part = _traced(features, masks_like(features, masks), gradient[:, first:][:, :width])
            evidence = evidence + _spread(part, evidence)
            first += 3 * width
        shares = IMAGES * len(STEPS)
        as_is, against = gradient[:, first:][:, :shares], gradient[:, first + 2 * shares :]
        both = torch.cat([own, others], dim=1)
        evidence = evidence + _traced(shares_map(images), both, as_is)
        usual = torch.sigmoid(-torch.tensor(STEPS) / SOFTNESS).repeat_interleave(IMAGES)
        above = shares_map(images - beside(images, others)) - usual[None, :, None, None, None]
        evidence = evidence + _weighed(above, own, against[:, :shares])
        return edema_map, self.heads(pooled), evidence

    def _gradient(self, pooled: Tensor) -> Tensor:
        """(batch, pooled) slope of the explained logit at this input."""
        hidden, out = self.heads[0], self.heads[3]
        if not (isinstance(hidden, nn.Linear) and isinstance(out, nn.Linear)):
            raise TypeError("the heads are not two linear layers")
        open_gates = (hidden(pooled) > 0).to(pooled.dtype)
        slope: Tensor = (open_gates * out.weight[HEADS.index(EXPLAINED)]) @ hidden.weight
        return slope


def _traced(features: Tensor, masks: Tensor, gradient: Tensor) -> Tensor:
    """What own voxels add, features counted from the mean of the other bodies."""
    usual = mean_inside(features, masks[:, 1:2])[:, :, None, None, None]
    return _weighed(features - usual, masks[:, :1], gradient)


def _weighed(features: Tensor, own: Tensor, gradient: Tensor) -> Tensor:
    """(batch, 1, ...) sum over channels of slope times feature, by the mask's share of a voxel."""
    part = own / (own.sum(dim=(2, 3, 4), keepdim=True) + _EMPTY)
    return (features * gradient[:, :, None, None, None]).sum(dim=1, keepdim=True) * part


def _spread(part: Tensor, like: Tensor) -> Tensor:
    """A coarse map on a finer grid, each value shared among the voxels it covers."""
    covers = 1
    for fine, coarse in zip(like.shape[2:], part.shape[2:], strict=True):
        covers *= fine // coarse
    return nn.functional.interpolate(part, size=like.shape[2:], mode="nearest") / covers
