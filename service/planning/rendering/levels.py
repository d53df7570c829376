"""The table of candidate levels: what the reading says of each, and what the rules come to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from service.planning.document import LevelPlan, PlanningDocument, SeenValue
from service.planning.model import Candidate
from service.planning.rendering.lists import chip
from service.planning.sentences import NOT_KNOWN, written
from service.report.markup import Markup, element

COLUMNS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("Pain confirmed", ("pain_confirmed_here",)),
    ("Acuity, unhealed", ("acuity", "unhealed_probability")),
    ("Edema of body", ("edema_extent_percent",)),
    ("Etiology, pathological", ("etiology", "pathological_probability")),
    ("Height loss, shape", ("height_loss_percent", "fracture_shape")),
    ("Cleft", ("sign_intravertebral_cleft",)),
    ("Cement seen, reported", ("mimic_cement", "cement_reported_here")),
    ("Neighbour fractured", ("adjacent_fracture",)),
)
"""Columns, and the inputs that each shows; measurements are on the technical sheets."""


def levels_table(document: PlanningDocument) -> Markup:
    """The candidate levels, and the names of those that are none."""
    looked_at = [level for level in document.levels if level.candidate is not Candidate.NO]
    others = [level.title for level in document.levels if level.candidate is Candidate.NO]
    heads = ("Level, certainty", "Outcome", *(name for name, _ in COLUMNS))
    table = element(
        "table",
        element("thead", element("tr", *(element("th", name) for name in heads))),
        element("tbody", *(_row(level) for level in looked_at)),
        class_="levels",
    )
    return element(
        "section",
        element("h2", "Candidate levels, as read on these images"),
        table if looked_at else element("p", "No level is a candidate on these images."),
        element("p", f"Not candidates: {', '.join(others)}.", class_="soft") if others else None,
    )


def _row(level: LevelPlan) -> Markup:
    seen = {value.input: value for value in level.values}
    sure = "" if level.level_confidence is None else f" {100 * level.level_confidence:.0f} %"
    return element(
        "tr",
        element("th", level.title, element("span", sure, class_="sure")),
        element("td", chip(level.outcome) if level.outcome else None),
        *(
            element("td", _joined(seen[name] for name in inputs if name in seen))
            for _, inputs in COLUMNS
        ),
    )


def _joined(values: Iterable[SeenValue]) -> str:
    """Write the values of a cell; one "not known" stands for several."""
    texts = [written(value.value, value.unit) for value in values]
    known = [text for text in texts if text != NOT_KNOWN]
    return ", ".join(known) or NOT_KNOWN
