"""The scorer's network: a small anisotropic 3-D encoder-decoder with an edema map and level heads.

Defined in MONAI blocks and imported by training only; serving runs its ONNX export. The heads see
the body itself beside its neighbours: features are averaged inside the body's mask, inside the
other bodies' mask, and around both, beside the plain readings of `models.scorer.readings`.
"""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from models.scorer.crops import CHANNELS, PRESENCE
from models.scorer.heads import HEADS
from models.scorer.readings import COUNT, readings

WIDTHS = (16, 32, 64, 96)
"""Channels at in-plane strides 2, 4, 8 and 16; slices are halved at the last two."""


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
        edema_map, pooled, _ = self._pool(crops, presence)
        return edema_map, self.heads(pooled)

    def _pool(
        self, crops: Tensor, presence: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """The edema map, what the heads are given, and the two maps that were averaged for it."""
        fine = self.stage1(self.stem(crops))
        middle = self.stage2(self.down2(fine))
        coarse = self.stage3(self.down3(middle))
        widest = self.stage4(self.down4(coarse)) + self.presence(presence)[:, :, None, None, None]
        up3 = self.lateral3(torch.cat([_up_to(widest, coarse), coarse], dim=1))
        up2 = self.lateral2(torch.cat([_up_to(up3, middle), middle], dim=1))
        up1 = self.refine1(self.lateral1(torch.cat([_up_to(up2, fine), fine], dim=1)))
        edema_map = self.edema_map(up1)
        masks = pooling_masks(crops)
        pooled = [widest.mean(dim=(2, 3, 4)), presence]
        for features in (up2, coarse):
            pooled.extend(_means_inside(features, masks))
        pooled.append(readings(crops, masks[:, :2], edema_map))
        return edema_map, torch.cat(pooled, dim=1), (up2, coarse)


def _up_to(features: Tensor, like: Tensor) -> Tensor:
    return nn.functional.interpolate(features, size=like.shape[2:], mode="nearest")


def pooling_masks(crops: Tensor) -> Tensor:
    """(batch, 3, slice, row / 2, column / 2): this body, the other bodies, the rest."""
    masks = nn.functional.avg_pool3d(crops[:, -2:], kernel_size=(1, 2, 2))
    own, every = masks[:, :1], masks[:, 1:]
    others = torch.clamp(every - own, min=0.0)
    return torch.cat([own, others, torch.clamp(1.0 - every, min=0.0)], dim=1)


def masks_like(features: Tensor, masks: Tensor) -> Tensor:
    """Masks averaged to the grid of features."""
    stride = [fine // coarse for fine, coarse in zip(masks.shape[2:], features.shape[2:])]  # noqa: B905
    small: Tensor = nn.functional.avg_pool3d(masks, kernel_size=stride)
    return small


def _means_inside(features: Tensor, masks: Tensor) -> list[Tensor]:
    """Mean of features inside each mask, the masks averaged to the features' grid."""
    small = masks_like(features, masks)
    return [
        (features * small[:, i : i + 1]).sum(dim=(2, 3, 4))
        / (small[:, i : i + 1].sum(dim=(2, 3, 4)) + 1e-2)
        for i in range(3)
    ]
