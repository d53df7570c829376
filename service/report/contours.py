"""Outlines of masks as closed lines: marching squares, for screens and for print."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Contour = NDArray[np.float64]
"""(n, 2) points (row, column) of a closed line, first point not repeated; voxel centres are whole
numbers."""

Edge = tuple[str, int, int]

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
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        return []
    top, left = int(rows.min()), int(columns.min())
    part = mask[top : rows.max() + 1, left : columns.max() + 1]
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
    following: dict[Edge, Edge] = {}
    for row, column in np.argwhere((cases > 0) & (cases < 15)).tolist():
        for start, end in SEGMENTS[int(cases[row, column])]:
            following[_edge(start, row, column)] = _edge(end, row, column)
    lines = []
    while following:
        edge = next(iter(following))
        line = []
        while edge in following:
            line.append(_crossing(field, edge))
            edge = following.pop(edge)
        lines.append(np.array(line, dtype=np.float64))
    return lines


def _edge(side: str, row: int, column: int) -> Edge:
    """Name a cell's side so that its neighbour gives it the same name."""
    if side in ("top", "bottom"):
        return ("across", row + (side == "bottom"), column)
    return ("down", row, column + (side == "right"))


def _crossing(field: NDArray[np.float64], edge: Edge) -> tuple[float, float]:
    direction, row, column = edge
    step = (0, 1) if direction == "across" else (1, 0)
    near, far = field[row, column], field[row + step[0], column + step[1]]
    part = float((0.5 - near) / (far - near))
    return row + part * step[0], column + part * step[1]
