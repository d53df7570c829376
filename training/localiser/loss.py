"""What the localiser is trained to lower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from models.localiser.classes import Structure

CLASS_WEIGHTS: Final = {
    Structure.BACKGROUND: 0.5,
    Structure.BODY: 1.0,
    Structure.DISC: 1.0,
    Structure.CANAL: 1.0,
    Structure.SACRUM_S1: 1.5,
    Structure.SACRUM_LOWER: 1.2,
    Structure.POSTERIOR_ELEMENTS: 0.8,
    Structure.CORD: 1.0,
    Structure.RIB: 0.8,
    Structure.C2: 1.5,
}
"""Cross-entropy weights: S1 is rare, and the names hang on it."""

OFFSET_SHARE: Final = 0.6


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss and its parts, for the log."""

    total: Tensor
    cross_entropy: float
    dice: float
    offsets: float


def localiser_loss(
    logits: Tensor, offsets: Tensor, structure: Tensor, true_offsets: Tensor
) -> Loss:
    """Cross-entropy, soft Dice and, inside bodies, the error of the votes.

    Args:
        logits: (N, classes, D, H, W).
        offsets: (N, 2, D, H, W).
        structure: (N, D, H, W) integer classes.
        true_offsets: (N, 2, D, H, W), read only where the structure is a body or S1.
    """
    weights = logits.new_tensor([CLASS_WEIGHTS[s] for s in Structure])
    target = structure.long()
    cross_entropy = functional.cross_entropy(logits, target, weights)
    dice = _dice_loss(logits, target)
    voting = (target == Structure.BODY) | (target == Structure.SACRUM_S1) | (target == Structure.C2)
    miss = functional.smooth_l1_loss(offsets, true_offsets, reduction="none", beta=0.3).sum(dim=1)
    votes = (miss * voting).sum() / voting.sum().clamp(min=1)
    total = cross_entropy + dice + OFFSET_SHARE * votes
    return Loss(total, float(cross_entropy.detach()), float(dice.detach()), float(votes.detach()))


def _dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the mean soft Dice of the classes that occur in the batch, background left out."""
    probability = torch.softmax(logits, dim=1)
    truth = functional.one_hot(target, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    over = (0, 2, 3, 4)
    shared = (probability * truth).sum(over)[1:]
    both = (probability.sum(over) + truth.sum(over))[1:]
    occurs = truth.sum(over)[1:] > 0
    scores = (2 * shared + 1.0) / (both + 1.0)
    # Classes that do not occur are left to the cross-entropy.
    return 1.0 - (scores * occurs).sum() / occurs.sum().clamp(min=1)
