"""The values of planning as loaded: outcomes, rules, profiles and the technical table.

What is written for a reader is in `service.planning.document`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from service.planning.conditions import Condition


class Outcome(StrEnum):
    """What the rules come to, for a level or for the patient; the strongest one wins."""

    CONTRAINDICATED = "contraindicated"
    INSUFFICIENT_INFORMATION = "insufficient_information"
    NEEDS_REVIEW = "needs_review"
    ELIGIBLE_FOR_DISCUSSION = "eligible_for_discussion"

    @property
    def strength(self) -> int:
        """3 for contraindicated down to 0 for eligible for discussion."""
        return _STRENGTH[self]

    @property
    def openness(self) -> int:
        """How near to eligible: 0 where the level is closed for now, 1 for review, 2 eligible."""
        return _OPENNESS[self]


_STRENGTH: Final = {outcome: 3 - rank for rank, outcome in enumerate(Outcome)}
_OPENNESS: Final = {
    Outcome.CONTRAINDICATED: 0,
    Outcome.INSUFFICIENT_INFORMATION: 0,
    Outcome.NEEDS_REVIEW: 1,
    Outcome.ELIGIBLE_FOR_DISCUSSION: 2,
}


class Scope(StrEnum):
    """Whether a rule is asked once for the patient or once for every candidate level."""

    PATIENT = "patient"
    LEVEL = "level"


class Candidate(StrEnum):
    """Whether a level is looked at as a candidate at all."""

    YES = "yes"
    NO = "no"
    UNDETERMINED = "undetermined"


class Route(StrEnum):
    """What comes first, gravest first."""

    INFECTION = "infection"
    PATHOLOGICAL = "pathological"
    NEUROLOGICAL = "neurological"
    DISCUSSION = "discussion"


class Evidence(StrEnum):
    """How well a rule's source is established."""

    SEEN = "seen"
    TO_BE_CHECKED = "to_be_checked"
    SETTING = "setting"


class Topic(StrEnum):
    """Where a technical consideration belongs."""

    ROUTE = "route"
    IMAGING = "imaging"
    BIOPSY = "biopsy"
    APPROACH = "approach"
    LEAKAGE = "leakage"
    CEMENT = "cement"
    ANAESTHESIA = "anaesthesia"
    SESSION = "session"


class Approach(StrEnum):
    """The usual way of the needle into the body."""

    TRANSPEDICULAR = "transpedicular"
    PARAPEDICULAR = "parapedicular"
    UNDECIDED = "undecided"
    OUTSIDE_TABLE = "outside_table"


@dataclass(frozen=True, slots=True)
class Source:
    """A document that rules rest on.

    Attributes:
        key: Name inside the files, for example "overview".
        text: Citation as a reader sees it.
    """

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number that a site may change.

    Attributes:
        name: Used by conditions and in sentences.
        value: In `unit`.
        unit: "" for a plain number, "probability" for a value in [0, 1].
        source: The document the number comes from.
        where: Place in that document.
        evidence: How well it is established.
    """

    name: str
    value: float
    unit: str
    source: Source
    where: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a profile.

    Attributes:
        id: Unique in the profile, for example "CLI-06".
        scope: Asked of the patient or of each candidate level.
        when: Fires when true; undecided when not known.
        outcome: What a fired rule comes to.
        if_unknown: What an undecided rule comes to; never nearer to eligible than `outcome`.
        sentence: With placeholders `{input}` and `{threshold}`.
        source: The document it comes from.
        where: Place in that document.
        evidence: How well it is established.
        route: What a fired rule puts first.
        urgent: Whether a fired rule is to be told at once.
    """

    id: str
    scope: Scope
    when: Condition
    outcome: Outcome
    if_unknown: Outcome
    sentence: str
    source: Source
    where: str
    evidence: Evidence
    route: Route | None = None
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Advice:
    """A technical consideration: said when its condition is true, asked about when undecided.

    Attributes:
        id: Unique in the technique file.
        topic: Where it belongs.
        scope: Said once or for each candidate level.
        when: None for always.
        sentence: With placeholders.
        source: The document it comes from.
        where: Place in that document.
        evidence: How well it is established.
    """

    id: str
    topic: Topic
    scope: Scope
    when: Condition | None
    sentence: str
    source: Source
    where: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class ApproachRule:
    """A row of the table of approaches.

    Attributes:
        id: Unique in the technique file.
        levels: Names of the levels it holds for.
        when: None for always; the first row that is true is taken.
        approach: The usual one.
        gauge: Needle gauge, thickest needle first: (11, 13); None where the table has none.
        cement_ml: Volumes commonly injected, from and to; None where the table has none.
        sentence: Reason, with placeholders.
        notes: What else goes with the region.
        source: The document it comes from.
        where: Place in that document.
        evidence: How well it is established.
    """

    id: str
    levels: tuple[str, ...]
    when: Condition | None
    approach: Approach
    gauge: tuple[int, int] | None
    cement_ml: tuple[float, float] | None
    sentence: str
    notes: tuple[str, ...]
    source: Source
    where: str
    evidence: Evidence


class SectionKind(StrEnum):
    """How a section of the procedure is read."""

    CHECKLIST = "checklist"
    STOP_RULES = "stop_rules"
    RATES = "rates"
    EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True)
class ProcedureItem:
    """A sentence of a checklist; `id` is unique in the file."""

    id: str
    sentence: str
    source: Source
    where: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class ProcedureSection:
    """A checklist, the rules for stopping, rates of complications, or what is disputed."""

    id: str
    title: str
    kind: SectionKind
    items: tuple[ProcedureItem, ...]


@dataclass(frozen=True, slots=True)
class Procedure:
    """The procedure from referral to discharge.

    Attributes:
        version: Semantic version of the file.
        sections: In the order of the file.
        sha256: Of the file and what it includes.
    """

    version: str
    sections: tuple[ProcedureSection, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Technique:
    """The technical table and considerations.

    Attributes:
        version: Semantic version of the file.
        approaches: First match wins.
        advice: In the order of the file.
        thresholds: By name; `max_levels_per_session` among them.
        sha256: Of the file.
    """

    version: str
    approaches: tuple[ApproachRule, ...]
    advice: tuple[Advice, ...]
    thresholds: Mapping[str, Threshold] = field(repr=False)
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class CandidateRule:
    """Whether a level is looked at.

    Attributes:
        id: Unique in the profile.
        when: True for a candidate, False for none.
        sentence: Of a candidate.
        sentence_not: Of a level that is none.
        sentence_unknown: Of a level of which it cannot be said.
        source: The document it comes from.
        where: Place in that document.
        evidence: How well it is established.
    """

    id: str
    when: Condition
    sentence: str
    sentence_not: str
    sentence_unknown: str
    source: Source
    where: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Profile:
    """A guideline as rules.

    Attributes:
        name: For example "overview".
        version: Semantic version of its own file.
        title: As a reader sees it.
        basis: One sentence on what it follows.
        candidate: Whether a level is looked at.
        rules: Every rule, the included ones first.
        thresholds: By name.
        technique: What goes with the rules.
        procedure: The checklists.
        sha256: Of everything that was read for the rules, included rule sets too.
    """

    name: str
    version: str
    title: str
    basis: str
    candidate: CandidateRule
    rules: tuple[Rule, ...]
    thresholds: Mapping[str, Threshold] = field(repr=False)
    technique: Technique = field(repr=False)
    procedure: Procedure = field(repr=False)
    sha256: str = ""
