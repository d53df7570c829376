"""The TOML tables of profiles, rule sets and the technical file, checked for keys and types."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError

from service.planning.errors import ProfileError
from service.planning.model import (
    Approach,
    Evidence,
    Outcome,
    Route,
    Scope,
    SectionKind,
    Topic,
)

PROFILE_SCHEMA: Final = "planning-profile/1"
RULE_SET_SCHEMA: Final = "planning-rules/1"
TECHNIQUE_SCHEMA: Final = "planning-technique/1"

MAX_FILE_BYTES: Final = 1 << 20
"""Largest file read; ours are some tens of kB."""

_PROBLEMS: Final = {"missing": "missing_key", "extra_forbidden": "unknown_key"}

Text = Annotated[str, Field(min_length=1, max_length=1000)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
RuleId = Annotated[str, Field(pattern=r"^[A-Z]{2,8}-[A-Z0-9-]{1,12}$")]
Version = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Sourced(_Table):
    source: Name
    where: Text
    evidence: Evidence


class ThresholdTable(_Sourced):
    """A number a site may change."""

    value: FiniteFloat
    unit: str = ""


class RuleTable(_Sourced):
    """One rule; `when` is parsed later, once thresholds are known."""

    id: RuleId
    scope: Scope
    when: dict[str, Any]
    outcome: Outcome
    if_unknown: Outcome = Outcome.INSUFFICIENT_INFORMATION
    sentence: Text
    route: Route | None = None
    urgent: bool = False


class CandidateTable(_Sourced):
    """Whether a level is looked at."""

    id: RuleId
    when: dict[str, Any]
    sentence: Text
    sentence_not: Text
    sentence_unknown: Text


class AdviceTable(_Sourced):
    """A technical consideration."""

    id: RuleId
    topic: Topic
    scope: Scope
    when: dict[str, Any] | None = None
    sentence: Text


Pair = Annotated[tuple[float, float], BeforeValidator(tuple)]
Gauge = Annotated[int, Field(ge=8, le=20)]


class ApproachTable(_Sourced):
    """A row of the table of approaches."""

    id: RuleId
    levels: tuple[str, ...]
    when: dict[str, Any] | None = None
    approach: Approach
    needle_gauge: tuple[Gauge, Gauge] | None = None
    cement_ml: Pair | None = None
    sentence: Text
    notes: tuple[Text, ...] = ()


class DefinitionFile(_Table):
    """What every file may hold: sources and thresholds, and the rule sets it includes."""

    version: Version
    include: tuple[Name, ...] = ()
    sources: dict[Name, Text] = {}
    thresholds: dict[Name, ThresholdTable] = {}


class RuleSetFile(DefinitionFile):
    """Rules that several profiles share."""

    schema_: Literal["planning-rules/1"] = Field(alias="schema")
    candidate: CandidateTable | None = None
    rules: tuple[RuleTable, ...] = ()


class ProfileFile(DefinitionFile):
    """A guideline: what it includes, what it leaves out, and its own rules."""

    schema_: Literal["planning-profile/1"] = Field(alias="schema")
    name: Name
    title: Text
    basis: Text
    without: tuple[RuleId, ...] = ()
    candidate: CandidateTable | None = None
    rules: tuple[RuleTable, ...] = ()


class TechniqueFile(DefinitionFile):
    """The table of approaches and the considerations."""

    schema_: Literal["planning-technique/1"] = Field(alias="schema")
    approaches: tuple[ApproachTable, ...]
    considerations: tuple[AdviceTable, ...]


class ProcedureItemTable(_Sourced):
    """A sentence of a checklist."""

    id: RuleId
    sentence: Text


class ProcedureSectionTable(_Table):
    """A section of the procedure."""

    id: Name
    title: Text
    kind: SectionKind
    items: tuple[ProcedureItemTable, ...] = Field(min_length=1)


class ProcedureFile(DefinitionFile):
    """The procedure from referral to discharge."""

    schema_: Literal["planning-procedure/1"] = Field(alias="schema")
    sections: tuple[ProcedureSectionTable, ...] = Field(min_length=1)


AnyFile = TypeVar("AnyFile", bound=DefinitionFile)


def read_table(path: Path, kind: type[AnyFile]) -> tuple[AnyFile, bytes]:
    """Read a file.

    Returns:
        What it holds, and its bytes.

    Raises:
        ProfileError: It cannot be read, is no TOML, or has other keys or types than it must.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ProfileError(path.name, "unreadable", "the file is too large")
        table = tomllib.loads(content.decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProfileError(path.name, "unreadable", type(error).__name__) from error
    try:
        return kind.model_validate(table), content
    except ValidationError as error:
        item = error.errors(include_url=False, include_context=False)[0]
        raise _problem(path, table, item["type"], item["loc"], item["msg"]) from None


def _problem(
    path: Path, table: dict[str, Any], kind: str, place: tuple[int | str, ...], message: str
) -> ProfileError:
    problem = _PROBLEMS.get(kind, "wrong_value")
    if problem == "missing_key" and place[-1] == "source":
        problem = "missing_source"
    where = ".".join(str(part) for part in place)
    owner = _owner(table, place)
    return ProfileError(path.name, problem, f"{owner}{where}: {message}")


def _owner(table: Any, place: tuple[int | str, ...]) -> str:  # noqa: ANN401  any TOML value
    """Name the rule that a place lies in, so that nobody has to count."""
    for part in place[:2]:
        inside = isinstance(table, dict) or (isinstance(table, list) and isinstance(part, int))
        if not inside:
            return ""
        try:
            table = table[part]
        except (KeyError, IndexError):
            return ""
    name = table.get("id") if isinstance(table, dict) else None
    return f"{name}: " if isinstance(name, str) and re.fullmatch(r"[A-Z0-9-]{1,24}", name) else ""
