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
    derived_uid,
    device_uid,
    software_version,
    stamp,
)
from service.report.dicom.sources import Sources
from service.report.dicom.tracking import EDEMA_TRACKING, Tracked
from service.report.document import LevelReport, StudyReport
from service.report.written import Written


def structured_report(
    report: StudyReport,
    bodies: Sequence[Tracked],
    sources: Sources,
    key: str,
    written_as: Written,
    segments: Dataset | None = None,
) -> Dataset:
    """Write the SR of a study.

    Args:
        report: Of a usable series; one without bodies gives an SR that says so.
        bodies: One for each level of the report.
        sources: Whose study it is, and the images that were used.
        key: Of `content_key`.
        written_as: When, after what, and whether a reader has verified it.
        segments: The SEG of the same report, to refer to.
    """
    groups = [
        _group(level, body, segments, report)
        for level, body in zip(report.levels, bodies, strict=True)
    ]
    content = hd.sr.MeasurementReport(
        observation_context=_observer(),
        procedure_reported=codes.MRI,
        imaging_measurements=[
            *(groups or [_nothing_found(key, report)]),
            *_edema_group(segments, report),
        ],
        title=codes.REPORT_TITLE,
        referenced_images=_described(sources.reference) or None,
    )
    root = content[0]
    for text in remarks(report):
        root.ContentSequence.append(_comment(text))
    ids = ObjectIds.of(key, "sr")
    verified = bool(written_as.verified_by)
    written: Dataset = hd.sr.Comprehensive3DSR(
        evidence=[*sources.evidence, *([segments] if segments is not None else [])],
        content=_without_items(root),
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
        previous_versions=[_reference(written_as.supersedes, sources.study)]
        # A report that was made again takes the place of none.
        if written_as.supersedes not in {"", key}
        else None,
    )
    written["ContentSequence"] = root["ContentSequence"]
    for observer in written.get("VerifyingObserverSequence", ()):
        observer.VerificationDateTime = stamp(written_as.created)
    codes.declare_scheme(written)
    complete(written, sources.study, written_as, "findings per vertebra")
    return written


def _without_items(root: Dataset) -> Dataset:
    """The root of a content tree alone.

    The document's constructor copies, parses and searches the tree that it is given, which takes
    longer than all else about an SR; nothing here reads the copy.
    """
    alone = Dataset()
    alone.update(root)
    del alone.ContentSequence  # the element is the root's own
    alone.ContentSequence = []
    return alone


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
    level: LevelReport, body: Tracked, segments: Dataset | None, report: StudyReport
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
            referenced_segment=_segment(segments, body.segment, report), **shared
        )
    for text in limits(level):
        group[0].ContentSequence.append(_comment(text))
    return group


def _segment(segments: Dataset, number: int, report: StudyReport) -> hd.sr.ReferencedSegment:
    return hd.sr.ReferencedSegment(
        sop_class_uid=segments.SOPClassUID,
        sop_instance_uid=segments.SOPInstanceUID,
        segment_number=number,
        source_series=hd.sr.SourceSeriesForSegmentation(report.reference_series_uid),
    )


def _edema_group(
    segments: Dataset | None, report: StudyReport
) -> Iterator[hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations]:
    """A group for the segment that is no body; how much of each body it fills stands there."""
    if segments is None:
        return
    for segment in segments.SegmentSequence:
        if segment.TrackingID == EDEMA_TRACKING:
            yield hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                referenced_segment=_segment(segments, segment.SegmentNumber, report),
                tracking_identifier=hd.sr.TrackingIdentifier(segment.TrackingUID, EDEMA_TRACKING),
                finding_type=codes.EDEMA,
                finding_sites=[hd.sr.FindingSite(anatomic_location=_coded(codes.BONE_MARROW))],
            )


def _nothing_found(key: str, report: StudyReport) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """The template wants a group, and a reader wants to be told."""
    rejected = report.review is not None and report.review.decision == "reject"
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(derived_uid(key, "spine"), "Spine"),
        finding_type=codes.READING_REJECTED if rejected else codes.NO_BODY_FOUND,
        finding_sites=[hd.sr.FindingSite(anatomic_location=_coded(codes.SPINE))],
    )


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


def _reference(key: str, study: Dataset) -> Dataset:
    """What highdicom needs to refer to the SR that was written under a key."""
    ids = ObjectIds.of(key, "sr")
    reference = Dataset()
    reference.SOPClassUID = Comprehensive3DSRStorage
    reference.SOPInstanceUID = ids.instance_uid
    reference.StudyInstanceUID = study.StudyInstanceUID
    reference.SeriesInstanceUID = ids.series_uid
    return reference
