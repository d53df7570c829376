"""Masks of vertebrae made elsewhere: NIfTI or DICOM SEG, beside DICOM studies or NIfTI images.

A mask is matched with what it was drawn on:

- DICOM SEG names its study and series;
- a NIfTI mask of a DICOM study lies in the study's folder or beside it, and is laid on the series
  that has its grid;
- a NIfTI mask of a NIfTI image has the image's name with something added, such as
  `sub-01_T2w.nii.gz` and `sub-01_T2w_seg-vert_msk.nii.gz`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom.uid import UID, generate_uid

from models.geometry import Affine
from service.ingest.grid import StackPolicy
from service.ingest.stacking import stacks_of
from service.logs import Pseudonyms
from training.datasets.adapted import Adapted
from training.datasets.dicom_studies import DicomStudy, Studies, open_studies
from training.datasets.digests import array_digest, file_digest, study_digest
from training.datasets.errors import MaskError, SourceLayoutError
from training.datasets.mask_images import MaskImage, bodies_of, image_stem, read_image, read_mask
from training.datasets.rows import LabelRow
from training.datasets.split import SplitRule

GRID_TOLERANCE_MM: Final = 0.5
"""How far a corner of a mask may lie from the same corner of its series."""

_MASK_WORDS: Final = ("seg", "msk", "mask", "dseg", "label", "vertebrae", "truth")
"""One of them is in the name of every mask that the published data sets and tools write."""

LABELMAP_SEGMENTATION_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66.7"
"""Newer than the dictionary that pydicom 3.0 brings (PS3.6, table A-1)."""


@dataclass(frozen=True, slots=True)
class MaskSource:
    """Where masks lie and what their values mean.

    Attributes:
        images: Folder with the studies or images.
        masks: Folder with the masks; may be the same.
        scheme: A key of `training.datasets.mask_values.SCHEMES`.
        rule: Splits patients.
        keys: Hides the patient IDs of DICOM studies.
        reader: Who drew them.
    """

    images: Path
    masks: Path
    scheme: str
    rule: SplitRule
    keys: Pseudonyms
    reader: str = "mask"


@dataclass(slots=True)
class _Adapting:
    source: MaskSource
    studies: Studies
    adapted: Adapted = field(default_factory=Adapted)

    def key_of(self, study: DicomStudy) -> str:
        return self.source.keys.of(study.patient_id or study.study_instance_uid)


def mask_rows(source: MaskSource) -> Adapted:
    """Rows of every body of every mask; they name and place levels and hold no labels.

    Raises:
        SourceLayoutError: There is no mask.
        MaskError: A mask cannot be read or is of another scheme.
    """
    adapted = Adapted()
    with open_studies(source.images, adapted) as studies:
        adapting = _Adapting(source, studies, adapted)
        masks = list(_masks_under(source))
        if not masks:
            raise SourceLayoutError("no mask (.nii.gz, .nii, .mha or DICOM SEG) below the folder")
        for path in masks:
            _add_mask(path, adapting)
    return adapted


def _masks_under(source: MaskSource) -> Iterator[Path]:
    together = source.masks.resolve() == source.images.resolve()
    for path in sorted(one for one in source.masks.rglob("*") if one.is_file()):
        stem = image_stem(path)
        if stem is None:
            if _is_segmentation(path):
                yield path
        elif not together or any(word in stem.lower() for word in _MASK_WORDS):
            yield path


def _is_segmentation(path: Path) -> bool:
    from pydicom import dcmread  # noqa: PLC0415
    from pydicom.errors import InvalidDicomError  # noqa: PLC0415
    from pydicom.uid import SegmentationStorage  # noqa: PLC0415

    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return False
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except (InvalidDicomError, ValueError, EOFError):
        return False
    return header.get("SOPClassUID") in (SegmentationStorage, LABELMAP_SEGMENTATION_STORAGE)


def _add_mask(path: Path, adapting: _Adapting) -> None:
    what = path.relative_to(adapting.source.masks)
    try:
        mask = read_mask(path, adapting.source.scheme)
    except MaskError as error:
        raise MaskError(f"{what}: {error}") from error
    columns = _drawn_on(path, mask, adapting)
    if columns is None:
        adapting.adapted.skip(what, "image_missing")
        return
    columns |= {
        "source": "mask",
        "split": adapting.source.rule.of(columns["patient_key"]),
        "reader": adapting.source.reader,
        "mask_path": str(path.resolve()),
        "mask_sha256": file_digest(path),
    }
    for position, body in enumerate(bodies_of(mask), start=1):
        left, posterior, superior = body.centre_lps_mm
        row = {
            "level": body.level,
            "position": position,
            "mask_value": body.value,
            "left_mm": left,
            "posterior_mm": posterior,
            "superior_mm": superior,
        }
        adapting.adapted.rows.append(LabelRow.model_validate(columns | row))


def _drawn_on(path: Path, mask: MaskImage, adapting: _Adapting) -> dict[str, Any] | None:
    """Columns of the study or image that a mask was drawn on, None where it is not there."""
    if mask.study_instance_uid:
        study = adapting.studies.by_uid.get(mask.study_instance_uid)
        if study is None or mask.series_instance_uid not in (*study.series, ""):
            return None
        columns = adapting.studies.columns(study, mask.series_instance_uid)
        return columns | {"patient_key": adapting.key_of(study)}
    image = _image_of(path, adapting.source)
    if image is not None:
        return _image_columns(image, mask, adapting.source)
    for study in _studies_beside(path, adapting):
        series = _series_on_grid(study, mask)
        if series:
            columns = adapting.studies.columns(study, series)
            return columns | {"patient_key": adapting.key_of(study)}
    return None


def _studies_beside(path: Path, adapting: _Adapting) -> list[DicomStudy]:
    """Studies in the folder of a mask, or in the folder of that place among the images."""
    place = path.parent.resolve().relative_to(adapting.source.masks.resolve())
    beside = adapting.source.images.resolve() / place
    return [
        study
        for study in adapting.studies.by_uid.values()
        if study.folder.is_relative_to(beside) or study.folder.name == image_stem(path)
    ]


def _series_on_grid(study: DicomStudy, mask: MaskImage) -> str:
    """The series whose slices lie where the mask's do, "" when there is none."""
    wanted = _corners(mask.affine, mask.labels.shape)
    for uid, records in study.series.items():
        for stack in stacks_of(records, StackPolicy()):
            first = stack.instance
            shape = (stack.count, first.rows, first.columns)
            if stack.affine is None or sorted(shape) != sorted(mask.labels.shape):
                continue
            if _meet(_corners(stack.affine, shape), wanted):
                return uid
    return ""


def _corners(affine: Affine, shape: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    last = np.array(shape) - 1
    index = np.array(np.meshgrid(*[(0, one) for one in last])).reshape(3, -1)
    corners: np.ndarray[Any, np.dtype[np.float64]] = (affine[:3, :3] @ index).T + affine[:3, 3]
    return corners


def _meet(
    these: np.ndarray[Any, np.dtype[np.float64]], those: np.ndarray[Any, np.dtype[np.float64]]
) -> bool:
    """Whether every corner of one grid is a corner of the other, in any order of the axes."""
    apart = np.linalg.norm(these[:, None] - those[None], axis=2)
    return bool((apart.min(axis=1) < GRID_TOLERANCE_MM).all())


def _image_of(path: Path, source: MaskSource) -> Path | None:
    """The image whose name a mask's name begins with; the longest of several."""
    stem = str(image_stem(path))
    found = [
        one
        for one in sorted(source.images.rglob("*"))
        if one.resolve() != path.resolve() and _is_part(image_stem(one), stem)
    ]
    return max(found, key=lambda one: len(str(image_stem(one))), default=None)


def _is_part(image: str | None, mask: str) -> bool:
    if image is None or any(word in image.lower() for word in _MASK_WORDS):
        return False
    # nnU-Net adds the channel's number to an image's name.
    image = image.removesuffix("_0000")
    return mask == image or mask.startswith((f"{image}_", f"{image}-", f"{image}."))


def _image_columns(image: Path, mask: MaskImage, source: MaskSource) -> dict[str, Any]:
    array, affine = read_image(image)
    if not _meet(_corners(affine, array.shape), _corners(mask.affine, mask.labels.shape)):
        raise MaskError(f"{image.name}: the mask does not have the grid of its image")
    return image_columns(image, array) | {"patient_key": _subject_of(image, source)}


def image_columns(image: Path, array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Columns of a study that is one image file.

    Args:
        image: NIfTI or MetaImage.
        array: Its values.
    """
    name = UID(generate_uid(entropy_srcs=["image", str(image_stem(image))]))
    return {
        "study_instance_uid": str(name),
        "series_instance_uid": "",
        "study_path": str(image.resolve()),
        "study_sha256": study_digest(image),
        "pixel_sha256": array_digest(array),
    }


def _subject_of(image: Path, source: MaskSource) -> str:
    """The subject of a BIDS name (`sub-01_...`), else the whole name, hidden by the key."""
    stem = str(image_stem(image))
    subject = (
        stem.split("_", maxsplit=1)[0] if stem.startswith("sub-") else stem.removesuffix("_0000")
    )
    return source.keys.of(subject)
