"""Masks of vertebral bodies as an array in patient space: NIfTI, MetaImage or DICOM SEG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.anatomy import LEVELS
from models.geometry import Affine
from training.datasets.errors import MaskError
from training.datasets.mask_values import SCHEMES, level_of_code, levels_of

IMAGE_SUFFIXES: Final = (".nii.gz", ".nii", ".mha")
"""Of image files other than DICOM, longest first."""

SMALLEST_BODY_VOXELS: Final = 10
"""Fewer voxels of a value are a slip of the brush."""

_WORD: Final = re.compile(r"[A-Za-z]+\d*|\d+")
_WORDS_BESIDE_A_LEVEL: Final = frozenset(
    {"body", "bone", "cervical", "corpus", "lumbar", "sacral", "sacrum", "thoracic"}
    | {"vertebra", "vertebrae", "vertebral"}
)
"""What a label may say of a vertebra beside its level: a disc, a rib or edema of L1 is not L1."""


@dataclass(frozen=True, slots=True)
class MaskImage:
    """A label map.

    Attributes:
        labels: (slice, row, column) of values.
        affine: Index to LPS mm.
        levels: Value to level, for the values that are vertebrae.
        study_instance_uid, series_instance_uid: What a DICOM SEG refers to; "" for other files.
    """

    labels: NDArray[np.uint16]
    affine: Affine
    levels: Mapping[int, str]
    study_instance_uid: str = ""
    series_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class Body:
    """A body in a mask: its value, its name and the centre of its voxels in LPS mm."""

    value: int
    level: str
    centre_lps_mm: tuple[float, float, float]


def image_stem(path: Path) -> str | None:
    """A file's name without its image suffix, None for files of another kind."""
    for suffix in IMAGE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return None


def read_image(path: Path) -> tuple[NDArray[Any], Affine]:
    """Read a NIfTI or MetaImage file.

    Returns:
        (slice, row, column) array and its affine, index to LPS mm.

    Raises:
        MaskError: The file cannot be read, or it does not have three axes.
    """
    import SimpleITK  # noqa: PLC0415

    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise MaskError("an image file cannot be read") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise MaskError("an image has other than three axes and one value a voxel")
    affine = np.eye(4)
    directions = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    # SimpleITK counts (column, row, slice), in LPS mm.
    affine[:3, :3] = directions[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), affine


def read_values(path: Path) -> tuple[NDArray[Any], Affine]:
    """Read the values of a mask whose rows say already what they mean.

    Args:
        path: NIfTI, MetaImage or DICOM SEG.

    Returns:
        (slice, row, column) array and its affine, index to LPS mm.

    Raises:
        MaskError: It cannot be read.
    """
    if image_stem(path) is not None:
        return read_image(path)
    _, labels, affine = _segments(path)
    return labels, affine


def read_mask(path: Path, scheme: str) -> MaskImage:
    """Read a mask file.

    Args:
        path: NIfTI or MetaImage with the values of a scheme, or DICOM SEG.
        scheme: A key of `SCHEMES`. Segments of DICOM SEG are believed when they say which vertebra
            they are, by code or label. Their numbers are looked up when none says so, or when all
            that do have the number of their level in the scheme.

    Raises:
        MaskError: It cannot be read, holds no vertebra of the scheme, or holds a value that never
            occurs in the scheme.
    """
    if image_stem(path) is None:
        return _read_seg(path, scheme)
    labels, affine = read_image(path)
    if np.any(labels < 0) or np.any(labels != np.rint(labels)):
        raise MaskError("a mask holds other than whole numbers from 0")
    values = frozenset(int(value) for value in np.unique(labels)) - {0}
    return MaskImage(labels.astype(np.uint16), affine, levels_of(values, scheme))


def _read_seg(path: Path, scheme: str) -> MaskImage:
    segmentation, labels, affine = _segments(path)
    numbers = frozenset(int(number) for number in np.unique(labels)) - {0}
    levels = _levels_of_segments(segmentation, numbers, scheme)
    series = segmentation.get("ReferencedSeriesSequence", ())
    return MaskImage(
        labels,
        affine,
        levels,
        str(segmentation.StudyInstanceUID),
        str(series[0].SeriesInstanceUID) if len(series) == 1 else "",
    )


def _segments(path: Path) -> tuple[Any, NDArray[np.uint16], Affine]:
    """A DICOM SEG, its (slice, row, column) array of segment numbers and its affine."""
    import highdicom as hd  # noqa: PLC0415
    from pydicom.errors import InvalidDicomError  # noqa: PLC0415

    try:
        segmentation = hd.seg.segread(path)
        volume = segmentation.get_volume(combine_segments=True)
    except (InvalidDicomError, ValueError, AttributeError, RuntimeError) as error:
        raise MaskError("a DICOM SEG cannot be read as one volume") from error
    labels = np.asarray(volume.array, dtype=np.uint16)
    return segmentation, labels, np.asarray(volume.affine, dtype=np.float64)


def _levels_of_segments(
    segmentation: Any,  # noqa: ANN401  highdicom has no types
    numbers: frozenset[int],
    scheme: str,
) -> dict[int, str]:
    """Segment number to level, for the segments that are vertebrae; see `read_mask`."""
    described = {number: segmentation.get_segment_description(number) for number in sorted(numbers)}
    said = {
        number: level
        for number, description in described.items()
        if (level := _level_said(description)) is not None
    }
    if not said:
        return levels_of(numbers, scheme)
    known = SCHEMES.get(scheme, {})
    if any(known.get(number) != level for number, level in said.items()):
        return said  # segments are counted from 1: the numbers of the others mean nothing
    return {number: known[number] for number in described if number in known}


def _level_said(description: Any) -> str | None:  # noqa: ANN401  highdicom has no types
    """The level that a segment says it is by its code, else by its label."""
    coded = level_of_code(str(description.segmented_property_type.value))
    if coded is not None:
        return coded
    words = _WORD.findall(str(description.segment_label))
    levels = [word for word in words if word in LEVELS]
    others = {word.lower() for word in words if word not in LEVELS}
    return levels[0] if len(levels) == 1 and others <= _WORDS_BESIDE_A_LEVEL else None


def bodies_of(mask: MaskImage) -> tuple[Body, ...]:
    """Bodies of a mask, cranial to caudal by their names; those of a few voxels are left out."""
    found = []
    for value, level in sorted(mask.levels.items(), key=lambda item: LEVELS.index(item[1])):
        index = np.argwhere(mask.labels == value)
        if len(index) >= SMALLEST_BODY_VOXELS:
            left, posterior, superior = (
                mask.affine[:3, :3] @ index.mean(axis=0) + mask.affine[:3, 3]
            )
            centre = (round(left, 2), round(posterior, 2), round(superior, 2))
            found.append(Body(value, level, centre))
    return tuple(found)
