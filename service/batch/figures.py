"""Counts and distributions over a batch: what its summary says, gathered study by study."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nlargest
from statistics import median
from typing import Final

from models.findings import Acuity, Call, Etiology
from service.batch.journal import Journal, StudyRow, StudyState
from service.report.document import LevelReport, StudyReport

UNNAMED: Final = "unnamed"
NOT_SAID: Final = "not_said"
"""In place of a call that is null; the report's abstentions say why."""

QUESTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "edema": (*(call.value for call in Call), NOT_SAID),
    "fracture": (*(call.value for call in Call), NOT_SAID),
    "acuity": (*(call.value for call in Acuity), NOT_SAID),
    "etiology": (*(call.value for call in Etiology), NOT_SAID),
}
"""What is asked of a level, and the answers there are."""

SLOWEST: Final = 10


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Milliseconds that a stage took over all studies.

    Attributes:
        share: Of the time that all stages took together.
    """

    stage: str
    median_ms: float
    late_ms: float
    longest_ms: float
    share: float


@dataclass(slots=True)
class Figures:
    """Filled by `add_report` and `add_studies`."""

    states: dict[StudyState, int] = field(default_factory=dict)
    levels: int = 0
    calls: dict[str, Counter[str]] = field(
        default_factory=lambda: {question: Counter() for question in QUESTIONS}
    )
    by_level: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    study_codes: Counter[tuple[str, str]] = field(default_factory=Counter)
    file_codes: Counter[str] = field(default_factory=Counter)
    refused_files: Mapping[str, int] = field(default_factory=dict)
    abstentions: Counter[str] = field(default_factory=Counter)
    software: Counter[str] = field(default_factory=Counter)
    slowest: list[tuple[float, str]] = field(default_factory=list)
    _stage_ms: dict[str, array[float]] = field(default_factory=dict)

    def add_report(self, report: StudyReport) -> None:
        """Count what a report says."""
        self.levels += len(report.levels)
        for level in report.levels:
            self._add_level(level)
        self.file_codes.update(file.code for file in report.files.refused)
        self.abstentions.update({item.code for item in report.abstentions})
        bundles = (f"{bundle.name} {bundle.version}" for bundle in report.provenance.bundles)
        self.software[", ".join((report.provenance.software, *bundles))] += 1

    def add_studies(self, journal: Journal) -> None:
        """Count where every study stands, and how long it took."""
        self.states = journal.counts()
        self.refused_files = journal.refused_files()
        self.slowest = nlargest(SLOWEST, self._timed(journal.studies()))

    def stage_times(self) -> list[StageTimes]:
        """Every stage, the one that took most first."""
        total = sum(map(sum, self._stage_ms.values())) or 1.0
        times = [
            StageTimes(stage, median(ms), _percentile(ms, 0.95), max(ms), sum(ms) / total)
            for stage, ms in self._stage_ms.items()
        ]
        return sorted(times, key=lambda each: -each.share)

    def _add_level(self, level: LevelReport) -> None:
        called = level.level or UNNAMED
        self.by_level[called]["levels"] += 1
        for question, counted in self.calls.items():
            part = getattr(level, question)
            answer = NOT_SAID if part is None else part.call.value
            counted[answer] += 1
            self.by_level[called][f"{question} {answer}"] += 1

    def _timed(self, studies: Iterable[StudyRow]) -> Iterable[tuple[float, str]]:
        for study in studies:
            reason = study.outcome.get("reason")
            if reason:
                self.study_codes[study.state.value, str(reason["code"])] += 1
            stages: Mapping[str, float] = study.outcome.get("stages_ms") or {}
            for stage, milliseconds in stages.items():
                self._stage_ms.setdefault(stage, array("d")).append(milliseconds)
            if study.folder is not None and stages:
                yield sum(stages.values()), study.folder


def _percentile(values: array[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
