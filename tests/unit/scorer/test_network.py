"""The network's shortcuts give what they are short for."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch
from torch import nn

from models.scorer.crops import CHANNELS, CROP_SHAPE, PRESENCE
from models.scorer.evidence import ExplainedScorer
from models.scorer.network import ScorerNetwork, _lateral
from models.scorer.readings import (
    IMAGES,
    INSIDE_FROM,
    SHARES,
    SOFTNESS,
    STEPS,
    means_inside,
    read_signal,
)

pytestmark = pytest.mark.train

GRID = (4, 12, 8)


def mean_inside(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    over = (2, 3, 4)
    return (values * mask).sum(dim=over) / (mask.sum(dim=over) + 1e-2)


def masks() -> torch.Tensor:
    """This body and another one, with soft borders."""
    drawn = torch.zeros(2, 2, *GRID)
    drawn[:, 0, 1:3, 2:6, 1:7] = 0.9
    drawn[:, 0, 1:3, 3:5, 2:6] = 1.0
    drawn[:, 1, 1:3, 7:11, 1:7] = 0.95
    return drawn


def test_means_inside_masks_are_weighted_means() -> None:
    torch.manual_seed(0)
    values, drawn = torch.randn(2, 5, *GRID), masks()
    found = means_inside(values, drawn)
    for number in range(2):
        torch.testing.assert_close(
            found[:, number], mean_inside(values, drawn[:, number : number + 1])
        )


def test_signal_is_read_step_by_step_and_image_by_image() -> None:
    torch.manual_seed(1)
    images, drawn = 0.4 * torch.randn(2, IMAGES, *GRID), masks()
    signal = read_signal(images, drawn)
    inner = torch.clamp((drawn - INSIDE_FROM) / (1 - INSIDE_FROM), min=0.0)
    over_others = images - mean_inside(images, inner[:, 1:])[:, :, None, None, None]
    for number, step in enumerate(STEPS):
        of_step = slice(number * IMAGES, (number + 1) * IMAGES)
        above = torch.sigmoid((images - step) / SOFTNESS)
        for body in range(2):
            expected = mean_inside(above, inner[:, body : body + 1])
            torch.testing.assert_close(signal.shares[:, body, of_step], expected)
        against = mean_inside(torch.sigmoid((over_others - step) / SOFTNESS), inner[:, :1])
        torch.testing.assert_close(signal.against_shares[:, of_step], against)
    assert signal.shares.shape == (2, 2, SHARES)


def test_a_lateral_convolution_is_that_of_both_maps_put_together() -> None:
    torch.manual_seed(2)
    network = ScorerNetwork().eval()
    small, fine = torch.randn(2, 96, 2, 3, 2), torch.randn(2, 64, 4, 6, 4)
    spread = nn.functional.interpolate(small, size=fine.shape[2:], mode="nearest")
    with torch.no_grad():
        expected = network.lateral3(torch.cat([spread, fine], dim=1))
        torch.testing.assert_close(
            _lateral(network.lateral3, small, fine), expected, atol=1e-5, rtol=1e-5
        )


def test_everything_lies_where_the_crops_lie() -> None:
    """A constant left on the CPU fails on a GPU; a device without memory shows it anywhere."""
    network = ExplainedScorer().eval().to("meta")
    crops = torch.zeros(2, len(CHANNELS), *CROP_SHAPE, device="meta")
    outputs = network(crops, torch.ones(2, len(PRESENCE), device="meta"))
    assert [output.device.type for output in outputs] == ["meta"] * 3
