"""The scorer's network: a small anisotropic 3-D encoder-decoder with an edema map and level heads.

Defined in MONAI blocks and imported by training only; serving runs its ONNX export. The heads see
the body itself beside its neighbours: features are averaged inside the body's mask, inside the
other bodies' mask, and around both, beside the plain readings of `models.scorer.readings`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from models.scorer.crops import CHANNELS, PRESENCE
from models.scorer.heads import HEADS
from models.scorer.readings import (
    COUNT,
    IMAGES,
    Signal,
    means_inside,
    read_signal,
    readings,
)

WIDTHS = (16, 32, 64, 96)
"""Channels at in-plane strides 2, 4, 8 and 16; slices are halved at the last two."""


class Averaged(NamedTuple):
    """A map that was averaged inside the masks.

    Attributes:
        features: (batch, channel, slice, row, column).
        masks: (batch, 3, slice, row, column) on its grid: this body, the other bodies, the rest.
        means: (batch, 3, channel) inside each.
    """

    features: Tensor
    masks: Tensor
    means: Tensor


class Pooled(NamedTuple):
    """What comes of the crops.

    Attributes:
        edema_map: (batch, 1, slice, row / 2, column / 2) logits.
        given: (batch, values) all that the heads are given: the widest map's means, `presence`,
            each of `averaged` (mask by mask), the readings.
        averaged: The maps that were averaged.
        signal: What was read of it.
    """

    edema_map: Tensor
    given: Tensor
    averaged: tuple[Averaged, ...]
    signal: Signal


class AnisotropicBlock(nn.Module):
    """Residual pair of an in-plane (1,3,3) and a through-plane (3,1,1) convolution.

    Args:
        channels: In and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_plane = _convolution(channels, channels, (1, 3, 3))
        self.through_plane = _convolution(channels, channels, (3, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, slice, row, column) to the same."""
        refined: Tensor = features + self.through_plane(self.in_plane(features))
        return refined


def _convolution(
    channels_in: int,
    channels_out: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int] = (1, 1, 1),
) -> nn.Module:
    """Convolution, batch normalisation (folded away by the export), ReLU."""
    block: nn.Module = Convolution(
        spatial_dims=3,
        in_channels=channels_in,
        out_channels=channels_out,
        kernel_size=kernel,
        strides=stride,
        norm="batch",
        act=("relu", {"inplace": True}),
        bias=False,
        adn_ordering="NA",
    )
    return block


class ScorerNetwork(nn.Module):
    """Edema map and level heads from one crop.

    Args:
        dropout: Of the pooled features during training.
    """

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        first, second, third, fourth = WIDTHS
        self.stem = _convolution(len(CHANNELS), first, (1, 3, 3), (1, 2, 2))
        self.stage1 = AnisotropicBlock(first)
        self.down2 = _convolution(first, second, (1, 3, 3), (1, 2, 2))
        self.stage2 = nn.Sequential(AnisotropicBlock(second), AnisotropicBlock(second))
        self.down3 = _convolution(second, third, (3, 3, 3), (2, 2, 2))
        self.stage3 = nn.Sequential(AnisotropicBlock(third), AnisotropicBlock(third))
        self.down4 = _convolution(third, fourth, (3, 3, 3), (2, 2, 2))
        self.stage4 = AnisotropicBlock(fourth)
        self.presence = nn.Linear(len(PRESENCE), fourth)
        self.lateral3 = _convolution(fourth + third, second, (1, 1, 1))
        self.lateral2 = _convolution(second + second, second, (1, 1, 1))
        self.lateral1 = _convolution(second + first, first, (1, 1, 1))
        self.refine1 = AnisotropicBlock(first)
        self.edema_map = nn.Conv3d(first, 1, kernel_size=1)
        pooled = 3 * second + 3 * third + fourth + COUNT + len(PRESENCE)
        self.heads = nn.Sequential(
            nn.Linear(pooled, 160),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(160, len(HEADS)),
        )

    def forward(self, crops: Tensor, presence: Tensor) -> tuple[Tensor, Tensor]:
        """Score crops.

        Args:
            crops: (batch, len(CHANNELS), slice, row, column).
            presence: (batch, len(PRESENCE)) of 0 and 1.

        Returns:
            Edema map logits (batch, 1, slice, row / 2, column / 2), and heads
            (batch, len(HEADS)): logits, `height_loss` as a fraction.
        """
        pooled = self._pool(crops, presence)
        return pooled.edema_map, self.heads(pooled.given)

    def _pool(self, crops: Tensor, presence: Tensor) -> Pooled:
        """The edema map, and what the heads are given."""
        fine = self.stage1(self.stem(crops))
        middle = self.stage2(self.down2(fine))
        coarse = self.stage3(self.down3(middle))
        widest = self.stage4(self.down4(coarse)) + self.presence(presence)[:, :, None, None, None]
        up3 = _lateral(self.lateral3, widest, coarse)
        up2 = _lateral(self.lateral2, up3, middle)
        up1 = self.refine1(_lateral(self.lateral1, up2, fine))
        edema_map = self.edema_map(up1)
        # Images and masks are halved together: each halving would be a pass over all crops.
        halved = nn.functional.avg_pool3d(crops, kernel_size=(1, 2, 2))
        masks = _pooling_masks(halved[:, -2:])
        signal = read_signal(halved[:, :IMAGES], masks[:, :2])
        averaged = tuple(_averaged(features, masks) for features in (up2, coarse))
        parts = [
            widest.mean(dim=(2, 3, 4)),
            presence,
            *(each.means.flatten(1) for each in averaged),
            readings(signal, edema_map),
        ]
        return Pooled(edema_map, torch.cat(parts, dim=1), averaged, signal)


def _lateral(block: nn.Module, small: Tensor, fine: Tensor) -> Tensor:
    """A 1x1x1 convolution of a coarse map, spread to the finer one's grid, and that one beside it.

    It is applied to each map on its own grid: spread and put together first, the same sums would be
    formed at every fine voxel.
    """
    weight = block.get_submodule("conv").get_parameter("weight")
    width = small.shape[1]
    spread = _up_to(nn.functional.conv3d(small, weight[:, :width]), fine)
    refined: Tensor = block.get_submodule("adn")(
        spread + nn.functional.conv3d(fine, weight[:, width:])
    )
    return refined


def _up_to(features: Tensor, like: Tensor) -> Tensor:
    return nn.functional.interpolate(features, size=like.shape[2:], mode="nearest")


def _pooling_masks(masks: Tensor) -> Tensor:
    """(batch, 3, ...): this body, the other bodies, the rest.

    Args:
        masks: (batch, 2, ...): this body, and every body.
    """
    own, every = masks[:, :1], masks[:, 1:]
    others = torch.clamp(every - own, min=0.0)
    return torch.cat([own, others, torch.clamp(1.0 - every, min=0.0)], dim=1)


def _averaged(features: Tensor, masks: Tensor) -> Averaged:
    """Features averaged inside each mask, the masks brought to the features' grid."""
    stride = [fine // coarse for fine, coarse in zip(masks.shape[2:], features.shape[2:])]  # noqa: B905
    small = nn.functional.avg_pool3d(masks, kernel_size=stride)
    return Averaged(features, small, means_inside(features, small))
