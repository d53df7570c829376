"""The planning document on a terminal: what the rules come to, and what is missing."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.planning.document import PlanningDocument
from service.planning.model import Candidate
from service.planning.rendering.words import OUTCOME_WORDS, ROUTE_WORDS


def print_plan(document: PlanningDocument, console: Console) -> None:
    """Print the outcome, the candidate levels and what is missing."""
    patient = document.patient
    console.print(Text(f"Planning document, {document.status}", style="bold"))
    console.print(Text(f"Profile {document.profile.name} {document.profile.version}"))
    console.print(Text(f"Patient: {OUTCOME_WORDS[patient.outcome]}. {ROUTE_WORDS[patient.route]}."))
    table = Table("Level", "Outcome", "Why")
    for level in document.levels:
        if level.candidate is Candidate.NO or level.outcome is None:
            continue
        decisive = [
            rule for rule in (*level.fired, *patient.fired) if rule.outcome is level.outcome
        ]
        why = decisive[0].sentence if decisive else level.reason.sentence
        table.add_row(level.title, OUTCOME_WORDS[level.outcome], Text(why))
    if table.row_count:
        console.print(table)
    else:
        console.print("No level is a candidate on these images.")
    if document.missing:
        labels = ", ".join(value.label for value in document.missing)
        console.print(Text(f"Missing, and not taken as normal: {labels}."))
    console.print(Text(document.statement, style="dim"))
