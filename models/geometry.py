"""Patient-space geometry: affines, spacing, planes. Millimetres are LPS, matrices float64."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.errors import GeometryError

Affine = NDArray[np.float64]
"""(4, 4): index (slice, row, column) to LPS millimetres."""

PERPENDICULAR_TOLERANCE: Final = 1e-3
"""Largest |cos| between the two in-plane directions, and largest error of their length."""

PLANE_LIMIT_DEGREES: Final = 30.0
"""A stack belongs to a plane when its normal is within this angle of that plane's axis."""


class Plane(StrEnum):
    """The anatomical plane nearest to a stack's normal, or `oblique` when none is near."""

    SAGITTAL = "sagittal"
    CORONAL = "coronal"
    AXIAL = "axial"
    OBLIQUE = "oblique"


@dataclass(frozen=True, slots=True)
class Spacing:
    """Voxel pitch in mm, array order (slice, row, column)."""

    slice_mm: float
    row_mm: float
    column_mm: float

    @classmethod
    def from_pixel_spacing(cls, pixel_spacing: tuple[float, float], slice_mm: float) -> Spacing:
        """Read Pixel Spacing (0028,0030): distance between rows first (PS3.3 10.7.1.3)."""
        between_rows, between_columns = pixel_spacing
        return cls(slice_mm, between_rows, between_columns)

    @property
    def mm(self) -> tuple[float, float, float]:
        """(slice, row, column) pitch in mm."""
        return (self.slice_mm, self.row_mm, self.column_mm)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return self.slice_mm * self.row_mm * self.column_mm / 1000.0


def slice_normal(orientation: ArrayLike) -> NDArray[np.float64]:
    """Unit normal of a slice: along-a-row direction crossed with along-a-column direction.

    Args:
        orientation: (2, 3) unit vectors, along a row and along a column
            (Image Orientation (Patient), PS3.3 C.7.6.2.1.1).

    Returns:
        (3,) float64 unit vector, LPS.

    Raises:
        GeometryError: The two vectors are not finite perpendicular unit vectors.
    """
    vectors = np.asarray(orientation, dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.all(np.isfinite(vectors)) or np.any(
        abs(lengths - 1.0) > 10 * PERPENDICULAR_TOLERANCE
    ):
        raise GeometryError("orientation vectors are not unit vectors")
    along_row, along_column = vectors / lengths[:, None]
    if abs(float(along_row @ along_column)) > PERPENDICULAR_TOLERANCE:
        raise GeometryError("orientation vectors are not perpendicular")
    normal = np.cross(along_row, along_column)
    return np.asarray(normal / np.linalg.norm(normal))


def affine_lps(
    spacing: Spacing,
    orientation: ArrayLike,
    origin: ArrayLike,
    slice_step: ArrayLike | None = None,
) -> Affine:
    """Map (slice, row, column) indices to LPS millimetres.

    Args:
        spacing: Voxel pitch.
        orientation: (2, 3) unit vectors along a row and along a column.
        origin: (3,) centre of voxel (0, 0, 0).
        slice_step: (3,) displacement from one slice to the next; by default the normal times
            the slice pitch. A sheared (tilted) stack gives its own.

    Returns:
        (4, 4) float64 matrix.

    Raises:
        GeometryError: The two vectors are not perpendicular unit vectors, or a pitch is not
            positive.

    Source: PS3.3 C.7.6.2.1.1, equation for the image plane.
    """
    if not all(np.isfinite(mm) and mm > 0 for mm in spacing.mm):
        raise GeometryError("voxel pitch is not positive")
    normal = slice_normal(orientation)
    vectors = np.asarray(orientation, dtype=np.float64).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, 0] = normal * spacing.slice_mm if slice_step is None else np.asarray(slice_step)
    # Going down a column one row further moves along the column direction by the row pitch.
    affine[:3, 1] = vectors[1] * spacing.row_mm
    affine[:3, 2] = vectors[0] * spacing.column_mm
    affine[:3, 3] = np.asarray(origin, dtype=np.float64)
    return affine


def spacing_of(affine: Affine) -> Spacing:
    """Voxel pitch of an affine; the slice pitch is measured along the slice step."""
    pitch = np.linalg.norm(affine[:3, :3], axis=0)
    return Spacing(float(pitch[0]), float(pitch[1]), float(pitch[2]))


def plane_of(normal: ArrayLike) -> Plane:
    """Name the plane of a stack by its unit normal (LPS)."""
    cosines = np.abs(np.asarray(normal, dtype=np.float64))
    axis = int(np.argmax(cosines))
    # Direction cosines come as decimal strings, so a stack set to exactly 30 degrees may miss it.
    if cosines[axis] < np.cos(np.radians(PLANE_LIMIT_DEGREES)) - 1e-6:
        return Plane.OBLIQUE
    return (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)[axis]


def to_lps(affine: Affine, indices: ArrayLike) -> NDArray[np.float64]:
    """Map (…, 3) indices (slice, row, column) to (…, 3) LPS mm."""
    points = np.asarray(indices, dtype=np.float64)
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])


def to_index(affine: Affine, points_lps_mm: ArrayLike) -> NDArray[np.float64]:
    """Map (…, 3) LPS mm to (…, 3) fractional indices (slice, row, column)."""
    inverse: Affine = np.asarray(np.linalg.inv(affine), dtype=np.float64)
    return to_lps(inverse, points_lps_mm)


def sagittal_order(affine: Affine) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """How to permute and flip an array so that it reads as a sagittal stack is looked at.

    After it, slices run to the patient's left (+x), rows downwards (-z), columns to the back (+y):
    the order in which the networks see every volume, whatever way it was stored.

    Args:
        affine: Index to LPS mm.

    Returns:
        (axes, flips): `np.transpose(array, axes)` then flip the axes whose flag is set.

    Raises:
        GeometryError: The affine is singular, or two array axes share a patient axis.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    nearest = np.argmax(np.abs(directions), axis=0)
    wanted = (0, 2, 1)
    signs = (1.0, -1.0, 1.0)
    if len(set(nearest.tolist())) != 3:
        raise GeometryError("array axes do not follow three patient axes")
    axes = tuple(int(np.flatnonzero(nearest == patient_axis)[0]) for patient_axis in wanted)
    flips = tuple(
        bool(directions[patient_axis, axis] * sign < 0)
        for patient_axis, axis, sign in zip(wanted, axes, signs, strict=True)
    )
    return (axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2])
