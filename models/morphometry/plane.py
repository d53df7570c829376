"""The mid-sagittal plane of one body, and pictures of a structure in it.

The plane may be turned and tilted against the slices. A picture has the pixels of the slices: each
is the mean of the voxels across the plane, so no pixel is interpolated in the slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.morphometry.maps import SpineMaps

STEP_MM: Final = 0.5
"""Step along a ray; edges are interpolated in between."""

SLAB_MM: Final = 9.0
"""Thickness of the mid-sagittal slab, as where the localiser reads heights."""

REACH_MM: Final = 40.0
"""No edge of a body is further from its middle."""

_DISTANCES: Final = np.arange(0.0, REACH_MM + STEP_MM, STEP_MM)

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MidPlane:
    """A body's own mid-sagittal plane; places in it are (back, head) in mm.

    Attributes:
        origin_lps_mm: (3,) place (0, 0): the body's centroid brought onto the plane.
        axes_lps: (3, 3) rows: LPS unit vectors to the left (the plane's normal), to the back and
            to the head, at right angles.
    """

    origin_lps_mm: Array
    axes_lps: Array

    @property
    def left(self) -> Array:
        """(3,) LPS unit vector, the plane's normal."""
        return np.asarray(self.axes_lps[0])

    @property
    def back(self) -> Array:
        """(3,) LPS unit vector."""
        return np.asarray(self.axes_lps[1])

    @property
    def head(self) -> Array:
        """(3,) LPS unit vector."""
        return np.asarray(self.axes_lps[2])

    def to_lps(self, places: Array) -> Array:
        """Map (..., 2) places to (..., 3) LPS mm."""
        return np.asarray(self.origin_lps_mm + places @ self.axes_lps[1:])

    def to_places(self, points_lps_mm: Array) -> Array:
        """Map (..., 3) LPS mm to the (..., 2) nearest places of the plane."""
        return np.asarray((points_lps_mm - self.origin_lps_mm) @ self.axes_lps[1:].T)


@dataclass(frozen=True, slots=True)
class Picture:
    """How much of a structure is at each place of the plane.

    Attributes:
        image: (rows, columns) float32 in [0, 1], framed by zeros.
        start: (2,) pixel (row, column) of place (0, 0).
        step: (2, 2) pixels per mm; row 0 for one mm to the back, row 1 for one to the head.
    """

    image: NDArray[np.float32]
    start: Array
    step: Array

    def sample(self, places: Array) -> Array:
        """Bilinear values at (..., 2) places; zero outside."""
        pixels = self.start + places @ self.step
        rows, columns = self.image.shape
        down = np.clip(pixels[..., 0], 0.0, rows - 1.001)
        right = np.clip(pixels[..., 1], 0.0, columns - 1.001)
        row, column = down.astype(np.intp), right.astype(np.intp)
        down -= row
        right -= column
        flat = self.image.ravel()
        first = row * columns + column
        upper = flat[first] * (1.0 - right) + flat[first + 1] * right
        first += columns
        lower = flat[first] * (1.0 - right) + flat[first + 1] * right
        return np.asarray(upper + down * (lower - upper))

    def outer_edge(self, places: Array, towards: Array) -> Array:
        """Distance from places to the outermost edge (one half) along directions.

        The outermost, so that a vein or a Schmorl node inside does not end the body.

        Args:
            places: (n, 2), or (2,) for one that all lines share.
            towards: (n, 2) unit vectors, or (2,) for one that all lines share.

        Returns:
            (n,) mm; NaN where a line meets nothing in `REACH_MM`.
        """
        values = self.sample(
            np.atleast_2d(places)[:, None] + _DISTANCES[:, None] * np.atleast_2d(towards)[:, None]
        )
        values[:, -1] = 0.0
        inside = values >= 0.5
        last = len(_DISTANCES) - 1 - np.argmax(inside[:, ::-1], axis=1)
        last = np.minimum(last, len(_DISTANCES) - 2)
        each = np.arange(len(values))
        here, beyond = values[each, last], values[each, last + 1]
        edge = STEP_MM * (last + (here - 0.5) / np.maximum(here - beyond, 1e-6))
        return np.where(inside[each, last], edge, np.nan)


def picture_of(
    maps: SpineMaps,
    source: NDArray[np.uint8],
    value: int,
    plane: MidPlane,
    window: tuple[tuple[float, float], tuple[float, float]],
) -> Picture | None:
    """Draw one value of a map in a plane.

    Args:
        maps: Whose grid it is.
        source: `maps.labels` or `maps.structures`.
        value: The value to draw.
        plane: Where.
        window: ((back from, to), (head from, to)) in mm, what has to be seen at least.

    Returns:
        The picture; None where the window lies outside the volume.
    """
    corners = plane.to_lps(np.array([[b, h] for b in window[0] for h in window[1]]))
    pixels = corners @ maps.inverse[1:3, :3].T + maps.inverse[1:3, 3]
    low = np.maximum(np.floor(pixels.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + 2, source.shape[1:])
    if np.any(high - low < 2):
        return None
    image = _slab(maps, source[:, low[0] : high[0], low[1] : high[1]], value, plane, low)
    if image is None:
        return None
    origin = plane.origin_lps_mm @ maps.inverse[1:3, :3].T + maps.inverse[1:3, 3]
    step = plane.axes_lps[1:] @ maps.inverse[1:3, :3].T
    # The frame of zeros moves every pixel by one.
    return Picture(np.pad(image, 1), origin - low + 1.0, np.asarray(step))


def _slab(
    maps: SpineMaps, part: NDArray[np.uint8], value: int, plane: MidPlane, low: NDArray[np.int_]
) -> NDArray[np.float32] | None:
    """Mean over the slab across the plane, each slice by the part of it that lies inside."""
    rate = plane.left @ maps.affine[:3, :3]
    rows = low[0] + np.arange(part.shape[1])
    columns = low[1] + np.arange(part.shape[2])
    away = float(plane.left @ (maps.affine[:3, 3] - plane.origin_lps_mm))
    middle = -(away + rate[1] * rows[:, None] + rate[2] * columns) / rate[0]
    half = SLAB_MM / 2 * abs(float(np.linalg.norm(maps.inverse[0, :3])))
    first = max(0, int(np.floor(middle.min() - half)))
    last = min(len(part), int(np.ceil(middle.max() + half)) + 1)
    if last <= first:
        return None
    total = np.zeros(middle.shape, np.float32)
    weights = np.zeros(middle.shape, np.float32)
    middle = middle.astype(np.float32)
    for k in range(first, last):
        inside = np.minimum(k + 0.5, middle + half) - np.maximum(k - 0.5, middle - half)
        weight = np.maximum(inside, 0.0)
        total += weight * (part[k] == value)
        weights += weight
    return np.asarray(total / np.maximum(weights, 1e-6), np.float32)
