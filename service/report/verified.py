"""A report written again with a reader's word on it, over the same images and outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, Final

from models.findings import Abstention, LevelFindings, Localisation, StudyVolumes
from models.morphometry.morphometry import with_geometry
from service.ingest.records import Ingested
from service.report.assemble import assemble
from service.report.corrections import corrected, differences
from service.report.document import (
    AbstentionReport,
    CorrectionReport,
    ReviewReport,
    Status,
    StudyReport,
)
from service.report.findings_file import FindingsError, Found
from service.report.result import StudyResult
from service.report.review import Decision, ReviewRecord

REJECTED: Final = "rejected_by_reader"


def verified(
    ingested: Ingested, found: Found, read: StudyReport, review: ReviewRecord
) -> StudyResult:
    """Apply a review.

    Args:
        ingested: The images, read again.
        found: What the report that was read was written from.
        read: That report.
        review: What the reader says of it.

    Returns:
        A result whose report is verified. Of a rejected one every finding is withheld.

    Raises:
        ReviewError: The review contradicts itself or the report.
        FindingsError: The images are not read as they were.
    """
    localisation, scores = found
    _check_same(ingested.volumes, localisation, read)
    levels = corrected(scores.levels, review)
    changes = tuple(_changes(scores.levels, levels))
    if review.decision is Decision.REJECT:
        report = assemble(ingested, None, None, read.provenance)
        withheld = Abstention(REJECTED, "study", "The reader rejected this machine reading.")
        return StudyResult(_signed(report, review, (), (withheld,)), ingested, None, None)
    localisation = replace(localisation, vertebrae=tuple(one.vertebra for one in levels))
    scores = with_geometry(localisation, replace(scores, levels=levels))
    report = assemble(ingested, localisation, scores, read.provenance)
    return StudyResult(_signed(report, review, changes), ingested, localisation, scores)


def _check_same(
    volumes: StudyVolumes | None, localisation: Localisation, read: StudyReport
) -> None:
    same = (
        volumes is not None
        and volumes.reference.series_instance_uid == read.reference_series_uid
        and volumes.reference.shape == localisation.labels.shape
    )
    if not same:
        raise FindingsError("the images are not read as they were for this report")


def _changes(
    before: Sequence[LevelFindings], after: Sequence[LevelFindings]
) -> list[CorrectionReport]:
    return [
        CorrectionReport(
            body=place + 1,
            level=after[place].vertebra.level,
            field=field,
            before=_plain(was),
            after=_plain(becomes),
        )
        for place, field, was, becomes in differences(before, after)
    ]


def _plain(value: Any) -> str | int | None:  # noqa: ANN401  of several kinds of finding
    return str(value.value) if isinstance(value, Enum) else value


def _signed(
    report: StudyReport,
    review: ReviewRecord,
    changes: tuple[CorrectionReport, ...] = (),
    withheld: tuple[Abstention, ...] = (),
) -> StudyReport:
    said = tuple(map(AbstentionReport.model_validate, withheld))
    word = ReviewReport(
        decision="reject" if review.decision is Decision.REJECT else "verify",
        reader=review.reader.name,
        organization=review.reader.organization,
        reviewed_at=review.reviewed_at,
        job_id=review.job_id,
        comment=review.comment,
        corrections=changes,
    )
    return report.model_copy(
        update={
            "status": Status.VERIFIED,
            "abstentions": (*said, *report.abstentions),
            "review": word,
        }
    )
