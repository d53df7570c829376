"""Load the technical table: approaches by level, and considerations that follow from rules."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from models.anatomy import LEVELS
from service.planning.definitions import Definitions, Store, define
from service.planning.errors import ProfileError
from service.planning.model import Advice, ApproachRule, Scope, Technique
from service.planning.tables import AdviceTable, ApproachTable, TechniqueFile, read_table

TECHNIQUE: Final = "technique.toml"
PACKAGED_FILE: Final = Path(__file__).with_name(TECHNIQUE)

UNNAMED: Final = "unnamed"
"""Stands in the table for a body without a level's name."""

MAX_LEVELS: Final = "max_levels_per_session"
SESSION_RULES: Final = {
    "order": "SES-ORDER",
    "number": "SES-NUMBER",
    "routed": "SES-ROUTED",
    "none": "SES-NONE",
}
"""Considerations that say why levels are in an order, how many go into a session, which wait."""


def load_technique(store: Store) -> Technique:
    """Load and check the technical table, the site's own or the shipped one.

    Raises:
        ProfileError: It does not make sense.
    """
    path = store.find(TECHNIQUE) or PACKAGED_FILE
    file, content = read_table(path, TechniqueFile)
    definitions = define(path, file, content, store)
    technique = Technique(
        version=file.version,
        approaches=tuple(_approach(table, definitions) for table in file.approaches),
        advice=tuple(_advice(table, definitions) for table in file.considerations),
        thresholds=definitions.thresholds,
        sha256=definitions.sha256,
    )
    _check_whole(technique, path.name)
    return technique


def _approach(table: ApproachTable, definitions: Definitions) -> ApproachRule:
    if unknown := sorted(set(table.levels) - {*LEVELS, UNNAMED}):
        raise definitions.error("unknown_level", table.id, f"no level {unknown[0]!r}")
    texts = [definitions.sentence(table.id, text, Scope.LEVEL) for text in table.notes]
    when = table.when
    return ApproachRule(
        id=table.id,
        levels=table.levels,
        when=None if when is None else definitions.condition(table.id, when, Scope.LEVEL),
        approach=table.approach,
        gauge=table.needle_gauge,
        cement_ml=table.cement_ml,
        sentence=definitions.sentence(table.id, table.sentence, Scope.LEVEL),
        notes=tuple(texts),
        source=definitions.source(table.id, table.source),
        where=table.where,
        evidence=table.evidence,
    )


def _advice(table: AdviceTable, definitions: Definitions) -> Advice:
    when = table.when
    return Advice(
        id=table.id,
        topic=table.topic,
        scope=table.scope,
        when=None if when is None else definitions.condition(table.id, when, table.scope),
        sentence=definitions.sentence(table.id, table.sentence, table.scope),
        source=definitions.source(table.id, table.source),
        where=table.where,
        evidence=table.evidence,
    )


def _check_whole(technique: Technique, file: str) -> None:
    """See that ids are unique, every level has a last row that always holds, sessions are told."""
    ids = [*(row.id for row in technique.approaches), *(item.id for item in technique.advice)]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise ProfileError(file, "duplicate_id", f"{twice[0]}: two rules have this id")
    for name in (*LEVELS, UNNAMED):
        rows = [row for row in technique.approaches if name in row.levels]
        if not rows or rows[-1].when is not None:
            raise ProfileError(file, "missing_approach", f"{name}: no row that always holds")
    if missing := sorted(set(SESSION_RULES.values()) - set(ids)):
        raise ProfileError(file, "missing_rule", f"{missing[0]}: needed for the order of levels")
    limit = technique.thresholds.get(MAX_LEVELS)
    if limit is None or limit.value < 1:
        raise ProfileError(file, "unknown_threshold", f"{MAX_LEVELS}: needed, at least 1")
