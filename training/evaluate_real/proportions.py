"""Intervals of proportions."""

from __future__ import annotations

import math


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    if not trials:
        return (0.0, 1.0)
    z = 1.959964
    share = hits / trials
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return ((middle - half) / scale, (middle + half) / scale)
