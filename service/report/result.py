"""What a run over one study leaves: the report, and the arrays that the writers draw."""

from __future__ import annotations

from dataclasses import dataclass

from models.findings import Localisation, Scores
from service.ingest.records import Ingested
from service.report.document import StudyReport


@dataclass(frozen=True, slots=True)
class StudyResult:
    """A report with what it was made from.

    Attributes:
        localisation: None when no series was usable.
        scores: None when no series was usable.
    """

    report: StudyReport
    ingested: Ingested
    localisation: Localisation | None
    scores: Scores | None

    @property
    def usable(self) -> bool:
        """Whether a sagittal spine MR series could be read; without one the report says why."""
        return self.ingested.volumes is not None
