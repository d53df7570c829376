"""Measure a vertebral body: centroid, own axes, heights, depth, width, volume.

Edges are taken where the network's probability crosses one half, between pixels, so a height does
not jump by whole pixels. Heights are read on a mid-sagittal slab at 10, 50 and 90 % of the
antero-posterior extent; a truth mask measured by the same function is comparable to a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.findings import BodySize
from models.geometry import Affine, to_lps

FAINT: Final = 0.05
"""Probability from which on a voxel counts for a body's centre, by how much more it has."""

SLAB_MM: Final = 9.0
"""Thickness of the mid-sagittal part on which heights and depth are read."""

HEIGHT_PLACES: Final = (0.1, 0.5, 0.9)
"""Where the anterior, middle and posterior heights are read, as parts of the AP extent."""

ENDPLATE_PLACES: Final = np.linspace(0.15, 0.85, 15)
"""Where the endplates are sampled to find the body's own axes."""

LEAN_DEGREES: Final = 50.0
"""A body's axis is at most this far from the direction of the chain (S1 leans most)."""

TURN_LIMIT_DEGREES: Final = 15.0
"""The endplates turn the axis at most this far from that of the tightest rectangle."""

_STEP_MM: Final = 0.25
_REACH_MM: Final = 45.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A body's place, axes and size.

    Attributes:
        centroid_lps_mm: (3,).
        axes_lps: (3, 3) rows: unit vectors to the left, to the back, to the head.
        size: None when the mid-sagittal part is too thin to measure.
    """

    centroid_lps_mm: NDArray[np.float64]
    axes_lps: NDArray[np.float64]
    size: BodySize | None


def chain_directions(centres_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors along the chain towards the head, at every body.

    Args:
        centres_lps_mm: (n, 3), cranial to caudal.

    Returns:
        (n, 3); straight up for a lone body.
    """
    if len(centres_lps_mm) < 2:
        return np.tile([0.0, 0.0, 1.0], (len(centres_lps_mm), 1))
    # At the ends the curvature goes on: S1 leans further back than the step from L5 to it.
    order: Literal[1, 2] = 2 if len(centres_lps_mm) > 2 else 1
    towards_head = -np.gradient(centres_lps_mm, axis=0, edge_order=order)
    length = np.linalg.norm(towards_head, axis=1, keepdims=True)
    return np.asarray(towards_head / np.maximum(length, 1e-9))


def measure(
    occupancy: NDArray[np.float32],
    affine: Affine,
    chain_direction: NDArray[np.float64],
) -> Measured:
    """Measure one body.

    Args:
        occupancy: (slices, rows, columns) probability of this body alone (a mask works too), in
            sagittal order, with a margin around the body.
        affine: Index of that array to LPS mm.
        chain_direction: (3,) LPS unit vector towards the head.

    Returns:
        Its place, axes and size.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    unit = affine[:3, :3] / spacing
    mask = occupancy > 0.5
    # Slices are thick: one that comes or goes at one half would move the centre by a millimetre.
    # In the plane the rim adds nothing, and at the edge of the image it lies on one side alone.
    weights = np.clip(occupancy - FAINT, 0.0, None) * mask.any(axis=0)
    centre = _mean_place(weights)
    head = np.linalg.solve(unit, chain_direction)
    plane = _Plane.of(_slab(occupancy, float(centre[0]), float(spacing[0])), spacing[1:])
    chain_up = _unit(head[1:]) if np.linalg.norm(head[1:]) > 1e-6 else np.array([-1.0, 0.0])
    start = _tightest(plane, chain_up)
    fitted = _fit_frame(plane, centre[1:] * spacing[1:], start)
    up = start if fitted is None else fitted.up
    back = _to_the_back(up)
    lps_head = _unit(unit @ np.array([head[0], *(up * np.linalg.norm(head[1:]))]))
    lps_back = unit @ np.array([0.0, *back])
    lps_back = _unit(lps_back - (lps_back @ lps_head) * lps_head)
    size = None
    if fitted is not None:
        heights = fitted.heights_at(plane, HEIGHT_PLACES)
        if np.isfinite(heights).all():
            size = BodySize(
                volume_ml=float(mask.sum() * np.prod(spacing) / 1000.0),
                depth_mm=fitted.depth,
                width_mm=_width(occupancy, centre, spacing, fitted.depth),
                height_anterior_mm=float(heights[0]),
                height_middle_mm=float(heights[1]),
                height_posterior_mm=float(heights[2]),
            )
    return Measured(
        centroid_lps_mm=to_lps(affine, centre),
        axes_lps=np.stack([np.cross(lps_back, lps_head), lps_back, lps_head]),
        size=size,
    )


def _mean_place(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """(3,) mean index of a block by weight."""
    places = np.argwhere(weights > 0.0)
    weight = weights[weights > 0.0].astype(np.float64)
    return np.asarray(weight @ places / weight.sum())


@dataclass(frozen=True, slots=True)
class _Plane:
    """The mid-sagittal picture.

    Attributes:
        padded: (rows + 2, columns + 2), the picture in a frame of zeros.
        pitch: (2,) of its pixels, mm.
        distances: (m,) at which a line is sampled, mm; nothing lies further away.
    """

    padded: NDArray[np.float64]
    pitch: NDArray[np.float64]
    distances: NDArray[np.float64]

    @classmethod
    def of(cls, image: NDArray[np.float32], pitch: NDArray[np.float64]) -> _Plane:
        """Frame a picture (rows, columns) with pixels of `pitch` mm."""
        padded = np.pad(image.astype(np.float64), 1)
        across = float(np.linalg.norm(np.array(padded.shape) * pitch)) + 2 * _STEP_MM
        return cls(padded, pitch, np.arange(0.0, min(_REACH_MM, across), _STEP_MM))

    @property
    def inside(self) -> NDArray[np.float64]:
        """(n, 2) row and column, mm, of the pixels inside the body."""
        return np.asarray(np.argwhere(self.padded[1:-1, 1:-1] > 0.5) * self.pitch)

    def reach(
        self, origins: NDArray[np.float64], towards: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Distance in mm from origins to the outermost crossing of one half along a direction.

        The outermost, so that a vein or a Schmorl node inside does not end the body.

        Args:
            origins: (n, 2) row and column in mm, or (2,) for one that all lines share.
            towards: (n, 2) unit vectors, or (2,) for one that all lines share.

        Returns:
            (n,); NaN where the line never is inside.
        """
        distance = self.distances
        origins, towards = np.broadcast_arrays(np.atleast_2d(origins), np.atleast_2d(towards))
        values = self._sample(
            *(origins[:, i, None] + distance * towards[:, i, None] for i in (0, 1))
        )
        inside = values[:, :-1] >= 0.5
        last = inside.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
        each = np.arange(len(origins))
        here, beyond = values[each, last], values[each, last + 1]
        crossing = distance[last] + _STEP_MM * (here - 0.5) / np.maximum(here - beyond, 1e-6)
        return np.where(inside.any(axis=1), crossing, np.nan)

    def _sample(
        self, rows_mm: NDArray[np.float64], columns_mm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Bilinear values at points given in mm; zero outside."""
        height, width = self.padded.shape
        down = np.clip(rows_mm / self.pitch[0] + 1.0, 0.0, height - 1.001)
        right = np.clip(columns_mm / self.pitch[1] + 1.0, 0.0, width - 1.001)
        row, column = down.astype(np.intp), right.astype(np.intp)
        down -= row
        right -= column
        first = row * width + column
        flat = self.padded.ravel()
        upper_left, lower_left = flat[first], flat[first + width]
        upper = upper_left + right * (flat[first + 1] - upper_left)
        lower = lower_left + right * (flat[first + width + 1] - lower_left)
        return np.asarray(upper + down * (lower - upper))


@dataclass(frozen=True, slots=True)
class _Frame:
    """The body's frame in the mid-sagittal plane, mm.

    Attributes:
        middle: (2,) point half-way between front and back wall, row and column.
        up: (2,) unit vector to the head.
        depth: From front to back wall at mid height.
    """

    middle: NDArray[np.float64]
    up: NDArray[np.float64]
    depth: float

    def at(self, places: ArrayLike) -> NDArray[np.float64]:
        """(n, 2) points at mid height; place 0 is the front wall, 1 the back wall."""
        along = (np.asarray(places, dtype=np.float64) - 0.5) * self.depth
        return np.asarray(self.middle + along[:, None] * _to_the_back(self.up))

    def heights_at(self, plane: _Plane, places: ArrayLike) -> NDArray[np.float64]:
        """(n,) heights at parts of the antero-posterior extent; NaN where there is no body."""
        above, below = self.reach_both(plane, places)
        return np.asarray(above + below)

    def reach_both(self, plane: _Plane, places: ArrayLike) -> NDArray[np.float64]:
        """(2, n) distances from mid height to the upper and the lower endplate."""
        origins = self.at(places)
        ways = np.repeat([self.up, -self.up], len(origins), axis=0)
        return np.asarray(plane.reach(np.tile(origins, (2, 1)), ways).reshape(2, -1))


def _fit_frame(
    plane: _Plane, centre: NDArray[np.float64], start: NDArray[np.float64]
) -> _Frame | None:
    """Turn the frame until it halves the angle between the two endplates."""
    up = start
    frame: _Frame | None = None
    for _ in range(3):
        frame = _walls(plane, centre, up)
        if frame is None:
            return None
        turn = _endplate_angle(plane, frame)
        turned = _turned(up, turn)
        if turned @ start < np.cos(np.radians(TURN_LIMIT_DEGREES)):
            return frame
        up = turned
    return _walls(plane, centre, up)


def _tightest(plane: _Plane, chain_up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upward direction of the smallest rectangle around the body, not far from the chain's."""
    points = plane.inside
    if len(points) < 10:
        return chain_up
    angles = np.radians(np.arange(-LEAN_DEGREES, LEAN_DEGREES + 1, 5.0))
    ups = np.array([_turned(chain_up, angle) for angle in angles])
    backs = np.array([_to_the_back(up) for up in ups])
    areas = np.ptp(points @ ups.T, axis=0) * np.ptp(points @ backs.T, axis=0)
    # Between nearly equal rectangles the one along the chain is right.
    preferred = areas * (1.0 + 0.12 * (angles / np.radians(LEAN_DEGREES)) ** 2)
    return np.asarray(ups[int(np.argmin(preferred))])


def _walls(plane: _Plane, centre: NDArray[np.float64], up: NDArray[np.float64]) -> _Frame | None:
    """Front and back wall at mid height, and the point half-way between."""
    back = _to_the_back(up)
    middle, depth = centre, 0.0
    for _ in range(2):
        behind, before, above, below = plane.reach(middle, np.array([back, -back, up, -up]))
        middle = middle + (behind - before) / 2 * back + (above - below) / 2 * up
        depth = float(behind + before)
        if not np.isfinite(middle).all():
            return None
    return _Frame(middle, up, depth) if depth > 5.0 else None


def _endplate_angle(plane: _Plane, frame: _Frame) -> float:
    """Mean slope of the endplates, radians; positive when they rise towards the back."""
    slopes = []
    for side, distances in zip((1.0, -1.0), frame.reach_both(plane, ENDPLATE_PLACES), strict=True):
        known = np.isfinite(distances)
        if known.sum() < 5:
            return 0.0
        across = ENDPLATE_PLACES[known] * frame.depth
        across -= across.mean()
        # The slope of the line fitted by least squares.
        slopes.append(side * float(across @ distances[known]) / float(across @ across))
    return float(np.mean(np.arctan(slopes)))


def _turned(up: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Turn `up` so that endplates rising by `angle` towards the back become level."""
    return np.asarray(np.cos(angle) * up - np.sin(angle) * _to_the_back(up))


def _to_the_back(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows run to the feet and columns to the back: turn (row, column) `up` by a right angle."""
    return np.array([up[1], -up[0]])


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / np.linalg.norm(vector))


def _slab(
    occupancy: NDArray[np.float32], centre_slice: float, slice_mm: float
) -> NDArray[np.float32]:
    """Mean of the slices inside the mid-sagittal slab, each by the part of it that lies inside."""
    from_centre = (np.arange(len(occupancy)) - centre_slice) * slice_mm
    half, reach = slice_mm / 2, SLAB_MM / 2
    inside = np.minimum(from_centre + half, reach) - np.maximum(from_centre - half, -reach)
    weight = np.clip(inside, 0.0, None)
    return np.asarray(np.tensordot(weight / weight.sum(), occupancy, axes=1), np.float32)


def _width(
    occupancy: NDArray[np.float32],
    centre: NDArray[np.float64],
    spacing: NDArray[np.float64],
    depth_mm: float,
) -> float:
    """Left-right extent at mid height, from the core of the body in every slice."""
    rows, columns = (np.arange(n) for n in occupancy.shape[1:])
    near_row = np.abs(rows - centre[1]) * spacing[1] <= 3.0
    near_column = np.abs(columns - centre[2]) * spacing[2] <= 0.2 * depth_mm
    core = occupancy[:, near_row][:, :, near_column]
    profile = np.concatenate(([0.0], core.mean(axis=(1, 2)), [0.0]))
    inside = np.flatnonzero(profile >= 0.5)
    if not len(inside):
        return 0.0
    first, last = int(inside[0]), int(inside[-1])
    left = first - (profile[first] - 0.5) / max(profile[first] - profile[first - 1], 1e-6)
    right = last + (profile[last] - 0.5) / max(profile[last] - profile[last + 1], 1e-6)
    return float((right - left) * spacing[0])
