"""The localiser's network: a small anisotropic 3-D U-Net made of MONAI blocks.

Slices lie about 4 mm apart and pixels 1 mm, so most filters work inside a slice and slices are
never merged; a (3, 1, 1) filter lets neighbouring slices speak at every scale. Filters begin at
4 mm, which 4 x 4 pixels become channels for, and answers are given for squares of 2 mm: where
pixels are cut decides the cost, not the number of weights. Normalisation over the batch becomes a
part of the filters in serving, and so lets all of them be computed in eight bits.

This module needs torch and MONAI and is imported by training, export and the PyTorch runtime only.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn
from torch.nn import functional

from models.localiser.classes import Structure

IMAGE_CHANNELS: Final = 2
"""Percentile-normalised image, and image over its local mean."""

OFFSET_CHANNELS: Final = 2
"""Votes for the body's centre: rows and columns, in units of `preprocess.OFFSET_UNIT_MM`."""

WIDTHS: Final = (32, 48, 96, 128)
"""Channels at pixel sizes of 4, 8, 16 and 32 mm."""

DEPTHS: Final = (1, 1, 2, 2)
"""Blocks at each of them on the way down; one on the way up."""

STEM: Final = 4
"""Pixels along the side of the square that the first filters take as one."""

ANSWER: Final = 2
"""Pixels along the side of the square that one answer is for."""


def _convolution(
    inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1
) -> nn.Module:
    """Convolution, batch normalisation, ReLU; `stride` acts inside the slice."""
    block: nn.Module = Convolution(
        3,
        inputs,
        outputs,
        kernel_size=kernel,
        strides=(1, stride, stride),
        norm="BATCH",
        act="RELU",
        bias=False,
    )
    return block


def _answers(inputs: int, channels: int) -> nn.Module:
    """`channels` for every answer of a stem's square."""
    outputs = (STEM // ANSWER) ** 2 * channels
    return nn.Conv3d(inputs, outputs, (1, 3, 3), padding=(0, 1, 1))


class Block(nn.Module):
    """An in-plane filter, then one across slices and another in the plane, on a residual path."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = _convolution(width, width, (1, 3, 3))
        self.across = _convolution(width, width, (3, 1, 1))
        self.refine = _convolution(width, width, (1, 3, 3))

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, width, D, H, W) to the same shape."""
        entered = self.enter(features)
        refined: Tensor = entered + self.refine(self.across(entered))
        return refined


class LocaliserNetwork(nn.Module):
    """Structure of every square of 2 mm, and for those of a body where that body's centre lies.

    Input (N, 2, D, H, W): D slices of any number, H and W multiples of 32, pixels of
    `preprocess.PIXEL_MM`.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, depths: tuple[int, ...] = DEPTHS) -> None:
        super().__init__()
        self.stem = _convolution(IMAGE_CHANNELS * STEM**2, widths[0], (1, 3, 3))
        self.encoder = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(depth)))
            for width, depth in zip(widths, depths, strict=True)
        )
        self.shrink = nn.ModuleList(
            _convolution(fine, coarse, (1, 3, 3), stride=2) for fine, coarse in pairwise(widths)
        )
        self.grow = nn.ModuleList(
            nn.ConvTranspose3d(coarse, fine, (1, 2, 2), (1, 2, 2))
            for fine, coarse in pairwise(widths)
        )
        self.decoder = nn.ModuleList(Block(width) for width in widths[:-1])
        self.structure = _answers(widths[0], len(Structure))
        self.offsets = _answers(widths[0], OFFSET_CHANNELS)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return structure logits (N, classes, D, H / 2, W / 2) and offsets (N, 2, same)."""
        features = self.encoder[0](self.stem(_squares_to_channels(image, STEM)))
        kept = [features]
        for shrink, blocks in zip(self.shrink, list(self.encoder)[1:], strict=True):
            features = blocks(shrink(features))
            kept.append(features)
        for scale in reversed(range(len(self.decoder))):
            # Added, not concatenated: half the filter work at the scale that costs most.
            features = self.decoder[scale](self.grow[scale](features) + kept[scale])
        side = STEM // ANSWER
        return (
            _channels_to_squares(self.structure(features), side),
            _channels_to_squares(self.offsets(features), side),
        )


def _squares_to_channels(image: Tensor, side: int) -> Tensor:
    """(N, C, D, H, W) to (N, C * side * side, D, H / side, W / side)."""
    return functional.pixel_unshuffle(image.transpose(1, 2), side).transpose(1, 2)


def _channels_to_squares(answers: Tensor, side: int) -> Tensor:
    """The reverse of `_squares_to_channels`."""
    return functional.pixel_shuffle(answers.transpose(1, 2), side).transpose(1, 2)


def most_probable(logits: Tensor) -> Tensor:
    """(N, D, H, W) class of every pixel; between answers the probability is linear, as served."""
    probability = torch.softmax(logits, dim=1)
    finer = functional.interpolate(probability, scale_factor=(1, ANSWER, ANSWER), mode="trilinear")
    return finer.argmax(dim=1)


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
