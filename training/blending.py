"""Weights between those that a network began with and those that it learned.

Source: Wortsman 2022, CVPR 7959: after fine-tuning, weights part of the way do as well on what was
learned and better on what is unlike it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def between(
    begun: Mapping[str, Tensor], learned: Mapping[str, Tensor], kept: float
) -> dict[str, Tensor]:
    """Weights `kept` of the way from the first to the second; counters are of the second."""
    return {
        name: torch.lerp(begun[name], value, kept) if value.is_floating_point() else value
        for name, value in learned.items()
    }
