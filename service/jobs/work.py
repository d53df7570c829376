"""One study through the pipeline, into a result folder. Runs inside the inference worker."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from models.findings import Acuity, Call, Etiology
from service.deidentify.export import Deidentification
from service.jobs.folders import current_report, rank_of
from service.jobs.job import CallSummary, JobReason, JobState, Outcome
from service.pipeline import Clock, Stages, report_on
from service.report.dicom.identity import content_key
from service.report.document import LevelReport, StudyReport
from service.report.headline import level_title
from service.report.outputs import Format, write_outputs
from service.report.review import Reader
from service.report.written import Written

FORMATS: Final = tuple(Format)
"""What the service keeps of every study."""


@dataclass(frozen=True, slots=True)
class Writing:
    """What is written of a study.

    Attributes:
        formats: Of `service.report.outputs`.
        deidentification: Set where nothing written may say whose study it is.
    """

    formats: Collection[Format] = FORMATS
    deidentification: Deidentification | None = None


@dataclass(frozen=True, slots=True)
class Filing:
    """What a report must know of the ones before it.

    Attributes:
        created: When the study came: the time of all that is written about it, so that reading it
            again gives the same files.
        current: Folder of `service.jobs.folders.current_report`; None for a report that stands for
            itself.
        job_id: Of the job that the report is made for.
    """

    created: datetime
    current: Path | None = None
    job_id: str = ""

    def written(
        self, study_instance_uid: str, files_used: int, reader: Reader | None = None
    ) -> Written:
        """The standing of a new report of a study, which rests on so many files."""
        superseded, verified = "", False
        if self.current is not None:
            standing = current_report(self.current, study_instance_uid)
            if standing is not None:
                created = self.created.timestamp()
                rank = rank_of(files_used, created, verified=reader is not None)
                superseded, verified = standing.superseded_by(self.job_id, rank)
        return Written(
            self.created,
            verified_by=reader.name if reader else "",
            verifying_organization=reader.organization if reader else "",
            supersedes=superseded,
            supersedes_verified=verified,
        )


def work_on(
    source: Path,
    results: Path,
    stages: Stages,
    on_stage: Callable[[str], None],
    filing: Filing | None = None,
    writing: Writing = Writing(),
) -> Outcome:
    """Read a study and write its report.

    Args:
        source: Folder, zip archive or file.
        results: Empty folder that receives the outputs.
        stages: The opened pipeline.
        on_stage: Told each stage as it begins.
        filing: When the study came, and where the reports that stand are noted; None for a
            first report that is written now.
        writing: What is written.

    Returns:
        Succeeded, or refused when no sagittal spine MR series could be used.
    """
    result = report_on(source, stages, Clock(on_stage))
    if writing.deidentification is not None:
        result = writing.deidentification.export(source, result, results)
    report = result.report
    written = (
        None
        if filing is None
        else filing.written(report.study.study_instance_uid, report.files.used)
    )
    reviewable = filing is not None and filing.current is not None
    write_outputs(result, results, writing.formats, written, reviewable=reviewable)
    key = content_key(report, result.ingested.headers) if result.usable else ""
    return outcome_of(report, key, written)


def outcome_of(report: StudyReport, key: str = "", written: Written | None = None) -> Outcome:
    """What a report means for the job that made it."""
    refused = report.reference_series_uid is None
    return Outcome(
        state=JobState.REFUSED if refused else JobState.SUCCEEDED,
        reason=refusal_of(report) if refused else None,
        study_instance_uid=report.study.study_instance_uid,
        files_used=report.files.used,
        content_key=key,
        supersedes=written.supersedes if written else "",
        supersedes_verified=written is not None and written.supersedes_verified,
        verified=written is not None and bool(written.verified_by),
        calls=tuple(_calls(report.levels)),
        summary=summarise(report),
        stages_ms=dict(report.provenance.timings_ms),
    )


def refusal_of(report: StudyReport) -> JobReason:
    """Why a report has nothing to say: its abstentions, as one sentence each."""
    reasons = " ".join(dict.fromkeys(abstention.reason for abstention in report.abstentions))
    return JobReason(code="no_usable_series", message=reasons)


def _calls(levels: Iterable[LevelReport]) -> Iterator[str]:
    for level in levels:
        if level.edema:
            yield f"edema/{level.edema.call}"
        if level.fracture:
            yield f"fracture/{level.fracture.call}"
        if level.acuity:
            yield f"acuity/{level.acuity.call}"
        if level.etiology:
            yield f"etiology/{level.etiology.call}"


def summarise(report: StudyReport) -> CallSummary:
    """The one line that a list of studies shows."""
    levels = report.levels
    return CallSummary(
        levels=len(levels),
        edema=_names(level for level in levels if level.edema and level.edema.call is Call.PRESENT),
        unhealed=_names(level for level in levels if _acuity(level) is Acuity.UNHEALED),
        healed=_names(level for level in levels if _acuity(level) is Acuity.HEALED),
        pathological=_names(
            level
            for level in levels
            if level.etiology and level.etiology.call is Etiology.PATHOLOGICAL
        ),
        abstentions=tuple(dict.fromkeys(item.code for item in report.abstentions)),
    )


def _acuity(level: LevelReport) -> Acuity | None:
    return level.acuity.call if level.acuity else None


def _names(levels: Iterable[LevelReport]) -> tuple[str, ...]:
    return tuple(level_title(level) for level in levels)
