"""What the heads are told outright: how the signal of a body and of its neighbours is distributed.

Averaged features blur a thin band of edema away, and a small network then answers from the shape of
the body instead. These readings are the network's own measured signs: how much of the body lies
above each step of the log signal, as it is and against the neighbours, and how much of it the edema
map marks. Everything is smooth, so that training can follow it. Needs torch, like the network.

A mean inside a mask is a product of matrices, and all steps are taken from the signal in one sum:
written voxel by voxel and step by step, these readings took the runtime as long as all filters.
"""

from __future__ import annotations

from typing import Final, NamedTuple

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

SHARES: Final = IMAGES * len(STEPS)
"""How many shares are read of the signal inside one mask: step by step, every image."""

COUNT: Final = 3 * SHARES + 2 * (len(MAP_STEPS) + 2)
"""How many readings there are."""

_EMPTY: Final = 1e-2
"""Added to a mask's volume, so that the mean inside an empty one is 0."""


class Signal(NamedTuple):
    """How far every voxel lies above each step, and where that counts.

    Attributes:
        as_is: (batch, SHARES, voxel) of the signal, 0 to 1.
        against: The same of the signal over the mean of the other bodies.
        inner: (batch, 2, slice, row / 2, column / 2): this body and the others without their
            borders.
        shares: (batch, 2, SHARES) means of `as_is` inside each.
        against_shares: (batch, SHARES) means of `against` inside this body.
    """

    as_is: Tensor
    against: Tensor
    inner: Tensor
    shares: Tensor
    against_shares: Tensor


def read_signal(images: Tensor, masks: Tensor) -> Signal:
    """Read the distribution of signal in this body and in the others.

    Args:
        images: (batch, IMAGES, slice, row / 2, column / 2) log signal.
        masks: (batch, 2, slice, row / 2, column / 2): this body, the other bodies, 0 to 1.
    """
    inner = torch.clamp((masks - INSIDE_FROM) / (1.0 - INSIDE_FROM), min=0.0)
    as_is = _above_steps(images)
    beside = means_inside(images, inner)[:, 1]
    against = _above_steps(images - beside[:, :, None, None, None])
    return Signal(
        as_is,
        against,
        inner,
        means_inside(as_is, inner),
        means_inside(against, inner[:, :1])[:, 0],
    )


def readings(signal: Signal, edema_map: Tensor) -> Tensor:
    """What the heads are given.

    Args:
        signal: Of `read_signal`.
        edema_map: (batch, 1, slice, row / 2, column / 2) logits.

    Returns:
        (batch, COUNT) float32 in about [-1, 1].
    """
    areas = _map_areas(edema_map, signal.inner)
    return torch.cat([signal.shares.flatten(1), signal.against_shares, areas.flatten(1)], dim=1)


def means_inside(values: Tensor, masks: Tensor) -> Tensor:
    """Weighted means of values inside masks; 0 where a mask is empty.

    Args:
        values: (batch, channel, voxels in any number of axes).
        masks: (batch, mask, the same voxels).

    Returns:
        (batch, mask, channel).
    """
    weights = masks.flatten(2)
    total = weights.sum(dim=2)[:, :, None]
    means: Tensor = weights @ values.flatten(2).transpose(1, 2) / (total + _EMPTY)
    return means


def part_of(mask: Tensor) -> Tensor:
    """(batch, 1, ...) weight of each voxel in a mean inside the mask."""
    part: Tensor = mask / (mask.sum(dim=(2, 3, 4), keepdim=True) + _EMPTY)
    return part


def _above_steps(images: Tensor) -> Tensor:
    """(batch, SHARES, voxel): how far each voxel lies above each step, 0 to 1."""
    steps = torch.tensor(STEPS, dtype=images.dtype, device=images.device) / SOFTNESS
    steep = images.flatten(1)[:, None] * (1.0 / SOFTNESS)
    return torch.sigmoid(steep - steps[None, :, None]).reshape(len(images), SHARES, -1)


def _map_areas(edema_map: Tensor, inner: Tensor) -> Tensor:
    """(batch, 2, len(MAP_STEPS) + 2): marked shares, the mean, one that the brightest decide."""
    probability = torch.sigmoid(edema_map).flatten(2)
    steps = torch.tensor(MAP_STEPS, dtype=inner.dtype, device=inner.device) / MAP_SOFTNESS
    marked = torch.sigmoid(probability * (1.0 / MAP_SOFTNESS) - steps[None, :, None])
    fourth = means_inside(probability.square().square(), inner)
    peak = torch.sqrt(torch.sqrt(fourth + 1e-6))
    areas = [means_inside(marked, inner), means_inside(probability, inner), peak]
    return torch.cat(areas, dim=2)
