"""A DICOM SEG of vertebrae over a small study, written by highdicom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom import dcmread
from pydicom.sr.codedict import codes

from models.anatomy import SNOMED_VERTEBRA
from tests.unit.datasets.made import blocks


@dataclass(frozen=True)
class Segment:
    """A segment: its number, its label, and the level that its code names, if it is a vertebra."""

    number: int
    label: str
    level: str | None = None


def coded(numbers: Mapping[str, int]) -> list[Segment]:
    """Segments that name their level by its SNOMED code only."""
    return [Segment(number, f"body {number}", level) for level, number in numbers.items()]


def write_segmentation(study: Path, path: Path, segments: Sequence[Segment]) -> Path:
    """Write blocks from the top down as segments, in the order of their numbers.

    Numbers that count from 1 make it the binary kind, as any others cannot; others a label map.
    """
    sources = [dcmread(file) for file in sorted(study.glob("*.dcm"))]
    for source in sources:
        source.PatientBirthDate = source.StudyDate = source.StudyTime = ""
        source.AccessionNumber = source.StudyID = source.ReferringPhysicianName = ""
    segments = sorted(segments, key=lambda one: one.number)
    numbers = [one.number for one in segments]
    labels = blocks(numbers, (len(sources), sources[0].Rows, sources[0].Columns))
    kinds = hd.seg.SegmentationTypeValues
    counted = numbers == list(range(1, len(numbers) + 1))
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=labels.astype(np.uint8),
        segmentation_type=kinds.BINARY if counted else kinds.LABELMAP,
        segment_descriptions=[_description(one) for one in segments],
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="Built",
        manufacturer_model_name="Built",
        software_versions="1",
        device_serial_number="1",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    segmentation.save_as(path)
    return path


def _description(segment: Segment) -> hd.seg.SegmentDescription:
    code = codes.SCT.Bone
    if segment.level is not None:
        code = hd.sr.CodedConcept(SNOMED_VERTEBRA[segment.level], "SCT", segment.level)
    return hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.label,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=code,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
