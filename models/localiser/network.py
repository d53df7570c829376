"""The localiser's network: a small anisotropic 3-D U-Net made of MONAI blocks.

Slices lie about 4 mm apart and pixels 1 mm, so most filters work inside a slice and slices are
never merged; at the coarser scales a (3, 1, 1) filter lets neighbouring slices speak. The stem
halves the plane at once: where pixels are cut decides the cost, not the number of weights.

This module needs torch and MONAI and is imported by training, export and the PyTorch runtime only.
"""

from __future__ import annotations

from typing import Final

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from models.localiser.classes import Structure

IMAGE_CHANNELS: Final = 2
"""Percentile-normalised image, and image over its local mean."""

OFFSET_CHANNELS: Final = 2
"""Votes for the body's centre: rows and columns, in units of `preprocess.OFFSET_UNIT_MM`."""

WIDTHS: Final = (12, 24, 48, 96, 128)
"""Channels at pixel sizes of 2, 4, 8, 16 and 32 mm."""

CROSS_SLICE_FROM: Final = 1
"""The first scale at which neighbouring slices are mixed."""


def _convolution(
    inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1
) -> nn.Module:
    """Convolution, instance normalisation, leaky ReLU; `stride` acts inside the slice."""
    block: nn.Module = Convolution(
        3,
        inputs,
        outputs,
        kernel_size=kernel,
        strides=(1, stride, stride),
        norm=("INSTANCE", {"affine": True}),
        act=("LEAKYRELU", {"negative_slope": 0.05}),
        bias=False,
    )
    return block


def _full_resolution(inputs: int, outputs: int) -> nn.Module:
    """From 2 mm pixels back to 1 mm; 4 taps over stride 2 overlap, so no checkerboard."""
    return nn.ConvTranspose3d(inputs, outputs, (1, 4, 4), (1, 2, 2), (0, 1, 1))


class Block(nn.Module):
    """One in-plane filter, then another one or a cross-slice one, around a residual path."""

    def __init__(self, inputs: int, outputs: int, *, cross_slice: bool) -> None:
        super().__init__()
        self.enter = _convolution(inputs, outputs, (1, 3, 3))
        self.across = _convolution(outputs, outputs, (3, 1, 1)) if cross_slice else nn.Identity()
        self.refine = _convolution(outputs, outputs, (1, 3, 3))

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, D, H, W) to (N, outputs, D, H, W)."""
        entered = self.enter(features)
        refined: Tensor = entered + self.refine(self.across(entered))
        return refined


class LocaliserNetwork(nn.Module):
    """Structure of every voxel, and for each voxel of a body where that body's centre lies.

    Input (N, 2, D, H, W): D slices of any number, H and W multiples of 32, pixels of
    `preprocess.PIXEL_MM`.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        scales = range(len(widths))
        self.stem = _convolution(IMAGE_CHANNELS, widths[0], (1, 5, 5), stride=2)
        self.encoder = nn.ModuleList(
            Block(widths[i], widths[i], cross_slice=i >= CROSS_SLICE_FROM) for i in scales
        )
        self.shrink = nn.ModuleList(
            _convolution(widths[i], widths[i + 1], (1, 3, 3), stride=2) for i in scales[:-1]
        )
        self.grow = nn.ModuleList(
            nn.ConvTranspose3d(widths[i + 1], widths[i], (1, 2, 2), (1, 2, 2)) for i in scales[:-1]
        )
        self.decoder = nn.ModuleList(
            Block(widths[i], widths[i], cross_slice=i >= CROSS_SLICE_FROM) for i in scales[:-1]
        )
        self.structure = _full_resolution(widths[0], len(Structure))
        self.offsets = _full_resolution(widths[0], OFFSET_CHANNELS)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return (structure logits (N, 7, D, H, W), offsets (N, 2, D, H, W))."""
        features = self.encoder[0](self.stem(image))
        kept = [features]
        for shrink, block in zip(self.shrink, list(self.encoder)[1:], strict=True):
            features = block(shrink(features))
            kept.append(features)
        for scale in reversed(range(len(self.decoder))):
            # Added, not concatenated: half the filter work at the scale that costs most.
            features = self.decoder[scale](self.grow[scale](features) + kept[scale])
        return self.structure(features), self.offsets(features)


class ServedLocaliser(nn.Module):
    """The network as it is exported: class probabilities instead of logits.

    The softmax belongs to the graph, where the runtime spreads it over its threads.
    """

    def __init__(self, network: LocaliserNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return (structure probabilities, offsets), named "structure" and "offsets" on export."""
        logits, offsets = self.network(image)
        return torch.softmax(logits, dim=1), offsets
