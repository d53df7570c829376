"""How much of a body is edematous, with an interval: quantile regression on what the map marks.

A single threshold marks too much of faint edema or too little of dense edema. The regressions and
the margin come with the bundle, fitted on held-out synthetic cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

READ_AT: Final = (0.5,)
"""Probabilities of the map at which its area is read."""

LINES: Final = ("low", "middle", "high")


@dataclass(frozen=True, slots=True)
class Extent:
    """Edematous part of a body, 0 to 1, and its interval; None where the bundle gives none."""

    fraction: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class ExtentModel:
    """Quantile regressions of the extent and the conformal margin of the outer two.

    Attributes:
        weights: (3, 2 + len(READ_AT)) of `LINES` over a constant and `extent_features`; None where
            the bundle's combination has the regressions.
        margin: Added on both sides, so that the interval covers as said; may be negative.
        coverage: Nominal.
    """

    weights: NDArray[np.float64] | None
    margin: float
    coverage: float

    def lines(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """(3,) `LINES` of one body from `extent_features`, by the model's own weights.

        Raises:
            ValueError: It has none.
        """
        if self.weights is None:
            raise ValueError("this extent's regressions are part of a combination")
        return np.asarray(self.weights @ np.concatenate([[1.0], features]))

    def bounded(self, lines: NDArray[np.float64]) -> Extent:
        """Extent of one body from its (3,) lines; the interval always holds the fraction."""
        low, middle, high = lines
        fraction = float(np.clip(middle, 0.0, 1.0))
        below = float(np.clip(low - self.margin, 0.0, fraction))
        above = float(np.clip(high + self.margin, fraction, 1.0))
        return Extent(fraction, (below, above))


def extent_features(probability: NDArray[np.float32]) -> NDArray[np.float64]:
    """(1 + len(READ_AT),) mean of a body's map and its shares at `READ_AT`; zeros without voxels.

    Args:
        probability: (n,) of the body's voxels.
    """
    if not probability.size:
        return np.zeros(1 + len(READ_AT))
    shares = [float((probability >= level).mean()) for level in READ_AT]
    return np.array([float(probability.mean()), *shares])


def read_extent_model(stored: Mapping[str, Any] | None) -> ExtentModel | None:
    """The bundle's model; None where it has none.

    Raises:
        KeyError, TypeError, ValueError: It is incomplete.
    """
    if stored is None:
        return None
    weights = None
    if stored["weights"] is not None:
        weights = np.array([stored["weights"][line] for line in LINES], dtype=np.float64)
        if weights.shape != (len(LINES), 2 + len(READ_AT)):
            raise ValueError("the extent's weights have another shape")
    return ExtentModel(weights, float(stored["margin"]), float(stored["coverage"]))
