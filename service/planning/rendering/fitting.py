"""How much fits on the first printed sheet: the size of print, and how many technical sheets.

A page cannot tell how tall it will be printed, so lines are counted. What does not fit is on the
screen and in the JSON, and the sheet says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from service.planning.document import LevelPlan, PlanningDocument
from service.planning.model import Candidate, Topic


@dataclass(frozen=True, slots=True)
class Size:
    """A size of print, measured in a browser on pages of all kinds.

    Attributes:
        name: Class of the page in `planning.css`.
        scale: Print against the smallest.
        sheet: Lines of a technical sheet without its lists: pictures, approach, target, measures.
        most: Lines of the first page, in units of the smallest print, by number of sheets.
    """

    name: str
    scale: float
    sheet: float
    most: tuple[float, float, float]


SIZES: Final = (
    Size("large", 1.16, 24.0, (86.0, 86.0, 86.0)),
    Size("medium", 1.07, 21.0, (85.0, 85.0, 90.0)),
    Size("small", 1.0, 19.0, (90.0, 90.0, 96.0)),
)

COLUMN: Final = 76
"""Characters in a line of one of two columns of the smallest print."""

WHOLE: Final = 158
"""Characters in a line across the sheet."""

MOST_SHEETS: Final = 2


@dataclass(frozen=True, slots=True)
class Fit:
    """Attributes: `size`, a class of the page; `sheets`, how many technical sheets are printed."""

    size: str
    sheets: int


def fit(document: PlanningDocument) -> Fit:
    """Choose as many technical sheets as fit, then the largest print that still does."""
    candidates = sum(level.technique is not None for level in document.levels)
    for sheets in range(min(MOST_SHEETS, candidates), -1, -1):
        for size in SIZES:
            if _lines(document, sheets, size) * size.scale <= size.most[sheets]:
                return Fit(size.name, sheets)
    return Fit(SIZES[-1].name, 0)


def _lines(document: PlanningDocument, sheets: int, size: Size) -> float:
    """Lines of the first sheet, in print of this size."""
    patient = document.patient
    column = int(COLUMN / size.scale)
    whole = int(WHOLE / size.scale)
    left = 3 + _wrapped((rule.sentence for rule in patient.fired), column)
    right = 5 + _wrapped(("; ".join(value.label for value in document.missing),), column)
    imaging = (item for item in patient.considerations if item.topic is Topic.IMAGING)
    right += _wrapped((item.sentence for item in imaging), column)
    route = (item for item in patient.considerations if item.topic is Topic.ROUTE)
    left += _wrapped((item.sentence for item in route), column)
    rows = [level for level in document.levels if level.candidate is not Candidate.NO]
    taken = sorted((_sheet_lines(level, whole) for level in rows), reverse=True)[:sheets]
    return 13 + max(left, right) + 5 + 2.4 * len(rows) + sum(size.sheet + lines for lines in taken)


def _sheet_lines(level: LevelPlan, whole: int) -> float:
    """Lines of the lists of a technical sheet."""
    technique = level.technique
    if technique is None:
        return 0.0
    fired = _wrapped((rule.sentence for rule in level.fired), int(whole * 0.75))
    said = _wrapped((item.sentence for item in technique.considerations), whole // 3) / 3
    return fired + said


def _wrapped(texts: Iterable[str], width: int) -> int:
    return sum(1 + len(text) // width for text in texts)
