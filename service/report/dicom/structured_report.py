"""DICOM SR: TID 1500 in a Comprehensive 3D SR, one measurement group per vertebral body.

Each group names its body by finding site and by the segment it has in the SEG, measures it, and
says what was called. What a code cannot say (other possible names, what limits a call, what was
withheld) stands in comments, so that no reader of the SR alone is told more than the report says.
Source: PS3.16 TID 1500, 1501, 1411, 4019; IHE AI Results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import highdicom as hd
from highdicom.sr import coding
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage

from service.report import codes
from service.report.coded import answers, limits, measured_values, remarks
from service.report.dicom.identity import (
    MANUFACTURER,
    MODEL_NAME,
    ObjectIds,
    complete,
    device_uid,
    software_version,
)
from service.report.dicom.segmentation import Tracked, reference_sources, tracked
from service.report.document import LevelReport
from service.report.result import StudyResult
from service.report.written import Written


def structured_report(
    result: StudyResult, key: str, written_as: Written, segments: Dataset | None
) -> Dataset:
    """Write the SR of a study.

    Args:
        result: With a usable series; one without bodies gives a report that says so.
        key: Of `content_key`.
        written_as: When, after what, and whether a reader has verified it.
        segments: The SEG of the same result, to refer to.

    Raises:
        NotWritableError: The source images' headers are missing.
    """
    sources = reference_sources(result)
    identities = tracked(result, key)
    groups = [
        _group(level, identities[vertebra.index], segments, sources)
        for vertebra, level in _bodies(result)
    ]
    content = hd.sr.MeasurementReport(
        observation_context=_observer(),
        procedure_reported=codes.MRI,
        imaging_measurements=groups or None,
        title=Code("126000", "DCM", "Imaging Measurement Report"),
        referenced_images=_described(sources) or None,
    )
    root = content[0]
    for text in remarks(result.report):
        root.ContentSequence.append(_comment(text))
    ids = ObjectIds.of(key, "sr")
    verified = bool(written_as.verified_by)
    evidence = [*_evidence(result), *([segments] if segments is not None and groups else [])]
    written: Dataset = hd.sr.Comprehensive3DSR(
        evidence=evidence,
        content=root,
        series_instance_uid=ids.series_uid,
        series_number=ids.series_number,
        sop_instance_uid=ids.instance_uid,
        instance_number=ids.instance_number,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=verified,
        is_verified=verified,
        verifying_observer_name=written_as.verified_by or None,
        verifying_organization=(written_as.verifying_organization or "unknown")
        if verified
        else None,
        previous_versions=[_predecessor(written_as.supersedes, sources[0])]
        if written_as.supersedes
        else None,
    )
    complete(written, sources[0], written_as, "findings per vertebra")
    # An SR shows no body part of its own; the attribute belongs to images.
    del written.BodyPartExamined
    for observer in written.get("VerifyingObserverSequence", ()):
        observer.VerificationDateTime = f"{written_as.created:%Y%m%d%H%M%S}"
    codes.declare_scheme(written)
    return written


def _bodies(result: StudyResult) -> Iterator[tuple[hd.sr.CodedConcept, LevelReport]]:
    if result.localisation is not None:
        yield from zip(result.localisation.vertebrae, result.report.levels, strict=True)


def _evidence(result: StudyResult) -> list[Dataset]:
    """Headers of every image that was used; reports refer to all they rest on."""
    return list(result.ingested.headers.values())


def _described(sources: Sequence[Dataset]) -> list[Dataset]:
    """Images of the reference series that the image library can describe (TID 1604).

    It wants the geometry of single-frame images, all of it; others are evidence only.
    """
    wanted = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
    return [source for source in sources if all(source.get(name) for name in wanted)]


def _observer() -> hd.sr.ObservationContext:
    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=Code("121007", "DCM", "Device"),
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                uid=device_uid(),
                name=MODEL_NAME,
                manufacturer_name=MANUFACTURER,
                model_name=MODEL_NAME,
                serial_number=software_version(),
            ),
        )
    )


def _group(
    level: LevelReport, body: Tracked, segments: Dataset | None, sources: Sequence[Dataset]
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    site = hd.sr.FindingSite(anatomic_location=_coded(codes.vertebra_code(level.level)))
    shared = {
        "tracking_identifier": hd.sr.TrackingIdentifier(body.tracking_uid, body.label),
        "finding_type": codes.VERTEBRA,
        "algorithm_id": hd.sr.AlgorithmIdentification(name=MODEL_NAME, version=software_version()),
        "finding_sites": [site],
        "measurements": list(_measurements(level)),
        "qualitative_evaluations": list(_evaluations(level)),
    }
    if body.segment is None or segments is None:
        group = hd.sr.MeasurementsAndQualitativeEvaluations(**shared)
    else:
        group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=hd.sr.ReferencedSegment(
                sop_class_uid=segments.SOPClassUID,
                sop_instance_uid=segments.SOPInstanceUID,
                segment_number=body.segment,
                source_series=hd.sr.SourceSeriesForSegmentation(sources[0].SeriesInstanceUID),
            ),
            **shared,
        )
    for text in limits(level):
        group[0].ContentSequence.append(_comment(text))
    return group


def _coded(code: Code) -> hd.sr.CodedConcept:
    return coding.CodedConcept(code.value, code.scheme_designator, code.meaning)


def _measurements(level: LevelReport) -> Iterator[hd.sr.Measurement]:
    for name, value, unit in measured_values(level):
        yield hd.sr.Measurement(name=name, value=value, unit=unit)


def _evaluations(level: LevelReport) -> Iterator[hd.sr.QualitativeEvaluation]:
    for name, value in answers(level):
        yield hd.sr.QualitativeEvaluation(name=name, value=value)


def _comment(text: str) -> hd.sr.TextContentItem:
    return hd.sr.TextContentItem(
        name=codes.COMMENT, value=text, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS
    )


def _predecessor(key: str, source: Dataset) -> Dataset:
    """Stand-in for the SR written before under a key: what a reference to it needs."""
    ids = ObjectIds.of(key, "sr")
    earlier = Dataset()
    earlier.SOPClassUID = Comprehensive3DSRStorage
    earlier.SOPInstanceUID = ids.instance_uid
    earlier.StudyInstanceUID = source.StudyInstanceUID
    earlier.SeriesInstanceUID = ids.series_uid
    return earlier
