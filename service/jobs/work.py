"""One study through the pipeline, into a result folder. Runs inside the inference worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from models.findings import Acuity, Call, Etiology
from service.jobs.job import CallSummary, JobReason, JobState, Outcome
from service.pipeline import Clock, Stages, report_on
from service.report.document import LevelReport, StudyReport
from service.report.headline import level_title
from service.report.outputs import Format, write_outputs

FORMATS: Final = (Format.JSON, Format.HTML, Format.PNG, Format.NII)
"""What the service keeps of every study."""


def work_on(
    source: Path, results: Path, stages: Stages, on_stage: Callable[[str], None]
) -> Outcome:
    """Read a study and write its report.

    Args:
        source: Folder, zip archive or file.
        results: Empty folder that receives the outputs.
        stages: The opened pipeline.
        on_stage: Told each stage as it begins.

    Returns:
        Succeeded, or refused when no sagittal spine MR series could be used.
    """
    result = report_on(source, stages, Clock(on_stage))
    write_outputs(result, results, FORMATS)
    return outcome_of(result.report)


def outcome_of(report: StudyReport) -> Outcome:
    """What a report means for the job that made it."""
    refused = report.reference_series_uid is None
    return Outcome(
        state=JobState.REFUSED if refused else JobState.SUCCEEDED,
        reason=refusal_of(report) if refused else None,
        study_instance_uid=report.study.study_instance_uid,
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
