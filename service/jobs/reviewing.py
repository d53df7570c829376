"""One review into a verified report. Runs inside the inference worker, like a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.durable import write_durably
from service.jobs.job import Outcome
from service.jobs.reviews import (
    MACHINE,
    REVIEW,
    STUDY,
    complete_review,
    rejected_objects,
    study_source,
)
from service.jobs.work import FORMATS, Filing, outcome_of
from service.pipeline import Clock, Stages
from service.report.dicom.identity import content_key
from service.report.dicom.sources import study_of
from service.report.findings_file import FINDINGS, read_npz
from service.report.json_writer import from_json
from service.report.outputs import write_outputs
from service.report.review import Decision, ReviewRecord
from service.report.verified import verified


def review_on(
    folder: Path,
    results: Path,
    stages: Stages,
    on_stage: Callable[[str], None],
    filing: Filing,
) -> Outcome:
    """Write a report again with its reader's word.

    Args:
        folder: Of `service.jobs.reviews.keep_review`.
        results: Empty folder that receives the outputs.
        stages: Of which only the reading of images is used.
        on_stage: Told each stage as it begins.
        filing: When the review came, and where the reports that stand are noted.

    Raises:
        ReviewError: The review contradicts itself or the report.
        FindingsError: The images are not read as they were for the report.
    """
    record = ReviewRecord.model_validate_json((folder / REVIEW).read_bytes())
    read = from_json((folder / MACHINE).read_bytes())
    clock = Clock(on_stage)
    with clock.stage("ingest"):
        ingested = stages.read(study_source(folder / STUDY))
    with clock.stage("review"):
        result = verified(ingested, read_npz(folder / FINDINGS), read, record)
    report = result.report
    written = filing.written(record.study_instance_uid, report.files.used, record.reader)
    write_outputs(result, results, FORMATS, written, reviewable=True)
    key = content_key(report, result.ingested.headers)
    if record.decision is Decision.REJECT and (rejected := rejected_objects(folder)):
        # highdicom costs most of a second to import.
        from service.report.dicom.objects import to_bytes  # noqa: PLC0415
        from service.report.dicom.rejection import FILE_NAME, rejection_note  # noqa: PLC0415

        note = rejection_note(rejected, study_of(result), key, written)
        write_durably(results / FILE_NAME, to_bytes(note))
    complete_review(folder, results)
    return outcome_of(report, key, written).model_copy(update={"stages_ms": clock.timings_ms})
