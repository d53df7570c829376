"""The planning document: closed and versioned, like the study report it is made from.

Fields may be added; a change of a name or of a meaning is a new `schema_version`. Every sentence
in it stands beside the id of the rule it comes from and the rule's source.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat

from models.findings import Anchor, Coverage
from service.planning.clinical import ClinicalInput
from service.planning.model import (
    Approach,
    Candidate,
    Evidence,
    Outcome,
    Route,
    Scope,
    SectionKind,
    Topic,
)
from service.report.document import (
    BodyReport,
    GeometryReport,
    Millilitres,
    Probability,
    Status,
    TargetReport,
)

PLANNING_SCHEMA: Final = "planning/1"

RESEARCH_USE: Final = (
    "Research use only; not for clinical decisions. This document supports a discussion between "
    "clinicians and patient and recommends no treatment. It does not exclude infection, diagnose "
    "malignancy, state the age of a fracture, or certify a safe trajectory or dose."
)
"""Stands where a reader of any rendering sees it."""


class DocumentStatus(StrEnum):
    """What standing a planning document has; only a clinician signs."""

    DRAFT = "draft"
    SIGNED = "signed"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


class SeenValue(_Part):
    """An input with the value a rule saw; `value` is null where it is not known.

    Attributes:
        input: Its name in the vocabulary.
        label: As a reader sees it.
        unit: "probability" for a value in [0, 1].
        level: The level it was seen at, where a rule of the patient looks at levels.
    """

    input: str
    label: str
    value: bool | FiniteFloat | str | None
    unit: str = ""
    level: str | None = None


class SourceReference(_Part):
    """Where a sentence comes from.

    Attributes:
        text: Citation.
        where: Place in it.
        evidence: "to_be_checked" asks a reader to look it up before quoting; "setting" is a choice
            of this product or of the site.
    """

    text: str
    where: str
    evidence: Evidence


class FiredRule(_Part):
    """A rule that holds."""

    id: str
    scope: Scope
    outcome: Outcome
    sentence: str
    values: tuple[SeenValue, ...]
    source: SourceReference
    route: Route | None = None
    urgent: bool = False


class UndecidedRule(_Part):
    """A rule that what is missing could still turn.

    Attributes:
        outcome: What it counts as while undecided.
        would_be: What it comes to if it holds.
        missing: Names of the inputs that are not known.
    """

    id: str
    scope: Scope
    outcome: Outcome
    would_be: Outcome
    sentence: str
    missing: tuple[str, ...]
    values: tuple[SeenValue, ...]
    source: SourceReference


class Consideration(_Part):
    """A technical point that holds, or whose answer is missing.

    Attributes:
        decided: False where the inputs in `missing` are needed to say.
    """

    id: str
    topic: Topic
    decided: bool
    sentence: str
    missing: tuple[str, ...]
    values: tuple[SeenValue, ...]
    source: SourceReference


class CandidateReason(_Part):
    """Why a level is a candidate, is none, or cannot be told."""

    id: str
    sentence: str
    missing: tuple[str, ...]
    values: tuple[SeenValue, ...]
    source: SourceReference


class ApproachPlan(_Part):
    """The usual approach at a level; informational, not a trajectory.

    Attributes:
        needle_gauge: Thickest needle first, for example (11, 13).
        cement_ml: Volumes commonly injected; the operator decides.
    """

    id: str
    approach: Approach
    needle_gauge: tuple[int, int] | None
    cement_ml: tuple[Millilitres, Millilitres] | None
    sentence: str
    notes: tuple[str, ...]
    values: tuple[SeenValue, ...]
    source: SourceReference


class TechniqueSheet(_Part):
    """Technical considerations of a candidate level, which follow from rules only.

    Attributes:
        target: Measured on the images, diagrammatic; None where it was not.
        target_missing: Why there is none, a code.
    """

    approach: ApproachPlan
    considerations: tuple[Consideration, ...]
    target: TargetReport | None = None
    target_missing: str | None = None


class LevelPlan(_Part):
    """What the rules say of one vertebral body.

    Attributes:
        level: Its name, or None where levels cannot be named.
        label_value: Value of the body in `vertebrae.nii.gz`; tells unnamed bodies apart.
        candidate: Whether the level is looked at; `reason` says why or why not.
        outcome: With the patient's rules counted in; None for a level that is no candidate.
        own_outcome: Of the level's rules alone.
        route: What comes first; None for a level that is no candidate.
        values: Every image input of the level, known or not.
        technique: None for a level that is no candidate.
        geometry: What was measured on the images, each with its uncertainty, and why what is
            missing is missing; None for a level that is no candidate.
        body: Its size; None likewise, or where it was not measured.
    """

    level: str | None
    label_value: int
    level_confidence: Probability | None
    coverage: Coverage
    candidate: Candidate
    reason: CandidateReason
    outcome: Outcome | None
    own_outcome: Outcome | None
    route: Route | None
    fired: tuple[FiredRule, ...]
    undecided: tuple[UndecidedRule, ...]
    values: tuple[SeenValue, ...]
    technique: TechniqueSheet | None
    geometry: GeometryReport | None = None
    body: BodyReport | None = None

    @property
    def title(self) -> str:
        """Name of the level, or the number of the body."""
        return self.level or f"Body {self.label_value}"


class PatientPlan(_Part):
    """What the rules say of the patient, whatever the level.

    Attributes:
        route: The gravest of the patient's and of every level's.
    """

    outcome: Outcome
    route: Route
    fired: tuple[FiredRule, ...]
    undecided: tuple[UndecidedRule, ...]
    considerations: tuple[Consideration, ...]


class SessionLevel(_Part):
    """A level in the order in which it would be discussed for a session."""

    level: str | None
    label_value: int
    session: int
    values: tuple[SeenValue, ...]


class RoutedLevel(_Part):
    """A level that is not closed, and has something else to come first."""

    level: str | None
    label_value: int
    route: Route


class SessionPlan(_Part):
    """Order of the levels that are not closed; empty when there is none.

    Attributes:
        routed_first: Levels left out of the order until what comes first is settled.
        reasons: Why this order and this number a session, or why there is none.
    """

    levels: tuple[SessionLevel, ...]
    routed_first: tuple[RoutedLevel, ...]
    max_levels_per_session: int
    reasons: tuple[Consideration, ...]


class RuleSetReference(_Part):
    """Which rules were asked."""

    name: str
    version: str
    title: str
    basis: str
    sha256: str


class StudySummary(_Part):
    """Which report was read."""

    study_instance_uid: str
    report_schema_version: str
    report_status: Status
    software: str
    anchor: Anchor


class ProcedureItem(_Part):
    """A sentence of a checklist; it holds for every patient."""

    id: str
    sentence: str
    source: SourceReference


class ProcedureSection(_Part):
    """A checklist, the rules for stopping, rates of complications, or what is disputed."""

    id: str
    title: str
    kind: SectionKind
    items: tuple[ProcedureItem, ...]


class Signature(_Part):
    """Who took responsibility for the document, and when.

    Attributes:
        document_sha256: Of the draft that was signed, as its JSON was written.
    """

    name: str
    signed: datetime
    document_sha256: str


class Unread(_Part):
    """A part of a FHIR Bundle that was not used.

    Attributes:
        where: "entry[3].resource", the resource's type after it.
        code: Stable reason, for example "unknown_code".
        detail: What was not understood: a code of a terminology, or a member's name.
    """

    where: str
    code: str
    detail: str


class PlanningDocument(_Part):
    """The plan for one study under one profile; levels run from cranial to caudal.

    Attributes:
        statement: The sentence on research use.
        clinical: What was given, as read.
        missing: Clinical inputs that the rules asked for and did not get, in the schema's order.
        unread: What of a FHIR Bundle was not used.
        checklists: Which file `procedure` was read from.
        procedure: From referral to discharge.
        signature: Set when the document is signed.
    """

    schema_version: Literal["planning/1"] = PLANNING_SCHEMA
    status: DocumentStatus = DocumentStatus.DRAFT
    statement: str = RESEARCH_USE
    created: datetime
    study: StudySummary
    profile: RuleSetReference
    technique: RuleSetReference
    clinical: ClinicalInput
    missing: tuple[SeenValue, ...]
    patient: PatientPlan
    levels: tuple[LevelPlan, ...]
    session: SessionPlan
    unread: tuple[Unread, ...] = ()
    checklists: RuleSetReference
    procedure: tuple[ProcedureSection, ...]
    signature: Signature | None = None
