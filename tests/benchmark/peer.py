"""The peer: a network of the size nnU-Net would plan for the same volume, run as nnU-Net runs it.

nnU-Net's `3d_fullres` plan follows from spacing and size: an axis is halved while it keeps at least
4 positions and its spacing is less than twice the finest one; kernels are 1 wide along an axis
until its spacing is first less than twice the finest. Channels double from 32 to at most 320, with
two convolutions per stage. It predicts patches that overlap by half, each mirrored in eight ways.

Source: Isensee et al., Nature Methods 18 (2021) 203, online methods ("rule-based parameters").
The network is MONAI's DynUNet, which was made to build these plans. Its weights are random: they
do not change the time. One model is counted, not the ensemble of five.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from torch import nn

Triple = tuple[int, int, int]

LARGEST_PATCH: Final[Triple] = (16, 320, 320)
"""About what nnU-Net's default 8 GB plan leaves of thick-sliced volumes."""

SMALLEST_MAP: Final = 4
ANISOTROPY: Final = 2.0
FIRST_CHANNELS: Final = 32
MOST_CHANNELS: Final = 320
MIRRORINGS: Final = 8
STEP_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be run on a volume.

    Attributes:
        patch: (slice, row, column) of one forward.
        kernels: Per stage.
        strides: Per stage; the first is 1.
        tiles: Patches that cover the volume with half overlap.
    """

    patch: Triple
    kernels: tuple[Triple, ...]
    strides: tuple[Triple, ...]
    tiles: int

    @property
    def forwards(self) -> int:
        """Tiles times mirrorings."""
        return self.tiles * MIRRORINGS


@dataclass(frozen=True, slots=True)
class PeerTime:
    """Measured forwards and what the whole volume would take.

    Attributes:
        timed: How many forwards were really run.
        forward_s: Wall-clock time of the fastest.
        forward_cpu_s: Processor time of the same one, over all threads.
        volume_s: `forward_s` times the plan's forwards; multiplied, not run.
    """

    plan: Plan
    parameters: int
    timed: int
    forward_s: float
    forward_cpu_s: float
    volume_s: float


def plan_for(shape: Triple, spacing_mm: tuple[float, float, float]) -> Plan:
    """Plan as nnU-Net would for a volume of this size and spacing."""
    sizes = [min(size, most) for size, most in zip(shape, LARGEST_PATCH, strict=True)]
    kernels, strides = _stages(sizes, list(spacing_mm))
    steps = [prod(stride[axis] for stride in strides) for axis in range(3)]
    # Patches are padded so that every halving is exact.
    patch = [ceil(size / step) * step for size, step in zip(sizes, steps, strict=True)]
    tiles = prod(_tiles(size, part) for size, part in zip(shape, patch, strict=True))
    return Plan((patch[0], patch[1], patch[2]), kernels, strides, tiles)


def build(plan: Plan, channels: int, classes: int) -> nn.Module:
    """Build the planned network; needs the [train] extra."""
    from monai.networks.nets import DynUNet

    filters = [min(FIRST_CHANNELS * 2**i, MOST_CHANNELS) for i in range(len(plan.strides))]
    network: nn.Module = DynUNet(
        spatial_dims=3,
        in_channels=channels,
        out_channels=classes,
        kernel_size=plan.kernels,
        strides=plan.strides,
        upsample_kernel_size=plan.strides[1:],
        filters=filters,
    )
    return network.eval()


def time_peer(plan: Plan, classes: int, threads: int, forwards: int) -> PeerTime:
    """Run a few forwards on one patch and multiply."""
    import torch

    torch.set_num_threads(threads)
    network = build(plan, channels=1, classes=classes)
    patch = torch.rand((1, 1, *plan.patch))
    walls, processors = [], []
    with torch.inference_mode():
        for _ in range(forwards):
            wall, processor = perf_counter(), process_time()
            network(patch)
            walls.append(perf_counter() - wall)
            processors.append(process_time() - processor)
    fastest = int(np.argmin(walls))
    return PeerTime(
        plan=plan,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        timed=forwards,
        forward_s=walls[fastest],
        forward_cpu_s=processors[fastest],
        volume_s=walls[fastest] * plan.forwards,
    )


def _stages(
    sizes: Sequence[int], spacing: Sequence[float]
) -> tuple[tuple[Triple, ...], tuple[Triple, ...]]:
    """Kernels and strides, stage by stage, until no axis can be halved."""
    maps, pitch = list(sizes), list(spacing)
    kernels: list[Triple] = [_kernel(pitch, (1, 1, 1))]
    strides: list[Triple] = [(1, 1, 1)]
    while divisible := [axis for axis in range(3) if maps[axis] >= 2 * SMALLEST_MAP]:
        finest = min(pitch[axis] for axis in divisible)
        halved = [axis for axis in divisible if pitch[axis] < ANISOTROPY * finest]
        stride = [2 if axis in halved else 1 for axis in range(3)]
        maps = [ceil(size / step) for size, step in zip(maps, stride, strict=True)]
        pitch = [mm * step for mm, step in zip(pitch, stride, strict=True)]
        strides.append((stride[0], stride[1], stride[2]))
        kernels.append(_kernel(pitch, kernels[-1]))
    return tuple(kernels), tuple(strides)


def _kernel(pitch: Sequence[float], before: Triple) -> Triple:
    widths = [
        3 if width == 3 or mm < ANISOTROPY * min(pitch) else 1
        for mm, width in zip(pitch, before, strict=True)
    ]
    return widths[0], widths[1], widths[2]


def _tiles(size: int, patch: int) -> int:
    return 1 if size <= patch else ceil((size - patch) / (patch * STEP_SHARE)) + 1
