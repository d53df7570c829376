"""The planning document as one HTML page: read on a screen, printed on two sheets of A4.

The first sheet says what speaks for and against, what is missing and where the target lies; the
second what was given of the patient, what holds for every level, and the checklists. Every rule
that was asked, with the values it saw, follows below on the screen only; the JSON holds the same.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from service.planning.document import LevelPlan, PlanningDocument
from service.planning.inputs import Origin, vocabulary
from service.planning.model import Candidate, Outcome, Topic
from service.planning.rendering.fitting import fit
from service.planning.rendering.levels import levels_table
from service.planning.rendering.lists import (
    checklists,
    chip,
    considerations_list,
    rules_list,
    trace,
)
from service.planning.rendering.picture import KeyImageFile
from service.planning.rendering.sheets import for_all_levels, sheets
from service.planning.rendering.words import ROUTE_WORDS
from service.planning.sentences import written
from service.report.markup import Markup, element, join


def to_html(document: PlanningDocument, images: Mapping[int, KeyImageFile] | None = None) -> str:
    """Write the page.

    Args:
        document: What to show.
        images: Key images by `label_value`, for the target to be drawn on; a level without one has
            a diagram.
    """
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
    fitted = fit(document)
    first = element(
        "section",
        _header(document),
        _standing(document),
        element("div", _patient(document), _open(document), class_="columns"),
        levels_table(document),
        sheets(document, images or {}, fitted.sheets),
        _footer(document, 1),
        class_=f"page {fitted.size}",
    )
    second = element(
        "section",
        _given(document),
        for_all_levels(document),
        checklists(document),
        _footer(document, 2),
        class_="page second",
    )
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
        element("span", f"From a {document.study.report_status} report", class_="status report"),
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
        f"{_title(item.level, item.label_value)} ({item.route})" for item in session.routed_first
    ]
    lines = [
        ("Levels", _chips(document)),
        ("Patient, levels apart", chip(patient.outcome)),
        ("Comes first", element("b", ROUTE_WORDS[patient.route])),
        ("Order of levels", join(", ".join(order) or "no level is in the order")),
        ("Settled before", join(", ".join(first))) if first else None,
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


def _chips(document: PlanningDocument) -> Markup:
    looked_at = [level for level in document.levels if level.candidate is not Candidate.NO]
    if not looked_at:
        return join("no level is a candidate")
    return element("span", *(_named(level) for level in looked_at), class_="chips")


def _named(level: LevelPlan) -> Markup:
    return element("span", element("b", level.title), " ", chip(level.outcome))


def _patient(document: PlanningDocument) -> Markup:
    fired = sorted(document.patient.fired, key=lambda rule: -rule.outcome.strength)
    against = [rule for rule in fired if rule.outcome is not Outcome.ELIGIBLE_FOR_DISCUSSION]
    speaks_for = [rule for rule in fired if rule.outcome is Outcome.ELIGIBLE_FOR_DISCUSSION]
    route = [item for item in document.patient.considerations if item.topic is Topic.ROUTE]
    return element(
        "div",
        element("h2", "Patient: speaks against, or asks for review"),
        rules_list(against, "Nothing that is known."),
        considerations_list(route, ""),
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


def _given(document: PlanningDocument) -> Markup:
    """What was given of the patient, so that a reader sees what the plan was made from."""
    given = document.clinical.model_dump(exclude={"schema_version"})
    words, absent = [], []
    for name, spec in vocabulary().items():
        value = given.get(name)
        if spec.origin is not Origin.CLINICAL or value is None:
            continue
        if isinstance(value, list | tuple):
            words.append(f"{spec.label}: {', '.join(written(item) for item in value) or 'none'}")
        elif value in (False, "none"):
            absent.append(spec.label)
        else:
            words.append(f"{spec.label}: {written(value, spec.unit)}")
    if absent:
        words.append(f"no, or none: {', '.join(absent)}")
    unread = len(document.unread)
    return element(
        "section",
        element("h2", "Given of the patient"),
        element("p", "; ".join(words) or "Nothing.", "." if words else None, class_="given"),
        element("p", f"Not used of what was sent: {unread}, listed below.", class_="soft")
        if unread
        else None,
    )


def _footer(document: PlanningDocument, number: int) -> Markup:
    study = document.study.study_instance_uid or "unknown"
    standing = "Draft for discussion" if document.signature is None else "Signed for discussion"
    return element(
        "footer",
        element("span", f"Research use only; not for clinical decisions. {standing}. "),
        element("span", f"Study {study}, {document.created:%Y-%m-%d %H:%M %Z}. "),
        element("span", f"{document.study.software}. † to be checked in its source. "),
        element("span", f"Page {number} of 2"),
    )


def _title(level: str | None, label_value: int) -> str:
    return level or f"Body {label_value}"
