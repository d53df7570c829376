"""Lists of the planning page: rules with their ids, checklists, sources, and the whole trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from service.planning.document import (
    Consideration,
    FiredRule,
    PlanningDocument,
    ProcedureSection,
    SeenValue,
    SourceReference,
    UndecidedRule,
)
from service.planning.model import Candidate, Evidence, Outcome, SectionKind
from service.planning.rendering.words import OUTCOME_WORDS
from service.planning.sentences import written
from service.report.markup import Markup, element


def checklists(document: PlanningDocument) -> Markup:
    """The second sheet: checklists, rates, what is disputed, and the sources."""

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


def trace(document: PlanningDocument) -> Markup:
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


def rules_list(rules: Sequence[FiredRule], nothing: str) -> Markup | None:
    """Rules with their sentences; `nothing` where there is none."""
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


def considerations_list(
    items: Iterable[Consideration], nothing: str, class_: str = "rules"
) -> Markup | None:
    """Considerations with their sentences; `nothing` where there is none."""
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
    return element("ul", *lines, class_=class_)


def _doubt(source: SourceReference) -> Markup | None:
    """A mark at what is to be looked up before it is quoted."""
    if source.evidence is not Evidence.TO_BE_CHECKED:
        return None
    return element("sup", "†", title="to be checked in its source before it is quoted")


def _id(name: str) -> Markup:
    return element("span", f" {name}", class_="id")


def chip(outcome: Outcome | None) -> Markup:
    """An outcome in its colour."""
    if outcome is None:
        return element("span", "Not a candidate", class_="chip")
    return element("span", OUTCOME_WORDS[outcome], class_=f"chip {outcome}")
