"""Boosted regression trees, read from plain arrays: serving needs no learning library."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

NODE: Final = np.dtype(
    [("column", "<i2"), ("left", "<i2"), ("right", "<i2"), ("threshold", "<f4"), ("value", "<f4")]
)
"""A node: which column it asks, where to go, and what it says; a leaf has column -1."""

LEAF: Final = -1

MISSING: Final = np.float32(-1e4)
"""What a value that was not measured counts as: below all that can be measured."""


@dataclass(frozen=True, slots=True)
class Trees:
    """A sum of trees over rows of a table.

    Attributes:
        base: What every row starts from.
        nodes: (tree, node) `NODE`, the root first; shorter trees are filled up with leaves.
    """

    base: float
    nodes: NDArray[np.void]

    def __call__(self, table: NDArray[np.float32]) -> NDArray[np.float64]:
        """(row,) sums for (row, column) values; NaN is a value that was not measured."""
        known = np.where(np.isfinite(table), table, MISSING)
        count = len(self.nodes)
        rows = np.arange(len(table))[:, None]
        trees = np.broadcast_to(np.arange(count), (len(table), count))
        place = np.zeros((len(table), count), np.intp)
        while (asked := self.nodes["column"][trees, place] != LEAF).any():
            node = self.nodes[trees, place]
            below = known[rows, node["column"]] <= node["threshold"]
            place = np.where(asked, np.where(below, node["left"], node["right"]), place)
        return np.asarray(
            self.base + self.nodes["value"][trees, place].sum(axis=1, dtype=np.float64)
        )

    def stored(self) -> dict[str, Any]:
        """As JSON: the nodes as base64 of their bytes."""
        packed = base64.b64encode(self.nodes.tobytes()).decode()
        return {"base": self.base, "trees": len(self.nodes), "nodes": packed}


def read_trees(stored: Mapping[str, Any], columns: int) -> Trees:
    """The reverse of `Trees.stored`.

    Args:
        stored: JSON.
        columns: Of the tables that the trees will be asked about.

    Raises:
        KeyError, TypeError, ValueError: It is no set of trees over so many columns.
    """
    count = int(stored["trees"])
    try:
        flat = np.frombuffer(base64.b64decode(stored["nodes"], validate=True), NODE)
    except binascii.Error as error:
        raise ValueError("the nodes are not base64") from error
    if count < 1 or not len(flat) or len(flat) % count:
        raise ValueError("the nodes are not so many trees")
    nodes = flat.reshape(count, -1)
    inner = nodes["column"] != LEAF
    numbers = np.arange(nodes.shape[1])
    # Every step leads onwards, so that no walk goes in circles or out of its tree.
    for side in ("left", "right"):
        onwards = (nodes[side] > numbers) & (nodes[side] < nodes.shape[1])
        if not onwards[inner].all():
            raise ValueError("a node leads nowhere")
    if not ((nodes["column"] >= LEAF) & (nodes["column"] < columns)).all():
        raise ValueError("a node asks for a column that there is not")
    if not (np.isfinite(nodes["value"]).all() and np.isfinite(nodes["threshold"]).all()):
        raise ValueError("a node holds no number")
    return Trees(float(stored["base"]), nodes)
