"""What the network is punished for: the map inside the body, each head where it applies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from models.scorer.heads import BINARY_HEADS, HEADS, SHAPES

HEAD_WEIGHTS: Final = {"edema": 1.0, "fracture": 1.0, "unhealed": 1.0, "pathological": 1.0}
MIMIC_WEIGHT: Final = 0.3
SIGN_WEIGHT: Final = 0.2
SHAPE_WEIGHT: Final = 0.4
HEIGHT_WEIGHT: Final = 4.0
MAP_WEIGHT: Final = 1.0
EXTENT_WEIGHT: Final = 2.0
LARGEST_POSITIVE_WEIGHT: Final = 4.0


@dataclass(frozen=True, slots=True)
class Losses:
    """Parts of the loss of a batch; `total` is what is minimised."""

    total: Tensor
    edema_map: Tensor
    extent: Tensor
    heads: Tensor
    shape: Tensor
    height: Tensor


def positive_weights(targets: Tensor) -> Tensor:
    """(len(BINARY_HEADS),) weight of a positive answer: root of how rare it is, at most 4."""
    positive, negative = _counts(targets)
    return torch.sqrt(negative / positive.clamp(min=1.0)).clamp(1.0, LARGEST_POSITIVE_WEIGHT)


def matched_weights(targets: Tensor, reference: Tensor, weights: Tensor) -> Tensor:
    """(len(BINARY_HEADS),) weight of a positive answer that gives other levels the same odds.

    How often a disease occurs among the few studies that a site has labelled is chance, or how they
    were chosen; a network that learns it shifts every answer. Weighed so, it learns what a disease
    looks like there, and how frequent it is is left to the site's calibration.

    Args:
        targets: (level, len(HEADS)) of the site.
        reference: The same of the levels they are mixed with.
        weights: `positive_weights` of the reference.

    Returns:
        At most 4 and at least 1/4; 1 for a question to which either lacks an answer of a kind.
    """
    (own, others), (there, without) = (_counts(one) for one in (targets, reference))
    wanted = weights * there / without.clamp(min=1.0)
    found = wanted * others / own.clamp(min=1.0)
    told = (own > 0) & (others > 0) & (there > 0) & (without > 0)
    least = 1.0 / LARGEST_POSITIVE_WEIGHT
    return torch.where(told, found, torch.ones_like(found)).clamp(least, LARGEST_POSITIVE_WEIGHT)


def _counts(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Positive and negative answers of every binary head, (len(BINARY_HEADS),) each."""
    answers = targets[:, : len(BINARY_HEADS)]
    asked = ~torch.isnan(answers)
    positive = torch.where(asked, answers, torch.zeros_like(answers)).sum(dim=0)
    return positive, asked.sum(dim=0) - positive


def batch_losses(
    outputs: tuple[Tensor, Tensor],
    targets: Tensor,
    edema: tuple[Tensor, Tensor],
    weights: Tensor,
) -> Losses:
    """Loss of a batch.

    Args:
        outputs: Edema map logits and heads of the network.
        targets: (batch, len(HEADS)), NaN where a question is not asked.
        edema: Edema map truth (batch, 1, slice, row / 2, column / 2) in [0, 1], and where it
            counts (same shape, 0 to 1).
        weights: Of `positive_weights`, (len(BINARY_HEADS),), or one such row for each level of the
            batch.
    """
    weights = weights.expand(len(targets), -1)
    edema_map, heads = outputs
    map_loss = _map_loss(edema_map, *edema)
    extent_loss = _extent_loss(edema_map, *edema)
    head_loss = _head_loss(heads, targets, weights)
    first_shape = HEADS.index(f"shape_{SHAPES[0]}")
    shape_columns = slice(first_shape, first_shape + len(SHAPES))
    shape_loss = _shape_loss(heads[:, shape_columns], targets[:, shape_columns])
    height = HEADS.index("height_loss")
    height_loss = _height_loss(heads[:, height], targets[:, height])
    total = (
        MAP_WEIGHT * map_loss
        + EXTENT_WEIGHT * extent_loss
        + head_loss
        + SHAPE_WEIGHT * shape_loss
        + HEIGHT_WEIGHT * height_loss
    )
    return Losses(total, map_loss, extent_loss, head_loss, shape_loss, height_loss)


def _shape_loss(heads: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the levels whose shape is known: a reader may leave it open."""
    known = ~torch.isnan(targets).any(dim=1)
    if not bool(known.any()):
        return heads.new_zeros(())
    return functional.cross_entropy(heads[known], targets[known].argmax(dim=1))


def _height_loss(heads: Tensor, targets: Tensor) -> Tensor:
    """Smooth absolute error over the levels whose height was measured."""
    known = ~torch.isnan(targets)
    if not bool(known.any()):
        return heads.new_zeros(())
    return functional.smooth_l1_loss(heads[known], targets[known], beta=0.05)


def _map_loss(logits: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """Cross-entropy inside the body, plus soft Dice over the bodies that have edema."""
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    mean = (entropy * counts).sum() / counts.sum().clamp(min=1.0)
    probability = torch.sigmoid(logits) * counts
    truth = truth * counts
    over = (1, 2, 3, 4)
    overlap = 2.0 * (probability * truth).sum(dim=over) + 1.0
    dice = 1.0 - overlap / (probability.sum(dim=over) + truth.sum(dim=over) + 1.0)
    wet = (truth.sum(dim=over) > 10.0).float()
    return mean + 0.5 * (dice * wet).sum() / wet.sum().clamp(min=1.0)


def _extent_loss(logits: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """Error of the mean probability inside each body against its edematous part.

    Voxel by voxel a map may be sharp and still mark too much of every body; this holds the sum.
    """
    over = (1, 2, 3, 4)
    inside = counts.sum(dim=over)
    asked = inside > 0
    if not bool(asked.any()):
        return logits.sum() * 0.0
    said = (torch.sigmoid(logits) * counts).sum(dim=over)[asked] / inside[asked]
    true = (truth * counts).sum(dim=over)[asked] / inside[asked]
    return functional.smooth_l1_loss(said, true, beta=0.05)


def _head_loss(heads: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    total = heads.new_zeros(())
    for column, name in enumerate(BINARY_HEADS):
        truth = targets[:, column]
        asked = ~torch.isnan(truth)
        if not bool(asked.any()):
            continue
        fallback = MIMIC_WEIGHT if name.startswith("mimic_") else SIGN_WEIGHT
        total = total + HEAD_WEIGHTS.get(name, fallback) * (
            functional.binary_cross_entropy_with_logits(
                heads[asked, column], truth[asked], pos_weight=weights[asked, column]
            )
        )
    return total
