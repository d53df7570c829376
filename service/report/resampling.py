"""Slices as 8-bit pictures, cut and enlarged in their own plane."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROUNDING: Final = 1e-6
"""Pixels this little beyond the slice's edge count as on it."""


def to_grey(plane: NDArray[np.float32], window: tuple[float, float]) -> Image.Image:
    """Show the signal between the window's ends as 0 to 255.

    Args:
        plane: (rows, columns) signal.
        window: (low, high) signal that turns black and white.
    """
    low, high = window
    scaled = (plane - np.float32(low)) * np.float32(255 / max(high - low, 1e-6))
    return Image.fromarray((np.clip(scaled, 0, 255) + np.float32(0.5)).astype(np.uint8))


def resample(
    plane: Image.Image,
    corner: tuple[float, float],
    px_per_index: tuple[float, float],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """Cut a rectangle out of a slice and bring it to a size, bicubic; black outside the slice.

    Args:
        plane: Mode "L".
        corner: (row, column) of the rectangle's top left corner, in steps from the slice's.
        px_per_index: Pixels per (row, column) step.
        size: (width, height) in pixels.

    Returns:
        (height, width) uint8.
    """
    width, height = size
    left, right, first_column, last_column = _span(corner[1], px_per_index[1], width, plane.width)
    top, bottom, first_row, last_row = _span(corner[0], px_per_index[0], height, plane.height)
    cut = np.zeros((height, width), dtype=np.uint8)
    if left < right and top < bottom:
        # Resized along one axis after the other, which costs a fifth of an affine transform.
        box = (first_column, first_row, last_column, last_row)
        inside = plane.resize((right - left, bottom - top), Image.Resampling.BICUBIC, box)
        cut[top:bottom, left:right] = np.asarray(inside)
    return cut


def _span(corner: float, scale: float, pixels: int, extent: int) -> tuple[int, int, float, float]:
    """Give the pixels [first, last) that lie on the slice and the part of it that they show."""
    first = max(0, math.ceil(-corner * scale - ROUNDING))
    last = min(pixels, math.floor((extent - corner) * scale + ROUNDING))
    return first, last, max(corner + first / scale, 0.0), min(corner + last / scale, float(extent))
