"""Begin with the weights of an older bundle, also of a wider network with fewer classes.

Channels of one scale share one residual path, so the same ones are kept wherever that scale occurs:
those that later filters read most.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from models.localiser.network import LocaliserNetwork

PREFIX = "network."
"""Of the served network's weights."""


def warm_start(network: LocaliserNetwork, weights: Path) -> None:
    """Fill a network in place from `model.safetensors` of a bundle.

    Args:
        network: At most as wide as the stored one at every scale, of the same depth.
        weights: Stored weights of `ServedLocaliser`.

    Raises:
        ValueError: The stored network is narrower or has another depth.
    """
    stored = {key.removeprefix(PREFIX): value for key, value in load_file(weights).items()}
    own = network.state_dict()
    if missing := own.keys() - stored.keys():
        raise ValueError(f"no weights are stored for {sorted(missing)[:3]}")
    kept = _kept_channels(own, stored)
    for name, target in own.items():
        value = stored[name]
        for axis, scale in enumerate(_scales(name)):
            if scale is not None and value.shape[axis] != target.shape[axis]:
                value = value.index_select(axis, kept[scale])
        # Classes that the older network did not know keep their fresh weights.
        common = tuple(slice(0, min(a, b)) for a, b in zip(value.shape, target.shape, strict=True))
        target[common] = value[common]
    network.load_state_dict(own)


def _scales(name: str) -> tuple[int | None, ...]:
    """The scale whose channels each leading axis of a weight counts; None: not a scale's."""
    part, *rest = name.split(".")
    bias = rest[-1] == "bias" or "adn" in rest
    scale = int(rest[0]) if rest[0].isdigit() else 0
    if part in ("encoder", "decoder"):
        return (scale,) if bias else (scale, scale)
    if part == "stem":
        return (0,) if bias else (0, None)
    if part == "shrink":
        return (scale + 1,) if bias else (scale + 1, scale)
    if part == "grow":
        return (scale,) if bias else (scale + 1, scale)
    return (None,) if bias else (0, None)  # the heads


def _kept_channels(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """Per scale, ascending, the channels that the filters reading them weigh most."""
    weight: dict[int, Tensor] = {}
    width: dict[int, int] = {}
    for name, value in stored.items():
        scales = _scales(name)
        if len(scales) < 2:
            continue
        read = 0 if name.startswith(("grow", "structure", "offsets")) else 1
        scale = scales[read]
        if scale is None:
            continue
        others = tuple(axis for axis in range(value.ndim) if axis != read)
        weight[scale] = weight.get(scale, torch.zeros(())) + value.square().sum(others)
        width[scale] = own[name].shape[read]
    for scale, total in weight.items():
        if width[scale] > len(total):
            raise ValueError(f"the stored network is narrower at scale {scale}")
    return {
        scale: total.topk(width[scale]).indices.sort().values for scale, total in weight.items()
    }
