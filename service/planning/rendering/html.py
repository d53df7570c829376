"""The planning document as one HTML page: read on a screen, printed on two sheets of A4.

The first sheet says what speaks for and against, what is missing and where the target lies; the
second holds the checklists. Every rule that was asked, with the values it saw, follows below on the
screen only; the JSON holds the same.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from service.planning.document import (
    Consideration,
    FiredRule,
    LevelPlan,
    PlanningDocument,
    ProcedureSection,
    SeenValue,
    SourceReference,
    UndecidedRule,
)
from service.planning.model import Candidate, Evidence, Outcome, SectionKind, Topic
from service.planning.rendering.picture import (
    NOTE,
    KeyImageFile,
    target_diagram,
    target_picture,
)
from service.planning.rendering.words import OUTCOME_WORDS, ROUTE_WORDS
from service.planning.sentences import NOT_KNOWN, written
from service.report.document import GeometryReport, StudyReport, TargetReport
from service.report.markup import Markup, element, join

SHEETS: Final = 2
"""Levels with a technical sheet on the printed page; further ones are on the screen and in the
JSON, and the page says so."""

COLUMNS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("Acuity", ("acuity", "unhealed_probability")),
    ("Edema", ("edema_extent_percent",)),
    ("Etiology", ("etiology", "pathological_probability")),
    ("Height loss", ("height_loss_percent",)),
    ("Wall: convex / retropulsed", ("wall_convexity_mm", "retropulsion_mm")),
    ("Wall on CT", ("posterior_wall_intact_on_ct",)),
    ("Canal AP / compromise", ("canal_ap_mm", "canal_compromise_percent")),
    ("Pedicle", ("pedicle_width_mm",)),
    ("Volume / 15 % / 24 %", ("body_volume_ml", "volume_15_percent_ml", "volume_24_percent_ml")),
    ("Kyphosis", ("kyphosis_degrees",)),
    ("Cleft", ("sign_intravertebral_cleft",)),
    ("Cement", ("mimic_cement", "cement_reported_here")),
    ("Neighbour fractured", ("adjacent_fracture",)),
)
"""Columns of the table of levels, and the inputs that each shows."""

SHEET_TOPICS: Final = (Topic.ROUTE, Topic.BIOPSY, Topic.LEAKAGE, Topic.CEMENT, Topic.APPROACH)


def to_html(
    document: PlanningDocument,
    report: StudyReport | None = None,
    images: Mapping[int, KeyImageFile] | None = None,
) -> str:
    """Write the page.

    Args:
        document: What to show.
        report: The report it was made from, for the diagrams; without it they are straight.
        images: Key images by `label_value`, for the target to be drawn on.
    """
    geometry = {level.label_value: level.geometry for level in report.levels} if report else {}
    style = _style()
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=content_security_policy()),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", "Vertebroplasty planning document"),
        # The style sheet is ours and is hashed in the policy as it stands.
        element("style", Markup(style)),
    )
    first = element(
        "section",
        _header(document),
        _standing(document),
        element("div", _patient(document), _open(document), class_="columns"),
        _levels(document),
        _sheets(document, geometry, images or {}),
        _footer(document, 1),
        class_="page",
    )
    second = element("section", _checklists(document), _footer(document, 2), class_="page second")
    body = element("body", first, second, _trace(document))
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
    return files("service.planning.rendering").joinpath("planning.css").read_text("utf-8")


def _header(document: PlanningDocument) -> Markup:
    signature = document.signature
    signed = (
        element("span", "Draft, not signed", class_="status")
        if signature is None
        else element(
            "span",
            f"Signed by {signature.name}, {signature.signed:%Y-%m-%d %H:%M %Z}",
            class_="status signed",
        )
    )
    return element(
        "header",
        element("h1", "Vertebroplasty planning document"),
        signed,
        element(
            "p",
            element("b", f"Profile: {document.profile.title}"),
            f" ({document.profile.name} {document.profile.version}). {document.profile.basis} ",
            f"Technical table {document.technique.version}, checklists "
            f"{document.checklists.version}.",
        ),
        element("p", document.statement, class_="statement"),
    )


def _standing(document: PlanningDocument) -> Markup:
    patient = document.patient
    session = document.session
    order = [
        f"{_title(item.level, item.label_value)} (session {item.session})"
        for item in session.levels
    ]
    first = [
        f"{_title(item.level, item.label_value)}: {ROUTE_WORDS[item.route].lower()}"
        for item in session.routed_first
    ]
    lines = [
        ("Patient", _chip(patient.outcome)),
        ("Comes first", element("b", ROUTE_WORDS[patient.route])),
        ("Order of levels", join(", ".join(order) or "none is open for discussion")),
        ("Settled before", join("; ".join(first))) if first else None,
    ]
    return element(
        "dl",
        *(
            element("div", element("dt", line[0]), element("dd", line[1]))
            for line in lines
            if line is not None
        ),
        class_="standing",
    )


def _patient(document: PlanningDocument) -> Markup:
    fired = sorted(document.patient.fired, key=lambda rule: -rule.outcome.strength)
    against = [rule for rule in fired if rule.outcome is not Outcome.ELIGIBLE_FOR_DISCUSSION]
    speaks_for = [rule for rule in fired if rule.outcome is Outcome.ELIGIBLE_FOR_DISCUSSION]
    return element(
        "div",
        element("h2", "Patient: speaks against, or asks for review"),
        _rules(against, "Nothing that is known."),
        element("h2", "Patient: speaks for"),
        _rules(speaks_for, "Nothing that is known."),
    )


def _open(document: PlanningDocument) -> Markup:
    named = [value.label for value in document.missing]
    undecided = document.patient.undecided
    questions = (item for item in document.patient.considerations if item.topic is Topic.IMAGING)
    return element(
        "div",
        element("h2", "Missing: what the rules asked for and did not get"),
        element("p", "; ".join(named) or "Nothing.", class_="missing"),
        element(
            "p",
            f"{len(undecided)} rules of the patient stay open for it; none of it is taken as "
            "normal.",
            class_="soft",
        )
        if undecided
        else None,
        element("h2", "Images and tests still to come"),
        _considerations(questions, "None is asked for."),
    )


def _levels(document: PlanningDocument) -> Markup:
    looked_at = [level for level in document.levels if level.candidate is not Candidate.NO]
    others = [level.title for level in document.levels if level.candidate is Candidate.NO]
    heads = ("Level", "Outcome", *(name for name, _ in COLUMNS))
    table = element(
        "table",
        element("thead", element("tr", *(element("th", name) for name in heads))),
        element("tbody", *(_row(level) for level in looked_at)),
        class_="levels",
    )
    return element(
        "section",
        element("h2", "Candidate levels, as measured on these images"),
        table if looked_at else element("p", "No level is a candidate on these images."),
        element(
            "p",
            "Not candidates: " + ", ".join(others) + ". " if others else None,
            "The cortex of the posterior wall is not assessable on MRI alone: CT. Widths of "
            "pedicles are given where slices allow, else not known. Volumes are no dose.",
            class_="soft",
        ),
    )


def _row(level: LevelPlan) -> Markup:
    seen = {value.input: value for value in level.values}
    name = level.title
    if level.level_confidence is not None:
        name = f"{name} ({100 * level.level_confidence:.0f} %)"
    return element(
        "tr",
        element("th", name),
        element("td", _chip(level.outcome) if level.outcome else None),
        *(
            element("td", _joined(seen[name] for name in inputs if name in seen))
            for _, inputs in COLUMNS
        ),
    )


def _joined(values: Iterable[SeenValue]) -> str:
    texts = [written(value.value, value.unit) for value in values]
    return " / ".join("?" if text == NOT_KNOWN else text for text in texts)


def _sheets(
    document: PlanningDocument,
    geometry: Mapping[int, GeometryReport | None],
    images: Mapping[int, KeyImageFile],
) -> Markup | None:
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
    sheets = [
        _sheet(
            level,
            geometry.get(level.label_value),
            images.get(level.label_value),
            printed=place < SHEETS,
        )
        for place, level in enumerate(levels)
    ]
    rest = [level.title for level in levels[SHEETS:]]
    more = f"Technical sheets of {', '.join(rest)}: on the screen and in the JSON." if rest else ""
    return element(
        "section",
        *sheets,
        element("p", more, class_="soft printed") if more else None,
        class_="sheets",
    )


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
        element("h2", f"{level.title}: technical sheet ", _chip(level.outcome)),
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
            _rules(fired, ""),
            _considerations(said, ""),
        ),
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


def _checklists(document: PlanningDocument) -> Markup:
    def of(*kinds: SectionKind) -> Iterator[ProcedureSection]:
        return (section for section in document.procedure if section.kind in kinds)

    lists = element(
        "div",
        *(_checklist(section) for section in of(SectionKind.CHECKLIST, SectionKind.STOP_RULES)),
        class_="checklists",
    )
    below = element(
        "div",
        *(_checklist(section) for section in of(SectionKind.RATES, SectionKind.EVIDENCE)),
        class_="columns",
    )
    return element(
        "div",
        element("h1", "The procedure"),
        lists,
        below,
        element("h2", "Sources"),
        element("ol", *(element("li", text) for text in _sources(document)), class_="sources"),
        element("p", "Name, signature, date:", class_="sign"),
    )


def _checklist(section: ProcedureSection) -> Markup:
    boxed = section.kind is SectionKind.CHECKLIST
    return element(
        "section",
        element("h2", section.title),
        element(
            "ul",
            *(
                element("li", item.sentence, _doubt(item.source), _id(item.id), class_=section.kind)
                for item in section.items
            ),
            class_="boxes" if boxed else None,
        ),
        class_=f"list {section.kind}",
    )


def _sources(document: PlanningDocument) -> list[str]:
    """Every source of a sentence that is shown, each once, in order of the document."""
    found: dict[str, None] = {}
    rules: list[FiredRule | UndecidedRule | Consideration] = [
        *document.patient.fired,
        *document.patient.undecided,
        *document.patient.considerations,
    ]
    for level in document.levels:
        found[level.reason.source.text] = None
        rules += (*level.fired, *level.undecided)
        if level.technique is not None:
            rules += level.technique.considerations
            found[level.technique.approach.source.text] = None
    for rule in rules:
        found[rule.source.text] = None
    for section in document.procedure:
        for item in section.items:
            found[item.source.text] = None
    return list(found)


def _trace(document: PlanningDocument) -> Markup:
    """Every rule that was asked and is not silent, with what it saw; for the screen."""
    parts: list[Markup] = [_traced("Patient", document.patient.fired, document.patient.undecided)]
    parts += [
        _traced(level.title, level.fired, level.undecided)
        for level in document.levels
        if level.candidate is not Candidate.NO
    ]
    unread = [f"{item.where}: {item.code} ({item.detail})" for item in document.unread]
    return element(
        "section",
        element("h1", "Every rule that fired or stays open"),
        *parts,
        element("h2", "Not used of the clinical data") if unread else None,
        element("ul", *(element("li", line) for line in unread)) if unread else None,
        class_="trace",
    )


def _traced(title: str, fired: Sequence[FiredRule], undecided: Sequence[UndecidedRule]) -> Markup:
    rows: list[tuple[FiredRule | UndecidedRule, str]] = [
        *((rule, OUTCOME_WORDS[rule.outcome]) for rule in fired),
        *((rule, f"Open: {OUTCOME_WORDS[rule.outcome].lower()}") for rule in undecided),
    ]
    return element(
        "details",
        element("summary", f"{title}: {len(fired)} fired, {len(undecided)} open"),
        element(
            "table",
            *(
                element(
                    "tr",
                    element("td", rule.id),
                    element("td", standing),
                    element("td", rule.sentence),
                    element("td", "; ".join(_seen(value) for value in rule.values)),
                    element("td", f"{rule.source.text}: {rule.source.where}", _doubt(rule.source)),
                )
                for rule, standing in rows
            ),
        ),
    )


def _seen(value: SeenValue) -> str:
    where = f"{value.level} " if value.level else ""
    return f"{where}{value.label}: {written(value.value, value.unit)}"


def _rules(rules: Sequence[FiredRule], nothing: str) -> Markup | None:
    if not rules:
        return element("p", nothing, class_="soft") if nothing else None
    return element(
        "ul",
        *(
            element(
                "li",
                element("b", "Urgent. ") if rule.urgent else None,
                rule.sentence,
                _doubt(rule.source),
                _id(rule.id),
                class_=rule.outcome,
            )
            for rule in rules
        ),
        class_="rules",
    )


def _considerations(items: Iterable[Consideration], nothing: str) -> Markup | None:
    lines = [
        element(
            "li",
            item.sentence,
            None if item.decided else element("i", " (open)"),
            _doubt(item.source),
            _id(item.id),
        )
        for item in items
    ]
    if not lines:
        return element("p", nothing, class_="soft") if nothing else None
    return element("ul", *lines, class_="rules")


def _doubt(source: SourceReference) -> Markup | None:
    """A mark at what is to be looked up before it is quoted."""
    if source.evidence is not Evidence.TO_BE_CHECKED:
        return None
    return element("sup", "†", title="to be checked in its source before it is quoted")


def _id(name: str) -> Markup:
    return element("span", f" {name}", class_="id")


def _chip(outcome: Outcome | None) -> Markup:
    if outcome is None:
        return element("span", "Not a candidate", class_="chip")
    return element("span", OUTCOME_WORDS[outcome], class_=f"chip {outcome}")


def _footer(document: PlanningDocument, number: int) -> Markup:
    study = document.study.study_instance_uid or "unknown"
    return element(
        "footer",
        element("span", "Research use only; not for clinical decisions. Draft for discussion. "),
        element("span", f"Study {study}, {document.created:%Y-%m-%d %H:%M %Z}. "),
        element("span", f"{document.study.software}. † to be checked in its source. "),
        element("span", f"Page {number} of 2"),
    )


def _title(level: str | None, label_value: int) -> str:
    return level or f"Body {label_value}"


def _span(pair: tuple[float, float]) -> str:
    low, high = pair
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
