"""The technical sheet of a candidate level: approach, needle, target, and what to think of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from service.planning.document import Consideration, LevelPlan, PlanningDocument
from service.planning.model import Outcome, Topic
from service.planning.rendering.axial import axial_diagram
from service.planning.rendering.lists import chip, considerations_list, rules_list
from service.planning.rendering.measured import entry_words, measurements, target_words
from service.planning.rendering.picture import (
    NOTE,
    KeyImageFile,
    target_diagram,
    target_picture,
)
from service.planning.rendering.words import capital
from service.planning.sentences import written
from service.report.markup import Markup, element

AT_TOP: Final = (Topic.IMAGING, Topic.ROUTE)
"""Of the patient, these stand at the top of the page."""

TOPICS: Final = tuple(Topic)


def sheets(
    document: PlanningDocument, images: Mapping[int, KeyImageFile], printed: int
) -> Markup | None:
    """Technical sheets of the candidate levels, in the order of the session; None without any.

    Args:
        document: The plan.
        images: Key images by `label_value`.
        printed: How many of them are printed; the page names the rest.
    """
    levels = _ordered(document)
    if not levels:
        return None
    shared = {item.id for item in _shared(levels)}
    parts = [
        _sheet(level, images.get(level.label_value), shared, printed=place < printed)
        for place, level in enumerate(levels)
    ]
    rest = [level.title for level in levels[printed:]]
    more = f"Technical sheets of {', '.join(rest)}: on the screen and in the JSON." if rest else ""
    return element(
        "section",
        *parts,
        element("p", more, class_="soft printed") if more else None,
        class_="sheets",
    )


def for_all_levels(document: PlanningDocument) -> Markup | None:
    """What holds for every candidate level: of the patient, of the session, and what all share."""
    levels = _ordered(document)
    if not levels:
        return None
    of_patient = [item for item in document.patient.considerations if item.topic not in AT_TOP]
    said = [*of_patient, *_shared(levels), *document.session.reasons]
    said.sort(key=lambda item: TOPICS.index(item.topic))
    title = "At every candidate level, and for the session"
    return element(
        "section",
        element("h2", title),
        considerations_list(said, "", class_="rules wide"),
        class_="general",
    )


def _ordered(document: PlanningDocument) -> list[LevelPlan]:
    session = document.session
    inside = [item.label_value for item in session.levels]
    inside += [item.label_value for item in session.routed_first]
    rank = {label_value: place for place, label_value in enumerate(inside)}
    levels = [level for level in document.levels if level.technique is not None]
    levels.sort(
        key=lambda level: (
            rank.get(level.label_value, len(rank)),
            -(level.outcome.openness if level.outcome else 0),
        )
    )
    return levels


def _shared(levels: Sequence[LevelPlan]) -> list[Consideration]:
    """Considerations that are word for word the same at each of several levels."""
    lists = [level.technique.considerations for level in levels if level.technique is not None]
    if len(lists) < 2:
        return []
    others = [{(item.id, item.sentence) for item in items} for items in lists[1:]]
    return [item for item in lists[0] if all((item.id, item.sentence) in each for each in others)]


def _sheet(
    level: LevelPlan, image: KeyImageFile | None, shared: set[str], *, printed: bool
) -> Markup:
    technique = level.technique
    own = () if technique is None else technique.considerations
    said = [item for item in own if item.id not in shared]
    fired = [rule for rule in level.fired if rule.outcome is not Outcome.ELIGIBLE_FOR_DISCUSSION]
    fired.sort(key=lambda rule: -rule.outcome.strength)
    speaks_for = [rule for rule in level.fired if rule not in fired]
    return element(
        "article",
        element("h2", f"{level.title}: technical sheet ", chip(level.outcome)),
        _pictures(level, image),
        element(
            "div",
            element("p", level.reason.sentence, class_="screen"),
            rules_list([*fired, *speaks_for], ""),
            element("dl", *(_fact(name, text) for name, text in _facts(level) if text)),
            element("dl", *(_fact(name, text) for name, text in measurements(level.geometry))),
        ),
        considerations_list(said, "", class_="rules wide"),
        class_="sheet" if printed else "sheet screen",
    )


def _fact(name: str, text: str) -> Markup:
    return element("div", element("dt", name), element("dd", text))


def _facts(level: LevelPlan) -> Iterator[tuple[str, str]]:
    technique = level.technique
    if technique is None:
        return
    approach = technique.approach
    gauge, cement = approach.needle_gauge, approach.cement_ml
    notes = " ".join(approach.notes)
    yield "Approach", f"{capital(written(approach.approach))}. {approach.sentence} {notes}"
    needle = f"{_span(gauge)} gauge" if gauge else "not given for this level"
    volume = f"{_span(cement)} mL commonly; the operator decides" if cement else "not given"
    yield "Needle", f"{needle}. Cement: {volume}."
    yield "Target", target_words(technique.target, technique.target_missing)
    yield "Entry", entry_words(technique.target, level.geometry)


def _pictures(level: LevelPlan, image: KeyImageFile | None) -> Markup | None:
    """The target on the key image, or on a diagram; and the plane that sagittal slices lack."""
    target = None if level.technique is None else level.technique.target
    if target is None:
        return None
    if image is None:
        sagittal = target_diagram(target, level.geometry)
        caption = "Body straightened, to scale"
    else:
        sagittal = target_picture(target, image)
        caption = f"Target {image.panel.beside_mm(target.point_lps_mm):.0f} mm beside this slice"
    axial = None
    if level.body is not None:
        canal = None if level.geometry is None else level.geometry.canal
        axial = axial_diagram(target, level.body, canal)
        caption += "; below, from the feet"
    return element("figure", sagittal, axial, element("figcaption", f"{caption}; {NOTE}."))


def _span(pair: tuple[float, float]) -> str:
    low, high = pair
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
