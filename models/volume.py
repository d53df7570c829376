"""A volume: an array with its place in the patient and the series it came from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import GeometryError
from models.geometry import Affine, Spacing, sagittal_order, spacing_of


class Role(StrEnum):
    """What a series is, by physics. The values are public (`series[].role` of the report)."""

    STIR = "stir"
    T2_FS = "t2_fs"
    DIXON_WATER = "dixon_water"
    DIXON_FAT = "dixon_fat"
    T1 = "t1"
    T2 = "t2"
    T1_POST = "t1_post"
    T1_FS = "t1_fs"
    FLAIR = "flair"
    PD = "pd"
    LOCALIZER = "localizer"
    OTHER = "other"


FLUID_SENSITIVE: Final = (Role.STIR, Role.T2_FS, Role.DIXON_WATER)
"""Roles in which marrow edema is bright on dark marrow, best first."""


@dataclass(frozen=True, slots=True)
class Volume:
    """One stack as an array in patient space.

    Attributes:
        array: (slice, row, column) float32, read-only; signal in the series' own rescaled units.
        affine: Index to LPS mm.
        role: What the series is.
        series_instance_uid: The series it came from.
        frame_of_reference_uid: Volumes with the same one share the patient's position; "" if
            the series gives none.
        sop_instance_uids: Per slice, the instance it came from ("" for a slice that was
            interpolated under a repair policy).
        frame_numbers: Per slice, the frame inside that instance, counted from 1 (1 for classic
            single-frame instances; 0 for an interpolated slice).
        limits: Codes that bound what may be concluded, for example
            "gradient_echo_water_image"; they travel into `limited_by` of the findings.
    """

    array: NDArray[np.float32]
    affine: Affine
    role: Role
    series_instance_uid: str = ""
    frame_of_reference_uid: str = ""
    sop_instance_uids: tuple[str, ...] = ()
    frame_numbers: tuple[int, ...] = ()
    limits: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise GeometryError("a volume has three axes")
        self.array.setflags(write=False)
        self.affine.setflags(write=False)

    @property
    def spacing(self) -> Spacing:
        """Voxel pitch in mm, (slice, row, column)."""
        return spacing_of(self.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return self.array.shape[0], self.array.shape[1], self.array.shape[2]


def reorder(
    array: NDArray[Any], axes: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> NDArray[Any]:
    """Apply the result of `sagittal_order` to an array of the same grid."""
    turned = np.transpose(array, axes)
    return np.flip(turned, tuple(axis for axis, flip in enumerate(flips) if flip))


def restore(
    array: NDArray[Any], axes: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> NDArray[Any]:
    """Undo `reorder`: bring an array made in sagittal order back to the stored order."""
    turned = np.flip(array, tuple(axis for axis, flip in enumerate(flips) if flip))
    return np.transpose(turned, np.argsort(axes))


def in_sagittal_order(volume: Volume) -> Volume:
    """The same volume with slices to the left, rows downwards and columns to the back.

    Raises:
        GeometryError: The volume's axes do not follow three patient axes.
    """
    axes, flips = sagittal_order(volume.affine)
    shape = np.array(volume.shape)
    start = np.zeros(3)
    steps = np.zeros((3, 3))
    for new_axis, (old_axis, flip) in enumerate(zip(axes, flips, strict=True)):
        steps[old_axis, new_axis] = -1.0 if flip else 1.0
        if flip:
            start[old_axis] = shape[old_axis] - 1
    reindex = np.eye(4)
    reindex[:3, :3] = steps
    reindex[:3, 3] = start
    per_slice_kept = axes[0] == 0
    order = slice(None, None, -1) if flips[0] else slice(None)
    return replace(
        volume,
        array=np.ascontiguousarray(reorder(volume.array, axes, flips)),
        affine=volume.affine @ reindex,
        sop_instance_uids=volume.sop_instance_uids[order] if per_slice_kept else (),
        frame_numbers=volume.frame_numbers[order] if per_slice_kept else (),
    )
