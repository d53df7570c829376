"""Whether a level looks like what the network was trained on: plain statistics inside their range.

A modest test on purpose: it finds a wrong contrast, an inverted image, noise or an empty field. It
does not find a disease that was never drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite, nan
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.scorer.crops import CHANNELS, PRESENCE
from models.scorer.quantiles import quantiles

OWN_BODY: Final = 0.9
"""Share of a crop voxel inside the body from which it counts as the body's."""

FLUID_ROLES: Final = PRESENCE[:3]


def distribution_statistics(
    crop: NDArray[np.float32], presence: NDArray[np.float32]
) -> dict[str, float]:
    """Statistics of one level, by "role.statistic".

    Args:
        crop: (channel, slice, row, column).
        presence: (len(PRESENCE),).

    Returns:
        For every series present: median and spread (10 to 90 %) inside the body, median and 90 %
        outside all bodies, and roughness (median difference of neighbouring pixels); empty
        when the body has no voxel.
    """
    own, outside = crop[-2] > OWN_BODY, crop[-1] < 1.0 - OWN_BODY
    if own.sum() < 20:
        return {}
    statistics: dict[str, float] = {}
    beyond = bool(outside.any())
    neighbours = own[:, :, 1:] & own[:, :, :-1]
    for channel, role in present_roles(presence).items():
        image = crop[CHANNELS.index(channel)]
        low, middle, high = quantiles(image[own], (0.1, 0.5, 0.9))
        outer, outer_high = quantiles(image[outside], (0.5, 0.9)) if beyond else (nan, nan)
        step = np.abs(np.diff(image, axis=2)[neighbours])
        statistics |= {
            f"{role}.median": middle,
            f"{role}.spread": high - low,
            f"{role}.outside_median": outer,
            f"{role}.outside_p90": outer_high,
            f"{role}.roughness": quantiles(step, (0.5,))[0] if step.size else 0.0,
        }
    return statistics


def present_roles(presence: NDArray[np.float32]) -> dict[str, str]:
    """Channel name to the role that fills it, for the channels that are there."""
    there = [name for name, flag in zip(PRESENCE, presence, strict=True) if flag > 0]
    roles = {name: name for name in there if name in CHANNELS}
    for role in FLUID_ROLES:
        if role in there:
            roles["fluid"] = role
    return roles


def distribution_score(
    statistics: Mapping[str, float], bounds: Mapping[str, tuple[float, float]]
) -> float:
    """How far the oddest statistic lies from the middle of its range, 1 at the range's end.

    Infinite where there is no statistic, or one without a range.
    """
    if not statistics or not set(statistics) <= set(bounds):
        return inf
    away = 0.0
    for name, value in statistics.items():
        low, high = bounds[name]
        half = max((high - low) / 2.0, 1e-6)
        distance = abs(value - (low + high) / 2.0) / half
        # A statistic that is not a number says nothing good of the image.
        away = max(away, distance) if isfinite(distance) else inf
    return away
