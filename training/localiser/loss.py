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

    An answer is for a square of pixels; what is asked of it is each class's part of that square.

    Args:
        logits: (N, classes, D, H / side, W / side).
        offsets: (N, 2, D, H / side, W / side).
        structure: (N, D, H, W) integer classes.
        true_offsets: (N, 2, D, H, W), read only where the structure is a body or S1.
    """
    weights = logits.new_tensor([CLASS_WEIGHTS[s] for s in Structure]).view(1, -1, 1, 1, 1)
    parts = _parts(structure, logits)
    weighed = weights * parts
    cross_entropy = -(weighed * functional.log_softmax(logits, dim=1)).sum() / weighed.sum()
    dice = _dice_loss(logits, parts)
    votes = _vote_loss(offsets, structure, true_offsets)
    total = cross_entropy + dice + OFFSET_SHARE * votes
    return Loss(total, float(cross_entropy.detach()), float(dice.detach()), float(votes.detach()))


def _parts(structure: Tensor, logits: Tensor) -> Tensor:
    """Each class's part of every square, in the shape of `logits`."""
    side = structure.shape[-1] // logits.shape[-1]
    parts = torch.zeros_like(logits)
    for row in range(side):
        for column in range(side):
            pixel = structure[:, None, :, row::side, column::side].long()
            parts.scatter_add_(1, pixel, torch.full_like(parts[:, :1], 1.0 / side**2))
    return parts


def _vote_loss(offsets: Tensor, structure: Tensor, true_offsets: Tensor) -> Tensor:
    """Mean error of the votes over what is body, a square by how much of it is."""
    side = structure.shape[-1] // offsets.shape[-1]
    square = (1, side, side)
    body = (
        (structure == Structure.BODY)
        | (structure == Structure.SACRUM_S1)
        | (structure == Structure.C2)
    ).to(offsets.dtype)[:, None]
    share = functional.avg_pool3d(body, square)
    wanted = functional.avg_pool3d(true_offsets * body, square) / share.clamp(min=1e-3)
    miss = functional.smooth_l1_loss(offsets, wanted, reduction="none", beta=0.3).sum(
        1, keepdim=True
    )
    return (miss * share).sum() / share.sum().clamp(min=1.0)


def _dice_loss(logits: Tensor, parts: Tensor) -> Tensor:
    """One minus the mean soft Dice of the classes that occur in the batch, background left out."""
    probability = torch.softmax(logits, dim=1)
    over = (0, 2, 3, 4)
    shared = (probability * parts).sum(over)[1:]
    both = (probability.sum(over) + parts.sum(over))[1:]
    occurs = parts.sum(over)[1:] > 0
    scores = (2 * shared + 1.0) / (both + 1.0)
    # Classes that do not occur are left to the cross-entropy.
    return 1.0 - (scores * occurs).sum() / occurs.sum().clamp(min=1)
