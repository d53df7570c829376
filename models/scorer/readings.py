"""What the heads are told outright: how the signal of a body and of its neighbours is distributed.

Averaged features blur a thin band of edema away, and a small network then answers from the shape of
the body instead. These readings are the network's own measured signs: how much of the body lies
above each step of the log signal, as it is and against the neighbours, and how much of it the edema
map marks. Everything is smooth, so that training can follow it. Needs torch, like the network.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from models.scorer.crops import CHANNELS

IMAGES: Final = len(CHANNELS) - 2

STEPS: Final = (-0.6, -0.3, -0.12, 0.0, 0.12, 0.24, 0.4, 0.65)
"""Log signal over normal marrow at which shares of a body are read; edema often has 0.2 to 0.4."""

SOFTNESS: Final = 0.06
"""Log signal over which a voxel passes from below a step to above it."""

MAP_STEPS: Final = (0.2, 0.35, 0.5, 0.65, 0.8)
"""Probabilities of the edema map at which its area is read."""

MAP_SOFTNESS: Final = 0.05

INSIDE_FROM: Final = 0.8
"""Share of a voxel that must be the body's: the border is a mixture with cortex and disc."""

COUNT: Final = 3 * IMAGES * len(STEPS) + 2 * (len(MAP_STEPS) + 2)
"""How many readings there are."""


def readings(crops: Tensor, masks: Tensor, edema_map: Tensor) -> Tensor:
    """Read the distribution of signal and of the edema map.

    Args:
        crops: (batch, len(CHANNELS), slice, row, column).
        masks: (batch, 2, slice, row / 2, column / 2): this body, the other bodies, 0 to 1.
        edema_map: (batch, 1, slice, row / 2, column / 2) logits.

    Returns:
        (batch, COUNT) float32 in about [-1, 1].
    """
    images, own, others = halved(crops, masks)
    above = shares_map(images)
    parts = [
        mean_inside(above, own),
        mean_inside(above, others),
        mean_inside(shares_map(images - beside(images, others)), own),
        _map_areas(edema_map, own),
        _map_areas(edema_map, others),
    ]
    return torch.cat(parts, dim=1)


def halved(crops: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Images at half resolution (batch, IMAGES, ...), and the inner masks of this and the others.

    Args:
        crops: See `readings`.
        masks: See `readings`.
    """
    images = torch.nn.functional.avg_pool3d(crops[:, :IMAGES], kernel_size=(1, 2, 2))
    inner = torch.clamp((masks - INSIDE_FROM) / (1.0 - INSIDE_FROM), min=0.0)
    return images, inner[:, :1], inner[:, 1:]


def beside(images: Tensor, others: Tensor) -> Tensor:
    """(batch, IMAGES, 1, 1, 1) mean signal of the other bodies."""
    return mean_inside(images, others)[:, :, None, None, None]


def shares_map(images: Tensor) -> Tensor:
    """(batch, IMAGES * len(STEPS), ...): how far each voxel lies above each step, 0 to 1."""
    return torch.cat([torch.sigmoid((images - step) / SOFTNESS) for step in STEPS], dim=1)


def mean_inside(values: Tensor, mask: Tensor) -> Tensor:
    """(batch, channel) weighted mean; 0 where the mask is empty."""
    over = (2, 3, 4)
    return (values * mask).sum(dim=over) / (mask.sum(dim=over) + 1e-2)


def _map_areas(edema_map: Tensor, mask: Tensor) -> Tensor:
    """(batch, len(MAP_STEPS) + 2): marked shares, the mean, and one that the brightest decide."""
    probability = torch.sigmoid(edema_map)
    areas = [
        mean_inside(torch.sigmoid((probability - step) / MAP_SOFTNESS), mask) for step in MAP_STEPS
    ]
    peak = torch.sqrt(torch.sqrt(mean_inside(probability.square().square(), mask) + 1e-6))
    return torch.cat([*areas, mean_inside(probability, mask), peak], dim=1)
