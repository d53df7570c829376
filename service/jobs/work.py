"""One study through the pipeline, into a result folder. Runs inside the inference worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from models.findings import Acuity, Call, Etiology
from service.jobs.folders import current_report
from service.jobs.job import CallSummary, JobReason, JobState, Outcome
from service.pipeline import Clock, Stages, report_on
from service.report.dicom.identity import content_key
from service.report.document import LevelReport, StudyReport
from service.report.headline import level_title
from service.report.outputs import Format, write_outputs
from service.report.written import Written

FORMATS: Final = tuple(Format)
"""What the service keeps of every study."""


@dataclass(frozen=True, slots=True)
class Filing:
    """What a report must know of the ones before it.

    Attributes:
        created: When the study came: the time of all that is written about it, so that reading it
            again gives the same files.
        current: Folder of `service.jobs.folders.current_report`; None for a report that stands for
            itself.
    """

    created: datetime
    current: Path | None = None

    def written(self, study_instance_uid: str) -> Written:
        """The standing of a new report of a study."""
        standing = self.current and current_report(self.current, study_instance_uid)
        return Written(self.created, supersedes=standing.content_key if standing else "")


def work_on(
    source: Path,
    results: Path,
    stages: Stages,
    on_stage: Callable[[str], None],
    filing: Filing | None = None,
) -> Outcome:
    """Read a study and write its report.

    Args:
        source: Folder, zip archive or file.
        results: Empty folder that receives the outputs.
        stages: The opened pipeline.
        on_stage: Told each stage as it begins.
        filing: When the study came, and where the reports that stand are noted; None for a
            first report that is written now.

    Returns:
        Succeeded, or refused when no sagittal spine MR series could be used.
    """
    result = report_on(source, stages, Clock(on_stage))
    written = None if filing is None else filing.written(result.report.study.study_instance_uid)
    write_outputs(result, results, FORMATS, written)
    key = content_key(result.report, result.ingested.headers) if result.usable else ""
    return outcome_of(result.report, key)


def outcome_of(report: StudyReport, key: str = "") -> Outcome:
    """What a report means for the job that made it."""
    refused = report.reference_series_uid is None
    return Outcome(
        state=JobState.REFUSED if refused else JobState.SUCCEEDED,
        reason=refusal_of(report) if refused else None,
        study_instance_uid=report.study.study_instance_uid,
        files_used=report.files.used,
        content_key=key,
        summary=summarise(report),
        stages_ms=dict(report.provenance.timings_ms),
    )


def refusal_of(report: StudyReport) -> JobReason:
    """Why a report has nothing to say: its abstentions, as one sentence each."""
    reasons = " ".join(dict.fromkeys(abstention.reason for abstention in report.abstentions))
    return JobReason(code="no_usable_series", message=reasons)


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
