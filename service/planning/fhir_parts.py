"""Parts of FHIR resources, read without trusting their shape; what several statements settle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from service.planning import codes
from service.planning.document import Unread

Json = Mapping[str, Any]
Answer = bool | float | str
Found = TypeVar("Found")

GRAVER: Final[Mapping[str, Answer]] = {
    "cancer_history": "active",
    **dict.fromkeys(codes.ALLERGY_FIELDS, True),
}
"""Statements of which one does not take back the other: the graver one stands."""

MAX_CODE: Final = 64


@dataclass(frozen=True, slots=True)
class Moment:
    """When a statement was made.

    Attributes:
        at: In UTC.
        within: How much later it may have been: a day for a date without a time.
    """

    at: datetime
    within: timedelta


@dataclass(slots=True)
class Gathered:
    """What was found so far.

    Attributes:
        values: Field to every statement, with its time where it has one.
        lists: Field to the items found.
        open: Fields that a statement bears on and leaves to a clinician.
        unread: What was not used.
    """

    values: dict[str, list[tuple[Moment | None, Answer]]] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    unread: list[Unread] = field(default_factory=list)

    def say(self, name: str, value: Answer, when: Moment | None = None) -> None:
        """Note a statement."""
        self.values.setdefault(name, []).append((when, value))

    def leave(self, where: str, code: str, detail: str = "") -> None:
        """Note what was not used."""
        self.unread.append(Unread(where=where, code=code, detail=detail[:100]))


def settle(gathered: Gathered) -> dict[str, Any]:
    """Bring each field's statements to one value, or leave it unknown and say so."""
    settled: dict[str, Any] = {name: list(items) for name, items in gathered.lists.items()}
    for name, statements in gathered.values.items():
        value = None if name in gathered.open else _one(name, statements)
        if value is not None:
            settled[name] = value
        elif name not in gathered.open:
            gathered.leave("entry", "ambiguous", name)
    return settled


def _one(name: str, statements: list[tuple[Moment | None, Answer]]) -> Answer | None:
    values = [value for _, value in statements]
    if len(set(values)) == 1:
        return values[0]
    if GRAVER.get(name) in values:
        return GRAVER[name]
    timed = [(when, value) for when, value in statements if when is not None]
    if len(timed) < len(statements):
        return None
    timed.sort(key=lambda item: item[0].at)
    last = timed[-1]
    # Another statement that may be as late as the last one, and says something else.
    unclear = any(
        value != last[1] and (when.at == last[0].at or when.at + when.within > last[0].at)
        for when, value in timed[:-1]
    )
    return None if unclear else last[1]


def moment_of(resource: Json) -> Moment | None:
    """Give the time of an observation; None where it has none, or only a year or month."""
    for name in ("effectiveDateTime", "effectiveInstant", "issued"):
        text = resource.get(name)
        if isinstance(text, str):
            return _moment(text)
    return None


def _moment(text: str) -> Moment | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        return Moment(at.replace(tzinfo=UTC), timedelta(days=1))
    return Moment(at.astimezone(UTC), timedelta())


def part(resource: Json, name: str) -> Json:
    """Give an object inside a resource; an empty one where there is none."""
    value = resource.get(name)
    return value if isinstance(value, dict) else {}


def codings(concept: object) -> list[tuple[str, str]]:
    """Give (system, code) of every coding of a concept."""
    listed = concept.get("coding") if isinstance(concept, dict) else None
    items = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    pairs = ((item.get("system"), item.get("code")) for item in items)
    return [
        (system, code)
        for system, code in pairs
        if isinstance(system, str) and isinstance(code, str) and len(code) <= MAX_CODE
    ]


def named(concept: object) -> str:
    """Name the first coding of a concept, for the list of what was not used; never its text."""
    found = codings(concept)
    return "|".join(found[0]) if found else ""


def states(resource: Json) -> set[str]:
    """Give every code by which a resource says whether it counts."""
    status = resource.get("status")
    verification = {code for _, code in codings(resource.get("verificationStatus"))}
    return verification | ({status} if isinstance(status, str) else set())


def by_prefix(table: Mapping[str, Found], code: str) -> Found | None:
    """Give the entry whose key is the longest beginning of a code."""
    keys = sorted((key for key in table if code.startswith(key)), key=len)
    return table[keys[-1]] if keys else None
