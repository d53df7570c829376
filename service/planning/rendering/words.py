"""How outcomes and routes are said to a reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.planning.model import Outcome, Route

OUTCOME_WORDS: Final[Mapping[Outcome, str]] = {
    Outcome.CONTRAINDICATED: "Contraindicated",
    Outcome.INSUFFICIENT_INFORMATION: "Insufficient information",
    Outcome.NEEDS_REVIEW: "Needs review",
    Outcome.ELIGIBLE_FOR_DISCUSSION: "Eligible for discussion",
}

ROUTE_WORDS: Final[Mapping[Route, str]] = {
    Route.INFECTION: "Infection comes first",
    Route.PATHOLOGICAL: "Pathological features come first: staging, MDT, biopsy",
    Route.NEUROLOGICAL: "Neurology comes first",
    Route.DISCUSSION: "Discussion between clinicians and patient",
}


def capital(text: str) -> str:
    """The text as it begins a sentence."""
    return text[:1].upper() + text[1:]
