"""A candidate scorer beside the serving one: it reads every study, nobody sees its answer.

For every study one line of counts is appended to `<work dir>/shadow/<name>-<version>.jsonl`: how
often the two say what of each question. No study, level or person can be told from it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from models.findings import LevelFindings, Localisation, Scores, StudyVolumes
from models.registry import Bundle
from service.pipeline import Score

log = structlog.get_logger()

FOLDER: Final = "shadow"
QUESTIONS: Final = ("edema", "fracture", "acuity", "etiology")
WITHHELD: Final = "withheld"


@dataclass(frozen=True, slots=True)
class Shadowed:
    """Scores like the serving scorer, and lets a candidate score after it.

    Attributes:
        serving: Its answer is returned.
        candidate: Its answer is only compared.
        bundle: The candidate's.
        serving_sha256: Seal of the serving bundle.
        folder: Receives the file of counts; None keeps counts in the log only.
    """

    serving: Score
    candidate: Score
    bundle: Bundle
    serving_sha256: str
    folder: Path | None

    def __call__(self, study: StudyVolumes, localisation: Localisation) -> Scores:
        """Score a study; whatever the candidate does, the serving answer is given."""
        scores = self.serving(study, localisation)
        try:
            self._note(scores, self.candidate(study, localisation))
        except Exception as error:  # noqa: BLE001  a candidate must never cost a report
            log.warning("shadow_failed", bundle=self.bundle.version, error=type(error).__name__)
        return scores

    def _note(self, serving: Scores, candidate: Scores) -> None:
        counts = confusion(serving, candidate)
        apart = {
            question: sum(number for pair, number in found.items() if len(set(pair.split(">"))) > 1)
            for question, found in counts.items()
        }
        log.info("shadow_compared", levels=len(serving.levels), **apart)
        if self.folder is None:
            return
        line = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "serving_sha256": self.serving_sha256,
            "candidate_sha256": self.bundle.sha256,
            "levels": len(serving.levels),
            "calls": counts,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.bundle.name}-{self.bundle.version}.jsonl"
        # One write of one short line: several workers may append to the same file.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)


def confusion(serving: Scores, candidate: Scores) -> dict[str, dict[str, int]]:
    """Question to "serving's call>candidate's call" to how many levels."""
    counts: dict[str, Counter[str]] = {question: Counter() for question in QUESTIONS}
    for one, other in zip(serving.levels, candidate.levels, strict=True):
        for question, pair in zip(
            QUESTIONS, zip(_calls(one), _calls(other), strict=True), strict=True
        ):
            counts[question][">".join(pair)] += 1
    return {question: dict(found) for question, found in counts.items()}


def _calls(level: LevelFindings) -> Iterator[str]:
    for question in QUESTIONS:
        finding = getattr(level, question)
        yield WITHHELD if finding is None else str(finding.call)


def summed(path: Path) -> tuple[int, Mapping[str, Mapping[str, int]]]:
    """Studies in a file of counts, and the counts of all together."""
    studies, total = 0, {question: Counter[str]() for question in QUESTIONS}
    for line in path.read_text(encoding="utf-8").splitlines():
        studies += 1
        for question, found in json.loads(line)["calls"].items():
            total[question].update(found)
    return studies, total
