"""A candidate beside what serves: it reads every study, nobody sees its answer.

For every study one line of counts is appended to `<work dir>/shadow/<name>-<version>.jsonl`: how
often the two say what of each question; of a localiser also how far their bodies lie apart. No
study, level or person can be told from it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import structlog

from models.errors import AcuityError
from models.findings import LevelFindings, Localisation, Scores, StudyVolumes, Vertebra
from models.registry import Bundle
from service.pipeline import Localise, Score

log = structlog.get_logger()

FOLDER: Final = "shadow"
QUESTIONS: Final = ("edema", "fracture", "acuity", "etiology")
WITHHELD: Final = "withheld"

SAME_BODY_MM: Final = 12.0
"""Two bodies are one when their centres lie this near: half the distance of neighbours at most."""

APART_MM: Final = {"under 1": 1.0, "1 to 2": 2.0, "2 to 5": 5.0, "5 to 12": SAME_BODY_MM}
"""Steps in which distances of centres are counted, to their upper ends."""

Confusion = dict[str, dict[str, int]]
"""Question to "serving's answer>candidate's answer" to how often."""


class CountsUnreadableError(AcuityError):
    """A file of counts that is damaged or something else."""

    code: ClassVar[str] = "shadow_counts_unreadable"


@dataclass(frozen=True, slots=True)
class Counts:
    """Where the counts of a candidate go.

    Attributes:
        bundle: The candidate's.
        serving_sha256: Seal of the serving bundle.
        folder: Receives the file of counts; None keeps counts in the log only.
    """

    bundle: Bundle
    serving_sha256: str
    folder: Path | None

    def note(self, levels: int, calls: Confusion, **more: Mapping[str, int]) -> None:
        """Log how often the two differ, and append a line of counts.

        Args:
            levels: Bodies that were compared.
            calls: What was said of them.
            more: Other counts.
        """
        apart = {
            question: sum(number for pair, number in found.items() if not agreed(pair))
            for question, found in calls.items()
        }
        log.info("shadow_compared", bundle=self.bundle.name, levels=levels, **apart)
        if self.folder is None:
            return
        line = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "serving_sha256": self.serving_sha256,
            "candidate_sha256": self.bundle.sha256,
            "levels": levels,
            "calls": calls,
            **more,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.bundle.name}-{self.bundle.version}.jsonl"
        # One write of one short line: several workers may append to the same file.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)

    def failed(self, error: Exception) -> None:
        """Log that the candidate broke; it must never cost a report."""
        told = {"version": self.bundle.version, "error": type(error).__name__}
        log.warning("shadow_failed", bundle=self.bundle.name, **told)


@dataclass(frozen=True, slots=True)
class Shadowed:
    """Scores like the serving scorer, and lets a candidate score after it.

    Attributes:
        serving: Its answer is returned.
        candidate: Its answer is only compared.
        counts: Where to.
    """

    serving: Score
    candidate: Score
    counts: Counts

    def __call__(self, study: StudyVolumes, localisation: Localisation) -> Scores:
        """Score a study; whatever the candidate does, the serving answer is given."""
        scores = self.serving(study, localisation)
        try:
            calls = confusion(scores, self.candidate(study, localisation))
            self.counts.note(len(scores.levels), calls)
        except Exception as error:  # noqa: BLE001  a candidate must never cost a report
            self.counts.failed(error)
        return scores


@dataclass(frozen=True, slots=True)
class ShadowedBodies:
    """Localises like the serving localiser, and lets a candidate do it after it.

    Attributes:
        serving: Its answer is returned; the scorer sees no other.
        candidate: Its answer is only compared.
        counts: Where to.
    """

    serving: Localise
    candidate: Localise
    counts: Counts

    def __call__(self, study: StudyVolumes) -> Localisation:
        """Find bodies; whatever the candidate does, the serving answer is given."""
        localisation = self.serving(study)
        try:
            calls, apart = bodies_apart(localisation.vertebrae, self.candidate(study).vertebrae)
            self.counts.note(len(localisation.vertebrae), calls, apart_mm=apart)
        except Exception as error:  # noqa: BLE001  a candidate must never cost a report
            self.counts.failed(error)
        return localisation


def confusion(serving: Scores, candidate: Scores) -> Confusion:
    """What two scorers called of the same levels."""
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


def bodies_apart(
    serving: Sequence[Vertebra], candidate: Sequence[Vertebra]
) -> tuple[Confusion, dict[str, int]]:
    """Which bodies two localisers found, how they named those that both found, and how far apart.

    Returns:
        Counts for "body" (found or missed) and "name" (named, the candidate's perhaps otherwise,
        or withheld), and for each step of `APART_MM` how many centres lie in it.
    """
    pairs = _same_bodies(serving, candidate)
    body = Counter({"found>found": len(pairs)})
    body["found>missed"] = len(serving) - len(pairs)
    body["missed>found"] = len(candidate) - len(pairs)
    name: Counter[str] = Counter()
    apart = dict.fromkeys(APART_MM, 0)
    for one, other in pairs:
        name[_named(one.level, other.level)] += 1
        distance = _distance(one, other)
        apart[next(step for step, edge in APART_MM.items() if distance < edge)] += 1
    return {"body": dict(+body), "name": dict(name)}, apart


def _same_bodies(
    serving: Sequence[Vertebra], candidate: Sequence[Vertebra]
) -> list[tuple[Vertebra, Vertebra]]:
    """Bodies of the two, each with at most one other, the nearest pairs first."""
    near = sorted(
        (distance, i, j)
        for i, one in enumerate(serving)
        for j, other in enumerate(candidate)
        if (distance := _distance(one, other)) < SAME_BODY_MM
    )
    taken: tuple[set[int], set[int]] = (set(), set())
    pairs = []
    for _, i, j in near:
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            pairs.append((serving[i], candidate[j]))
    return pairs


def _distance(one: Vertebra, other: Vertebra) -> float:
    return float(np.linalg.norm(one.centroid_lps_mm - other.centroid_lps_mm))


def _named(serving: str | None, candidate: str | None) -> str:
    said = WITHHELD if candidate is None else "named"
    if None not in (serving, candidate) and serving != candidate:
        said = "named_otherwise"
    return f"{WITHHELD if serving is None else 'named'}>{said}"


def agreed(pair: str) -> bool:
    """Whether the two sides of "serving's answer>candidate's answer" are the same."""
    serving, _, candidate = pair.partition(">")
    return serving == candidate


@dataclass(frozen=True, slots=True)
class Summed:
    """The lines of a file of counts together.

    Attributes:
        studies: How many.
        calls: As `Confusion`.
        apart_mm: Steps of the distance of centres; empty for a scorer.
    """

    studies: int
    calls: Mapping[str, Mapping[str, int]]
    apart_mm: Mapping[str, int]


def summed(path: Path) -> Summed:
    """Add up a file of counts.

    Raises:
        CountsUnreadableError: It is none.
    """
    studies, calls, apart = 0, dict[str, Counter[str]](), Counter[str]()
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            told: dict[str, Any] = json.loads(line)
            studies += 1
            for question, found in told["calls"].items():
                calls.setdefault(question, Counter()).update(found)
            apart.update(told.get("apart_mm", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CountsUnreadableError("the file is not one of counts of a shadow") from error
    return Summed(studies, calls, apart)
