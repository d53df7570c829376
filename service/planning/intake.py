"""What the ordering system sends, as bytes: the schema's JSON or a FHIR Bundle, read strictly."""

from __future__ import annotations

import json
from datetime import date
from typing import Final

from service.planning.clinical import ClinicalInput, read_clinical
from service.planning.document import Unread
from service.planning.errors import ClinicalInputError, FieldProblem
from service.planning.fhir import from_fhir

MAX_BYTES: Final = 4 << 20
"""Largest clinical input; a Bundle of thousands of resources fits."""


def read_intake(content: bytes, *, on: date) -> tuple[ClinicalInput, tuple[Unread, ...]]:
    """Read clinical input; a FHIR Bundle is told by its `resourceType`.

    Args:
        content: JSON.
        on: Day on which an age is counted from a birth date.

    Returns:
        The input, and what of a Bundle was not used.

    Raises:
        ClinicalInputError: It is too large, no JSON, or has fields that are not as described.
    """
    if len(content) > MAX_BYTES:
        raise ClinicalInputError((FieldProblem("", f"at most {MAX_BYTES >> 20} MB are read"),))
    try:
        value = json.loads(content, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, _RepeatedError):
            raise ClinicalInputError((FieldProblem(error.name, "is given twice"),)) from None
        raise ClinicalInputError((FieldProblem("", "is not JSON"),)) from None
    if isinstance(value, dict) and "resourceType" in value:
        clinical, unread = from_fhir(value, on=on)
        return clinical, tuple(unread)
    return read_clinical(value), ()


class _RepeatedError(ValueError):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse an object with a name twice: which value counts would be a guess."""
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise _RepeatedError(name[:80])
        found[name] = value
    return found


def _no_constant(_text: str) -> object:
    raise ValueError
