"""The technical sheet of a candidate level: approach, needle, target, and what to think of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.planning.document import LevelPlan, PlanningDocument
from service.planning.model import Candidate, Outcome, Topic
from service.planning.rendering.lists import chip, considerations_list, rules_list
from service.planning.rendering.picture import (
    NOTE,
    KeyImageFile,
    target_diagram,
    target_picture,
)
from service.planning.sentences import written
from service.report.document import GeometryReport, TargetReport
from service.report.markup import Markup, element

PAGE_LINES: Final = 92
"""Lines of print on a sheet of A4, about."""

SHEET_LINES: Final = 27
"""Lines that one technical sheet takes, about."""

LINE_LENGTH: Final = 72
"""Characters in a line of one of two columns, about."""

SHEET_TOPICS: Final = (Topic.ROUTE, Topic.BIOPSY, Topic.LEAKAGE, Topic.CEMENT, Topic.APPROACH)


def sheets(
    document: PlanningDocument,
    geometry: Mapping[int, GeometryReport | None],
    images: Mapping[int, KeyImageFile],
) -> Markup | None:
    """Technical sheets of the candidate levels, in the order of the session; None without any."""
    rank = {item.label_value: place for place, item in enumerate(document.session.levels)}
    levels = [level for level in document.levels if level.technique is not None]
    levels.sort(
        key=lambda level: (
            rank.get(level.label_value, len(rank)),
            -(level.outcome.openness if level.outcome else 0),
        )
    )
    if not levels:
        return None
    room = _room(document)
    parts = [
        _sheet(
            level,
            geometry.get(level.label_value),
            images.get(level.label_value),
            printed=place < room,
        )
        for place, level in enumerate(levels)
    ]
    rest = [level.title for level in levels[room:]]
    more = f"Technical sheets of {', '.join(rest)}: on the screen and in the JSON." if rest else ""
    return element(
        "section",
        *parts,
        element("p", more, class_="soft printed") if more else None,
        class_="sheets",
    )


def _room(document: PlanningDocument) -> int:
    """How many technical sheets fit on the first printed page, at least one.

    What does not is shown on the screen and is in the JSON, and the page says so.
    """
    patient = document.patient
    left = sum(_lines(rule.sentence) for rule in patient.fired) + 4
    right = _lines("; ".join(value.label for value in document.missing)) + 4
    right += sum(
        _lines(item.sentence) for item in patient.considerations if item.topic is Topic.IMAGING
    )
    rows = sum(level.candidate is not Candidate.NO for level in document.levels)
    used = 16 + max(left, right) + 3 * rows
    return max(1, min(2, (PAGE_LINES - used) // SHEET_LINES))


def _lines(text: str) -> int:
    return 1 + len(text) // LINE_LENGTH


def _sheet(
    level: LevelPlan,
    geometry: GeometryReport | None,
    image: KeyImageFile | None,
    *,
    printed: bool,
) -> Markup:
    technique = level.technique
    assert technique is not None  # noqa: S101  chosen by the caller
    approach = technique.approach
    gauge = approach.needle_gauge
    cement = approach.cement_ml
    facts = [
        ("Approach", f"{written(approach.approach)}. {approach.sentence}"),
        ("Needle", f"{_span(gauge)} gauge" if gauge else "not given for this level"),
        (
            "Cement",
            f"{_span(cement)} mL commonly; the operator decides" if cement else "not given",
        ),
        ("Target", _target_words(technique.target, technique.target_missing)),
        ("Notes", " ".join(approach.notes)),
    ]
    said = [item for item in technique.considerations if item.topic in SHEET_TOPICS]
    fired = [rule for rule in level.fired if rule.outcome is not Outcome.ELIGIBLE_FOR_DISCUSSION]
    fired.sort(key=lambda rule: -rule.outcome.strength)
    return element(
        "article",
        element("h2", f"{level.title}: technical sheet ", chip(level.outcome)),
        _picture(technique.target, geometry, image),
        element(
            "div",
            element("p", level.reason.sentence),
            element(
                "dl",
                *(
                    element("div", element("dt", name), element("dd", text))
                    for name, text in facts
                    if text
                ),
            ),
            rules_list(fired, ""),
        ),
        considerations_list(said, "", class_="rules wide"),
        class_="sheet" if printed else "sheet screen",
    )


def _picture(
    target: TargetReport | None, geometry: GeometryReport | None, image: KeyImageFile | None
) -> Markup | None:
    if target is None:
        return None
    if image is None:
        return element(
            "figure",
            target_diagram(target, geometry),
            element("figcaption", f"Body straightened, to scale; {NOTE}."),
        )
    beside = image.panel.beside_mm(target.point_lps_mm)
    return element(
        "figure",
        target_picture(target, image),
        element("figcaption", f"Target {beside:.0f} mm beside this slice; {NOTE}."),
    )


def _target_words(target: TargetReport | None, missing: str | None) -> str:
    if target is None:
        return f"not given: {written(missing or 'not_measured')}"
    x, y, z = target.point_lps_mm
    dx, dy, dz = target.uncertainty_lps_mm
    limited = "".join(f" Limited: {written(code)}." for code in target.limited_by)
    return (
        f"LPS {x:.1f}, {y:.1f}, {z:.1f} mm (± {dx:.1f}, {dy:.1f}, {dz:.1f}), "
        f"{100 * target.depth_fraction:.0f} % of the depth; {target.to_anterior_cortex_mm:.1f} mm "
        f"behind the anterior cortex, {target.to_posterior_wall_mm:.1f} mm before the posterior "
        f"wall, {target.to_superior_endplate_mm:.1f} and {target.to_inferior_endplate_mm:.1f} mm "
        f"from the endplates.{limited}"
    )


def _span(pair: tuple[float, float]) -> str:
    low, high = pair
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
