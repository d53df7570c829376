"""The planning document as one HTML page: read on a screen, printed on two sheets of A4.

The first sheet says what speaks for and against, what is missing and where the target lies; the
second holds the checklists. Every rule that was asked, with the values it saw, follows below on the
screen only; the JSON holds the same.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from service.planning.document import LevelPlan, PlanningDocument, SeenValue
from service.planning.model import Candidate, Outcome, Topic
from service.planning.rendering.lists import (
    checklists,
    chip,
    considerations_list,
    rules_list,
    trace,
)
from service.planning.rendering.picture import KeyImageFile
from service.planning.rendering.sheets import sheets
from service.planning.rendering.words import ROUTE_WORDS, first_low
from service.planning.sentences import NOT_KNOWN, written
from service.report.document import StudyReport
from service.report.markup import Markup, element, join

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
        sheets(document, geometry, images or {}),
        _footer(document, 1),
        class_="page",
    )
    second = element("section", checklists(document), _footer(document, 2), class_="page second")
    body = element("body", first, second, trace(document))
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
        f"{_title(item.level, item.label_value)}: {first_low(ROUTE_WORDS[item.route])}"
        for item in session.routed_first
    ]
    lines = [
        ("Patient, levels apart", chip(patient.outcome)),
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
        rules_list(against, "Nothing that is known."),
        element("h2", "Patient: speaks for"),
        rules_list(speaks_for, "Nothing that is known."),
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
        considerations_list(questions, "None is asked for."),
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
        element("td", chip(level.outcome) if level.outcome else None),
        *(
            element("td", _joined(seen[name] for name in inputs if name in seen))
            for _, inputs in COLUMNS
        ),
    )


def _joined(values: Iterable[SeenValue]) -> str:
    texts = [written(value.value, value.unit) for value in values]
    return " / ".join("?" if text == NOT_KNOWN else text for text in texts)


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
