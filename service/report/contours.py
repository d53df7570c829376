"""Outlines of masks as closed lines: marching squares, for screens and for print."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Contour = NDArray[np.float64]
"""(n, 2) points (row, column) of a closed line, first point not repeated; voxel centres are whole
numbers."""

SEGMENTS: Final[dict[int, tuple[tuple[str, str], ...]]] = {
    1: (("left", "top"),),
    2: (("top", "right"),),
    3: (("left", "right"),),
    4: (("right", "bottom"),),
    5: (("left", "top"), ("right", "bottom")),
    6: (("top", "bottom"),),
    7: (("left", "bottom"),),
    8: (("bottom", "left"),),
    9: (("bottom", "top"),),
    10: (("top", "right"), ("bottom", "left")),
    11: (("bottom", "right"),),
    12: (("right", "left"),),
    13: (("right", "top"),),
    14: (("top", "left"),),
}
"""Case of a cell (corners inside: top left 1, top right 2, bottom right 4, bottom left 8) to the
lines through it, directed so that the inside always lies on the same hand."""

MARGIN: Final = 2
"""Empty rows and columns laid around a mask, so that every line closes and smoothing fits."""


def trace(mask: NDArray[Any]) -> list[Contour]:
    """Outline a mask.

    Args:
        mask: (rows, columns) bool.

    Returns:
        Closed lines, longest first; empty for an empty mask. Steps of single pixels are smoothed
        away; a mask too thin for that is outlined as it is.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return []
    top, left = int(rows[0]), int(columns[0])
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    padded = np.pad(part.astype(np.float64), MARGIN)
    lines = _lines(_smoothed(padded)) or _lines(padded)
    offset = np.array([top - MARGIN, left - MARGIN], dtype=np.float64)
    return sorted((line + offset for line in lines), key=len, reverse=True)


def _smoothed(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weigh with (1, 2, 1) / 4 along both axes; straight edges stay where they are."""
    for axis in (0, 1):
        before, after = np.roll(field, 1, axis), np.roll(field, -1, axis)
        field = (before + 2 * field + after) / 4
    return field


def _lines(field: NDArray[np.float64]) -> list[Contour]:
    inside = field > 0.5
    cases = inside[:-1, :-1] * 1 + inside[:-1, 1:] * 2 + inside[1:, 1:] * 4 + inside[1:, :-1] * 8
    columns = field.shape[1]
    sides = _sides(columns)
    cells = np.flatnonzero((cases > 0) & (cases < 15))
    following: dict[int, int] = {}
    for cell, case in zip(cells.tolist(), cases.ravel()[cells].tolist(), strict=True):
        # A row has one corner more than cells, hence one number more.
        edge = 2 * (cell + cell // (columns - 1))
        for start, end in SEGMENTS[case]:
            following[edge + sides[start]] = edge + sides[end]
    lines = []
    while following:
        edge = next(iter(following))
        line = []
        while edge in following:
            line.append(edge)
            edge = following.pop(edge)
        lines.append(_crossings(field, np.array(line)))
    return lines


def _sides(columns: int) -> dict[str, int]:
    """Number a cell's sides, from twice its first corner's place, as its neighbours do.

    An even number is the edge from a corner to the one on its right, an odd one downwards.
    """
    return {"top": 0, "left": 1, "right": 3, "bottom": 2 * columns}


def _crossings(field: NDArray[np.float64], edges: NDArray[np.intp]) -> Contour:
    """Give the points (row, column) where the outline crosses these edges."""
    columns = field.shape[1]
    near, down = edges // 2, edges % 2
    far = near + np.where(down, columns, 1)
    values = field.ravel()
    part = (0.5 - values[near]) / (values[far] - values[near])
    return np.stack([near // columns + part * down, near % columns + part * (1 - down)], axis=1)
