"""The network's answers and the measured signs, weighed together by boosted trees.

The network sees texture and shape, the signs count what a reader would count; on images unlike
those that the network learned from the two err differently. The trees take both and answer the
questions that findings rest on; what they learned from are levels the network did not learn from.

Source: Wolpert 1992, Neural Networks 5:241 (stacked generalisation); Genest 1986, Stat Sci 1:114
(averaging logits: the logarithmic opinion pool).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.scorer.crops import PRESENCE
from models.scorer.heads import HEADS, MIMICS
from models.scorer.signs import UNITS
from models.scorer.trees import Trees, read_trees

QUESTIONS: Final = (
    "edema",
    "fracture",
    "unhealed",
    "pathological",
    *(f"mimic_{name}" for name in MIMICS),
)
"""Heads whose answers are weighed anew."""

SHARES_AT: Final = (0.2, 0.35, 0.5, 0.65, 0.8)
"""Probabilities of the edema map at which its area is read."""

MAP_COLUMNS: Final = ("map_mean", *(f"map_{level}" for level in SHARES_AT))

COLUMNS: Final = (
    *(f"head_{name}" for name in HEADS),
    *MAP_COLUMNS,
    *(f"has_{name}" for name in PRESENCE),
    *UNITS,
    "height_loss",
)
"""What the trees are asked about, in order."""


@dataclass(frozen=True, slots=True)
class Combination:
    """Trees for every question, for the three lines of the extent and for the height loss.

    Attributes:
        questions: Name of a head to what its logit is averaged with.
        extent: "low", "middle" and "high" to quantile regressions of the edematous part.
        intact_below: Logit of the network's own fracture answer under which a body is taken for
            intact when heights are compared, which happens before the trees are asked.
        columns: Places in `COLUMNS` of what the trees are asked about: a bundle made before a sign
            was measured does without it.
        height_loss: Regression of the height loss in percent; None where the measured one stands.
    """

    questions: Mapping[str, Trees]
    extent: Mapping[str, Trees]
    intact_below: float
    columns: NDArray[np.intp]
    height_loss: Trees | None = None

    def answers(
        self, heads: NDArray[np.float32], table: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The network's (level, len(HEADS)) output with weighed answers in their columns.

        They are half-way between the network's and the trees' logits: the trees were taught with
        bodies outlined without error, and those of a patient are not.
        """
        weighed, asked = heads.copy(), table[:, self.columns]
        for name, trees in self.questions.items():
            weighed[:, HEADS.index(name)] = (heads[:, HEADS.index(name)] + trees(asked)) / 2.0
        return weighed

    def extents(self, table: NDArray[np.float32]) -> NDArray[np.float64]:
        """(level, 3) low, middle and high line of the edematous part, not yet bounded."""
        asked = table[:, self.columns]
        return np.column_stack([trees(asked) for trees in self.extent.values()])

    def height_losses(self, table: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """(level,) height loss in percent; None without trees for it.

        What is measured is the largest of three losses, which for an intact body is that of the
        largest error; the network sees the shape and is off where the loss is large.
        """
        if self.height_loss is None:
            return None
        return np.clip(self.height_loss(table[:, self.columns]), 0.0, 100.0)


def combination_table(
    heads: NDArray[np.float32],
    map_shares: NDArray[np.float64],
    presence: NDArray[np.float32],
    signs: Mapping[str, NDArray[np.float64]],
) -> NDArray[np.float32]:
    """What the trees are asked about.

    Args:
        heads: (level, len(HEADS)) of the network.
        map_shares: (level, len(MAP_COLUMNS)), see `map_shares`; NaN where there is no map.
        presence: (level, len(PRESENCE)).
        signs: Names of `UNITS` and "height_loss" to (level,) values; absent where none was
            measured.

    Returns:
        (level, len(COLUMNS)), NaN where nothing was measured.
    """
    unknown = np.full(len(heads), np.nan)
    measured = [signs.get(name, unknown) for name in (*UNITS, "height_loss")]
    return np.column_stack([heads, map_shares, presence, *measured]).astype(np.float32)


def map_shares(probability: NDArray[np.float32]) -> NDArray[np.float64]:
    """(len(MAP_COLUMNS),) mean of a body's map and its shares at `SHARES_AT`; NaN of nothing."""
    if not probability.size:
        return np.full(len(MAP_COLUMNS), np.nan)
    shares = [float((probability >= level).mean()) for level in SHARES_AT]
    return np.array([float(probability.mean()), *shares])


def read_combination(stored: Mapping[str, Any] | None, lines: Sequence[str]) -> Combination | None:
    """The bundle's combination; None where it has none.

    Args:
        stored: JSON.
        lines: Of the extent, in order.

    Raises:
        KeyError, TypeError, ValueError: It is incomplete or asks for columns that there are not.
    """
    if stored is None:
        return None
    columns = np.array([COLUMNS.index(name) for name in stored["columns"]], np.intp)
    width = len(columns)
    return Combination(
        {name: read_trees(trees, width) for name, trees in _questions(stored).items()},
        {line: read_trees(stored["extent"][line], width) for line in lines},
        float(stored["intact_below"]),
        columns,
        read_trees(stored["height_loss"], width) if "height_loss" in stored else None,
    )


def _questions(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Trees by head; a bundle may leave questions to its network, not all of them."""
    asked: Mapping[str, Any] = stored["questions"]
    if not asked or not asked.keys() <= set(QUESTIONS):
        raise ValueError(f"a combination does not answer {sorted(asked)}")
    return asked
