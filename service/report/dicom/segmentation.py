"""DICOM SEG: one segment per vertebral body, and one for marrow edema where it is called.

Frames lie where the source images lie: each takes the position of the image it was drawn on, so a
viewer overlays it whatever the stack's order or tilt. Source: PS3.3 A.51, C.8.20.
"""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from models.findings import Call, LevelFindings, Localisation, Scores, Vertebra
from models.volume import Volume
from service.report import codes
from service.report.dicom.identity import (
    BODY_PART,
    MODEL_NAME,
    ObjectIds,
    complete,
    derived_uid,
    edema_tracking_uid,
    equipment,
    software_version,
)
from service.report.dicom.sources import Sources
from service.report.dicom.tracking import EDEMA_TRACKING, Tracked, tracked
from service.report.result import StudyResult
from service.report.written import Written


def segmentation(
    result: StudyResult, sources: Sources, key: str, written_as: Written
) -> Dataset | None:
    """Write the SEG of a study.

    Args:
        result: With bodies.
        sources: Of `sources_of`.
        key: Of `content_key`.
        written_as: When it is made.

    Returns:
        The object; None where no body was found.
    """
    localisation, volumes = result.localisation, result.ingested.volumes
    if localisation is None or volumes is None:
        return None
    identities = tracked(result, key)
    drawn = [index for index, body in identities.items() if body.segment is not None]
    if not drawn:
        return None
    planes = _Planes(volumes.reference, sources.reference)
    masks = [localisation.labels == index for index in drawn]
    descriptions = [
        _body_segment(identities[index], _level_name(localisation, index)) for index in drawn
    ]
    edema = edema_mask(localisation, result.scores)
    if edema is not None:
        masks.append(edema)
        descriptions.append(_edema_segment(len(masks), edema_tracking_uid(key)))
    ids = ObjectIds.of(key, "seg")
    stacked = np.stack([mask[planes.drawn] for mask in masks], axis=-1).astype(np.uint8)
    written: Dataset = hd.seg.Segmentation(
        source_images=planes.sources,
        pixel_array=stacked,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=ids.series_uid,
        series_number=ids.series_number,
        sop_instance_uid=ids.instance_uid,
        instance_number=ids.instance_number,
        pixel_measures=planes.measures,
        plane_orientation=planes.orientation,
        plane_positions=planes.positions,
        content_label="VERTEBRAE",
        content_description="Vertebral bodies and marrow edema",
        content_creator_name=f"{MODEL_NAME}^",
        **equipment(),
    )
    written.BodyPartExamined = BODY_PART
    complete(written, sources.study, written_as, "bodies and edema")
    for item in written.get("DimensionOrganizationSequence", ()):
        _fix_dimension_uid(written, item, derived_uid(key, "dimension"))
    return written


def _fix_dimension_uid(written: Dataset, item: Dataset, uid: str) -> None:
    """Replace the random UID of the dimension organization wherever it is named."""
    item.DimensionOrganizationUID = uid
    for index in written.get("DimensionIndexSequence", ()):
        index.DimensionOrganizationUID = uid


def edema_mask(localisation: Localisation, scores: Scores | None) -> NDArray[np.bool_] | None:
    """(slice, row, column) voxels of edema in the bodies where edema is called present."""
    if scores is None or scores.edema_map is None:
        return None
    called = [level.vertebra.index for level in scores.levels if _called(level)]
    mask = np.isin(localisation.labels, called) & (scores.edema_map >= scores.edema_threshold)
    return mask if mask.any() else None


def _called(level: LevelFindings) -> bool:
    return level.edema is not None and level.edema.call is Call.PRESENT


def _level_name(localisation: Localisation, index: int) -> str | None:
    found: Vertebra = next(body for body in localisation.vertebrae if body.index == index)
    return found.level


def _algorithm() -> hd.AlgorithmIdentificationSequence:
    return hd.AlgorithmIdentificationSequence(
        name=MODEL_NAME, family=codes.ARTIFICIAL_INTELLIGENCE, version=software_version()
    )


def _body_segment(body: Tracked, level: str | None) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=body.segment,
        segment_label=body.label,
        segmented_property_category=codes.ANATOMICAL_STRUCTURE,
        segmented_property_type=codes.vertebra_code(level),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=_algorithm(),
        tracking_uid=body.tracking_uid,
        tracking_id=body.label,
    )


def _edema_segment(number: int, tracking_uid: str) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=EDEMA_TRACKING,
        segmented_property_category=codes.MORPHOLOGY,
        segmented_property_type=codes.EDEMA,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=_algorithm(),
        tracking_uid=tracking_uid,
        tracking_id=EDEMA_TRACKING,
        anatomic_regions=[codes.BONE_MARROW],
    )


class _Planes:
    """Where the frames of a SEG lie: on the slices that have an image behind them.

    Attributes:
        drawn: Indices of these slices; an interpolated one has no image and gets no frame.
        sources: Their images, or the one multi-frame image.
        positions, orientation, measures: For highdicom, in the order of `drawn`.
    """

    def __init__(self, volume: Volume, sources: Sequence[Dataset]) -> None:
        self.drawn = [place for place, uid in enumerate(volume.sop_instance_uids) if uid]
        affine = volume.affine
        column, row = affine[:3, 2], affine[:3, 1]
        self.orientation = hd.PlaneOrientationSequence(
            coordinate_system=hd.CoordinateSystemNames.PATIENT,
            image_orientation=(
                *_rounded(column / np.linalg.norm(column)),
                *_rounded(row / np.linalg.norm(row)),
            ),
        )
        spacing = volume.spacing
        self.measures = hd.PixelMeasuresSequence(
            pixel_spacing=(round(spacing.row_mm, 6), round(spacing.column_mm, 6)),
            slice_thickness=round(spacing.slice_mm, 6),
            spacing_between_slices=round(spacing.slice_mm, 6),
        )
        by_uid = {str(source.SOPInstanceUID): source for source in sources}
        self.positions = [
            hd.PlanePositionSequence(
                coordinate_system=hd.CoordinateSystemNames.PATIENT,
                image_position=_position(by_uid, volume, place),
            )
            for place in self.drawn
        ]
        self.sources = [self._as_source(source) for source in sources]

    def _as_source(self, source: Dataset) -> Dataset:
        """Complete a header's geometry where highdicom looks for it, in a copy.

        Scanners leave the slice thickness out; legacy converted images state pixel measures and
        orientation per frame only.
        """
        completed = Dataset()
        completed.update(source)
        if "SharedFunctionalGroupsSequence" in source:
            shared = Dataset()
            shared.update(source.SharedFunctionalGroupsSequence[0])
            shared.PixelMeasuresSequence = self.measures
            shared.PlaneOrientationSequence = self.orientation
            completed.SharedFunctionalGroupsSequence = [shared]
        elif not source.get("SliceThickness"):
            completed.SliceThickness = self.measures[0].SliceThickness
        return completed


def _position(by_uid: dict[str, Dataset], volume: Volume, place: int) -> tuple[float, ...]:
    """Position of a slice as its image states it, else on the regular grid."""
    source = by_uid[volume.sop_instance_uids[place]]
    if source.SOPClassUID == MRImageStorage and "ImagePositionPatient" in source:
        return tuple(float(value) for value in source.ImagePositionPatient)
    return _rounded((volume.affine @ [place, 0.0, 0.0, 1.0])[:3])


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 6) + 0.0 for value in values)
