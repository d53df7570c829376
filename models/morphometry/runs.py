"""The longest unbroken part of many lines at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def longest_runs(inside: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find the longest run of True in each line.

    Args:
        inside: (lines, samples).

    Returns:
        (lines,) first and last sample of the run; a line without any has last = first - 1.
    """
    place = np.arange(1, inside.shape[1] + 1)
    # Up to each sample, how long ago the last False was.
    length = place - np.maximum.accumulate(np.where(inside, 0, place), axis=1)
    last = np.argmax(length, axis=1)
    return last - length[np.arange(len(inside)), last] + 1, last
