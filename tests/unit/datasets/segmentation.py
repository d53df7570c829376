"""A DICOM SEG of vertebrae over a small study, written by highdicom."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom import dcmread
from pydicom.sr.codedict import codes

from models.anatomy import SNOMED_VERTEBRA
from tests.unit.datasets.made import blocks


def write_segmentation(study: Path, path: Path, numbers: Mapping[str, int]) -> Path:
    """Write blocks 1, 2, … from the top as segments that name their level by its SNOMED code."""
    sources = [dcmread(file) for file in sorted(study.glob("*.dcm"))]
    for source in sources:
        source.PatientBirthDate = source.StudyDate = source.StudyTime = ""
        source.AccessionNumber = source.StudyID = source.ReferringPhysicianName = ""
    labels = blocks(sorted(numbers.values()), (len(sources), sources[0].Rows, sources[0].Columns))
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"body {number}",
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=hd.sr.CodedConcept(SNOMED_VERTEBRA[level], "SCT", level),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for level, number in sorted(numbers.items(), key=lambda item: item[1])
    ]
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=labels.astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
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
