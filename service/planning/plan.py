"""Write the planning document: ask the profile's rules of the patient and of every level.

The document says what speaks for and against discussing a level, and what is missing. It decides
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from models.findings import Acuity
from service.planning.clinical import ClinicalInput
from service.planning.conditions import Facts
from service.planning.document import (
    Consideration,
    FiredRule,
    LevelPlan,
    PatientPlan,
    PlanningDocument,
    ProcedureItem,
    ProcedureSection,
    RoutedLevel,
    RuleSetReference,
    SeenValue,
    SessionLevel,
    SessionPlan,
    SourceReference,
    StudySummary,
    TechniqueSheet,
    Unread,
)
from service.planning.evaluate import Answers, Asker, LevelView
from service.planning.facts import level_facts, patient_facts
from service.planning.inputs import Origin, vocabulary
from service.planning.model import Candidate, Outcome, Procedure, Profile, Route, Scope
from service.planning.technique import MAX_LEVELS, SESSION_RULES, UNNAMED
from service.report.document import LevelReport, StudyReport
from service.report.headline import level_title

CANDIDATES: Final[Mapping[bool | None, Candidate]] = {
    True: Candidate.YES,
    False: Candidate.NO,
    None: Candidate.UNDETERMINED,
}

ORDERED_BY: Final = (
    "pain_confirmed_here",
    "acuity",
    "edema_extent_percent",
    "unhealed_probability",
)
"""Inputs that the order of levels follows, first the one that counts most."""


def plan(
    report: StudyReport,
    clinical: ClinicalInput,
    profile: Profile,
    *,
    now: datetime,
    unread: Sequence[Unread] = (),
) -> PlanningDocument:
    """Plan from a report.

    Args:
        report: Of the study.
        clinical: What is known of the patient.
        profile: Whose rules are asked.
        now: Time of writing, with its time zone.
        unread: What of a FHIR Bundle was not used, to be told in the document.

    Returns:
        A draft. The same input gives the same document.
    """
    views = tuple(
        LevelView(level_title(level), facts)
        for level, facts in zip(report.levels, level_facts(report, clinical), strict=True)
    )
    asker = Asker(profile, patient_facts(report, clinical), views)
    patient = asker.answer(Scope.PATIENT)
    levels = tuple(
        _level(level, asker.of_level(view), patient)
        for level, view in zip(report.levels, views, strict=True)
    )
    return PlanningDocument(
        created=now,
        study=_study(report),
        profile=RuleSetReference(
            name=profile.name,
            version=profile.version,
            title=profile.title,
            basis=profile.basis,
            sha256=profile.sha256,
        ),
        technique=RuleSetReference(
            name="technique",
            version=profile.technique.version,
            title="Technical table and considerations",
            basis="Informational; the operator decides.",
            sha256=profile.technique.sha256,
        ),
        clinical=clinical,
        missing=_missing(asker, patient, levels),
        patient=PatientPlan(
            outcome=patient.outcome,
            route=_gravest((_route(patient.fired), *(level.route for level in levels))),
            fired=patient.fired,
            undecided=patient.undecided,
            considerations=asker.advice(Scope.PATIENT),
        ),
        levels=levels,
        session=_session(asker, levels),
        unread=tuple(unread),
        checklists=RuleSetReference(
            name="procedure",
            version=profile.procedure.version,
            title="Checklists, complications and what is disputed",
            basis="Informational; the department decides.",
            sha256=profile.procedure.sha256,
        ),
        procedure=_procedure(profile.procedure),
    )


def _level(level: LevelReport, asker: Asker, patient: Answers) -> LevelPlan:
    answer, reason = asker.candidate(asker.profile.candidate)
    candidate = CANDIDATES[answer]
    values = asker.seen(spec.name for spec in vocabulary().values() if spec.origin is Origin.LEVEL)
    if candidate is Candidate.NO:
        own: Answers | None = None
        outcome = None
    else:
        own = asker.answer(Scope.LEVEL)
        outcome = _stronger(_own(own, candidate), patient.outcome)
    return LevelPlan(
        level=level.level,
        label_value=level.label_value,
        level_confidence=level.level_confidence,
        coverage=level.coverage,
        candidate=candidate,
        reason=reason,
        outcome=outcome,
        own_outcome=None if own is None else _own(own, candidate),
        route=None if own is None else _route((*own.fired, *patient.fired)),
        fired=() if own is None else own.fired,
        undecided=() if own is None else own.undecided,
        values=values,
        technique=None if own is None else _technique(level, asker),
        geometry=None if own is None else level.geometry,
        body=None if own is None else level.body,
    )


def _own(own: Answers, candidate: Candidate) -> Outcome:
    """Count in that it may not be known whether the level is a candidate at all."""
    undetermined = candidate is Candidate.UNDETERMINED
    return _stronger(own.outcome, Outcome.INSUFFICIENT_INFORMATION if undetermined else own.outcome)


def _stronger(one: Outcome, other: Outcome) -> Outcome:
    return one if one.strength >= other.strength else other


def _route(fired: Iterable[FiredRule]) -> Route:
    """Give the gravest of what the fired rules put first."""
    return _gravest(rule.route for rule in fired)


def _gravest(routes: Iterable[Route | None]) -> Route:
    named = set(routes)
    return next((route for route in Route if route in named), Route.DISCUSSION)


def _technique(level: LevelReport, asker: Asker) -> TechniqueSheet:
    name = level.level or UNNAMED
    rows = (row for row in asker.profile.technique.approaches if name in row.levels)
    geometry = level.geometry
    target = None if geometry is None else geometry.target
    missing = None
    if target is None:
        missing = "not_measured" if geometry is None else geometry.reasons.get("target")
    return TechniqueSheet(
        approach=asker.approach(rows),
        considerations=asker.advice(Scope.LEVEL),
        target=target,
        target_missing=missing,
    )


def _procedure(procedure: Procedure) -> tuple[ProcedureSection, ...]:
    return tuple(
        ProcedureSection(
            id=section.id,
            title=section.title,
            kind=section.kind,
            items=tuple(
                ProcedureItem(
                    id=item.id,
                    sentence=item.sentence,
                    source=SourceReference(
                        text=item.source.text, where=item.where, evidence=item.evidence
                    ),
                )
                for item in section.items
            ),
        )
        for section in procedure.sections
    )


def _session(asker: Asker, levels: Sequence[LevelPlan]) -> SessionPlan:
    """Order the levels that are open: not contraindicated, and with enough information."""
    limit = int(asker.profile.technique.thresholds[MAX_LEVELS].value)
    open_places = [
        place
        for place, level in enumerate(levels)
        if level.outcome is not None and level.outcome.openness > 0
    ]
    open_places.sort(key=lambda place: (_urgency(asker.levels[place].facts), place))
    places = [place for place in open_places if levels[place].route is Route.DISCUSSION]
    routed = [levels[place] for place in open_places if place not in places]
    kinds = (("routed",) if routed else ()) + (("order", "number") if places else ())
    return SessionPlan(
        levels=tuple(
            SessionLevel(
                level=levels[place].level,
                label_value=levels[place].label_value,
                session=1 + rank // limit,
                values=asker.of_level(asker.levels[place]).seen(ORDERED_BY),
            )
            for rank, place in enumerate(places)
        ),
        routed_first=tuple(
            RoutedLevel(level=level.level, label_value=level.label_value, route=level.route)
            for level in routed
            if level.route is not None
        ),
        max_levels_per_session=limit,
        reasons=_session_reasons(asker, kinds or ("none",)),
    )


def _urgency(facts: Facts) -> tuple[bool, bool, float, float]:
    """Sort key: where pain is confirmed first, then unhealed, then extent, then probability."""
    extent, probability = facts.get("edema_extent_percent"), facts.get("unhealed_probability")
    return (
        facts.get("pain_confirmed_here") is not True,
        facts.get("acuity") != Acuity.UNHEALED.value,
        -float(extent or 0.0),
        -float(probability or 0.0),
    )


def _session_reasons(asker: Asker, kinds: tuple[str, ...]) -> tuple[Consideration, ...]:
    wanted = {SESSION_RULES[kind] for kind in kinds}
    advice = (item for item in asker.profile.technique.advice if item.id in wanted)
    given = (asker.consider(item) for item in advice)
    return tuple(item for item in given if item is not None)


def _missing(asker: Asker, patient: Answers, levels: Sequence[LevelPlan]) -> tuple[SeenValue, ...]:
    """Give the clinical inputs for want of which something is open, in the schema's order."""
    undecided = (*patient.undecided, *(rule for level in levels for rule in level.undecided))
    wanted = {name for rule in undecided for name in rule.missing}
    lacking = (rule for rule in patient.fired if rule.outcome is Outcome.INSUFFICIENT_INFORMATION)
    wanted |= {seen.input for rule in lacking for seen in rule.values if seen.value is None}
    return asker.seen(
        spec.name
        for spec in vocabulary().values()
        if spec.origin is Origin.CLINICAL and spec.name in wanted
    )


def _study(report: StudyReport) -> StudySummary:
    return StudySummary(
        study_instance_uid=report.study.study_instance_uid,
        report_schema_version=report.schema_version,
        report_status=report.status,
        software=report.provenance.software,
        anchor=report.anchor,
    )
