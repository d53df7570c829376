"""The report as one HTML file that needs nothing else: no script, no request, pictures inside.

Slices are PNG, outlines and names are vector lines over them, and two switches hide either the
marks or the edema map, so that a reader sees the bare image first when they want to.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.report.account import account_section, provenance_footer
from service.report.cards import card, summary_table
from service.report.document import LevelReport, StudyReport
from service.report.drawing import Outline, StudyViews, View, views_of
from service.report.headline import (
    FINDING_TONES,
    ROLE_NAMES,
    TONE_NAMES,
    Tone,
    headline,
    level_title,
    picture_score,
    score_meaning,
    statement,
    tone_of,
)
from service.report.key_images import levels_by_index
from service.report.markup import Markup, element, join
from service.report.painting import (
    EVIDENCE_CAPTION,
    NAME_GAP_PX,
    evidence_palette,
    heat_palette,
)
from service.report.png import png
from service.report.result import StudyResult

CROP_PX_PER_MM: Final = 3.0
NAME_LINE_PX: Final = 17
NAME_PX_PER_LETTER: Final = 8.6
"""Of the picture's bold 15 px letters, on the wide side."""


def to_html(result: StudyResult, views: StudyViews | None = None) -> str:
    """Write a study's page; also for a study that could not be read, which then says why.

    Args:
        result: What to write.
        views: Its pictures, where another writer shares them.
    """
    report = result.report
    style = _style()
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=content_security_policy()),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", "Vertebral acuity report"),
        # The style sheet is ours and is hashed in the policy as it stands.
        element("style", Markup(style)),
    )
    switches = join(
        *(
            element("input", type="checkbox", class_="switch", id=name, checked="")
            for name in ("show-marks", "show-heat")
        )
    )
    main = element(
        "main",
        _headline(report),
        *_findings(result, views or views_of(result)),
        account_section(report),
    )
    body = element("body", switches, _header(report), main, provenance_footer(report))
    page: str = join(Markup("<!doctype html>\n"), element("html", head, body, lang="en"))
    return f"{page}\n"


@cache
def content_security_policy() -> str:
    """Give the policy under which the page works; a server may send it as a header as well."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )


@cache
def _style() -> str:
    return files("service.report").joinpath("templates", "report.css").read_text("utf-8")


def _header(report: StudyReport) -> Markup:
    return element(
        "header",
        element("h1", "Vertebral acuity report"),
        element("span", report.status, class_="status"),
        element("span", "Study ", report.study.study_instance_uid or "unknown", class_="uid"),
        element("p", statement(report), class_="statement"),
    )


def _headline(report: StudyReport) -> Markup:
    items = (
        element("li", _swatch(tone) if tone else None, element("span", sentence))
        for tone, sentence in headline(report)
    )
    return element("section", element("ul", *items), class_="headline panel")


def _findings(result: StudyResult, views: StudyViews | None) -> Iterator[Markup]:
    if views is None:
        return
    levels = levels_by_index(result)
    table = summary_table(result.report) if levels else None
    yield element("section", _pictures(views, levels), table, class_="reading")
    cards = {index: card(level, _crops(views, index, level)) for index, level in levels.items()}
    found = {index for index, level in levels.items() if tone_of(level) in FINDING_TONES}
    for heading, chosen in (
        ("Levels with a finding", [cards[index] for index in levels if index in found]),
        ("Other levels", [cards[index] for index in levels if index not in found]),
    ):
        if chosen:
            yield element("h2", heading)
            yield element("section", *chosen, class_="cards")


def _pictures(views: StudyViews, levels: dict[int, LevelReport]) -> Markup:
    figures = []
    for role in views.roles:
        view = views.overview(role)
        caption = (
            element("b", ROLE_NAMES[role]),
            f", slice {view.slice_index + 1} of {view.slice_count} from the right. ",
            score_meaning(levels.values(), role),
        )
        figures.append(_figure(views, view, levels, caption))
    switches = element(
        "div",
        element("h2", "Mid-sagittal"),
        element("label", "Outlines and names", for_="show-marks"),
        element("label", "Edema map", for_="show-heat") if views.has_heat else None,
        element("span", "Click a body for its findings.", class_="hint") if levels else None,
        class_="switches",
    )
    pictures = element("div", *figures, class_="pictures")
    return element("div", switches, pictures, class_="overview")


def _crops(views: StudyViews, index: int, level: LevelReport) -> Markup:
    figures = []
    for role in views.roles:
        view = views.crop(role, index, CROP_PX_PER_MM)
        caption = (ROLE_NAMES[role], f", slice {view.slice_index + 1}")
        figures.append(_figure(views, view, {index: level}, caption, named=False))
    if views.explains(index):
        view = views.crop(views.evidence_role, index, CROP_PX_PER_MM)
        caption = (f"Evidence on {ROLE_NAMES[view.role]}: ", EVIDENCE_CAPTION)
        figures.append(_evidence_figure(views, view, {index: level}, caption))
    return element("div", *figures, class_="crops")


def _figure(
    views: StudyViews,
    view: View,
    levels: dict[int, LevelReport],
    caption: tuple[str | None, ...],
    *,
    named: bool = True,
) -> Markup:
    layers = [_layer(view, png(view.grey))]
    heat = views.heat(view)
    if heat is not None:
        layers.append(_layer(view, png(heat, heat_palette()), class_="heat"))
    return _layered(views, view, levels, caption, (layers, named))


def _evidence_figure(
    views: StudyViews, view: View, levels: dict[int, LevelReport], caption: tuple[str | None, ...]
) -> Markup:
    """The slice again, with what speaks for and against a pathological cause."""
    layers = [_layer(view, png(view.grey))]
    evidence = views.evidence(view)
    if evidence is not None:
        layers.append(_layer(view, png(evidence, evidence_palette()), class_="heat"))
    return _layered(views, view, levels, caption, (layers, False))


def _layered(
    views: StudyViews,
    view: View,
    levels: dict[int, LevelReport],
    caption: tuple[str | None, ...],
    painted: tuple[list[Markup], bool],
) -> Markup:
    """Lay outlines over painted layers; `painted` holds these and whether levels are named."""
    # Slice, maps and lines share one coordinate system, so that no layout can part them.
    width, height = view.size
    layers, named = painted
    outlines = views.outlines(view, levels)
    marks = (_mark(outline, levels[outline.index], view, named=named) for outline in outlines)
    picture = element(
        "svg",
        element("title", f"{ROLE_NAMES[view.role]}, sagittal slice {view.slice_index + 1}"),
        *layers,
        element("g", *marks, class_="marks"),
        class_="picture",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
    )
    return element("figure", picture, element("figcaption", *caption))


def _layer(view: View, image: bytes, class_: str | None = None) -> Markup:
    source = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    width, height = view.size
    return element("image", href=source, width=width, height=height, class_=class_)


def _mark(outline: Outline, level: LevelReport, view: View, *, named: bool) -> Markup:
    tone = tone_of(level)
    title = f"{level_title(level)}: {TONE_NAMES[tone].lower()}"
    shape = element("path", d="".join(map(_path, outline.lines)))
    if not named:
        return element("g", shape, class_=tone)
    x, y = outline.name_at
    score = picture_score(level, view.role) if tone in FINDING_TONES else None
    lines = [level_title(level), *([score] if score else [])]
    # Beside a body near the picture's edge the name runs over the body rather than out of sight.
    right = max(x - NAME_GAP_PX, max(map(len, lines)) * NAME_PX_PER_LETTER)
    first = max(y - NAME_LINE_PX * (len(lines) - 1) / 2, NAME_LINE_PX / 2)
    spans = (
        element("tspan", line, x=f"{right:.1f}", y=f"{first + NAME_LINE_PX * row:.1f}")
        for row, line in enumerate(lines)
    )
    name = element("text", *spans)
    target = f"#level-{level.label_value}"
    return element("a", element("title", title), shape, name, href=target, class_=tone)


def _path(line: NDArray[np.float64]) -> str:
    points = "L".join(["%.1f %.1f"] * len(line)) % tuple(line.ravel().tolist())
    return f"M{points}Z"


def _swatch(tone: Tone) -> Markup:
    return element("span", class_=f"swatch {tone}")
