"""Quantiles of small samples, without the overhead that dominates numpy's general ones there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def quantiles(values: NDArray[Any], parts: Sequence[float]) -> list[float]:
    """Linearly interpolated quantiles, as `numpy.quantile` gives them.

    Args:
        values: (n,) finite, n at least 1.
        parts: Each in [0, 1].
    """
    ordered = np.sort(values)
    last = len(ordered) - 1
    found = []
    for part in parts:
        place = part * last
        low = min(int(place), max(last - 1, 0))
        below, above = float(ordered[low]), float(ordered[min(low + 1, last)])
        found.append(below + (above - below) * (place - low))
    return found
