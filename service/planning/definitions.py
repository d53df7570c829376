"""What the rules of one file may refer to: sources, thresholds, inputs; and its included sets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.planning.conditions import Condition
from service.planning.errors import ProfileError
from service.planning.inputs import vocabulary
from service.planning.model import Scope, Source, Threshold
from service.planning.parse import ConditionError, parse_condition
from service.planning.sentences import (
    LEVELS_PLACEHOLDER,
    MISSING_PLACEHOLDER,
    placeholders,
    wording_problem,
)
from service.planning.tables import DefinitionFile, RuleSetFile, read_table

MAX_SETS: Final = 16
"""Rule sets one file may draw in, directly and through others."""


@dataclass(frozen=True, slots=True)
class Store:
    """Where files are looked for, the site's folder first."""

    folders: tuple[Path, ...]

    def find(self, *parts: str) -> Path | None:
        """Give the first file of that name."""
        paths = (folder.joinpath(*parts) for folder in self.folders)
        return next((path for path in paths if path.is_file()), None)


@dataclass(frozen=True, slots=True)
class Definitions:
    """Names that rules resolve against.

    Attributes:
        file: Name of the file whose rules are read, for errors.
        sets: The included rule sets, in order of inclusion.
        sources: By key.
        thresholds: By name; a file's own take the place of included ones.
        sha256: Of the file and everything it includes.
    """

    file: str
    sets: tuple[RuleSetFile, ...]
    sources: Mapping[str, Source]
    thresholds: Mapping[str, Threshold]
    sha256: str

    def source(self, rule: str, key: str) -> Source:
        """Resolve a rule's source.

        Raises:
            ProfileError: "unknown_source".
        """
        if key not in self.sources:
            raise self.error("unknown_source", rule, f"there is no source {key!r}")
        return self.sources[key]

    def condition(self, rule: str, table: dict[str, Any], scope: Scope) -> Condition:
        """Read a rule's condition.

        Raises:
            ProfileError: With the code of `service.planning.parse`.
        """
        try:
            return parse_condition(table, scope, self.thresholds)
        except ConditionError as error:
            raise self.error(error.problem, rule, str(error)) from None

    def sentence(self, rule: str, text: str, scope: Scope) -> str:
        """Check a sentence's placeholders and its wording.

        Raises:
            ProfileError: "unknown_placeholder" or "forbidden_wording".
        """
        inputs = vocabulary()
        for name in placeholders(text):
            known = name in (LEVELS_PLACEHOLDER, MISSING_PLACEHOLDER) or name in self.thresholds
            if not known and (name not in inputs or not _visible(inputs[name].scope, scope)):
                raise self.error("unknown_placeholder", rule, f"nothing fills {name!r}")
        if (word := wording_problem(text)) is not None:
            raise self.error("forbidden_wording", rule, f"a sentence says {word!r}")
        return text

    def error(self, problem: str, rule: str, detail: str) -> ProfileError:
        """Make the error of a rule of this file."""
        return ProfileError(self.file, problem, f"{rule}: {detail}")


def define(path: Path, file: DefinitionFile, content: bytes, store: Store) -> Definitions:
    """Bring together what a file and its included sets define.

    Args:
        path: Of the file.
        file: As read.
        content: Its bytes.
        store: Where rule sets are looked for, under `sets/`.

    Raises:
        ProfileError: A set is missing or includes itself, or two sources share a key.
    """
    digest = hashlib.sha256(content)
    sets = []
    for name, (included, bytes_) in _include(path, file, store).items():
        digest.update(name.encode() + bytes_)
        sets.append(included)
    sources: dict[str, Source] = {}
    for part in (*sets, file):
        for key, text in part.sources.items():
            if sources.setdefault(key, Source(key, text)).text != text:
                raise ProfileError(path.name, "duplicate_source", f"two sources are named {key!r}")
    thresholds: dict[str, Threshold] = {}
    for part in (*sets, file):
        for name, table in part.thresholds.items():
            if table.source not in sources:
                raise ProfileError(path.name, "unknown_source", f"threshold {name}: no such source")
            thresholds[name] = Threshold(
                name, table.value, table.unit, sources[table.source], table.where, table.evidence
            )
    return Definitions(path.name, tuple(sets), sources, thresholds, digest.hexdigest())


def _include(
    path: Path, file: DefinitionFile, store: Store
) -> dict[str, tuple[RuleSetFile, bytes]]:
    """Read the included sets, each once, what it includes before itself."""
    read: dict[str, tuple[RuleSetFile, bytes]] = {}
    order: dict[str, None] = {}

    def visit(names: tuple[str, ...], above: tuple[str, ...]) -> None:
        for name in names:
            if name in above or len(read) >= MAX_SETS:
                raise ProfileError(path.name, "circular_include", f"set {name} includes itself")
            if name in order:
                continue
            found = store.find("sets", f"{name}.toml")
            if found is None:
                raise ProfileError(path.name, "missing_set", f"there is no rule set {name!r}")
            read[name] = read_table(found, RuleSetFile)
            visit(read[name][0].include, (*above, name))
            order[name] = None

    visit(file.include, ())
    return {name: read[name] for name in order}


def _visible(inner: Scope, outer: Scope) -> bool:
    """Whether a rule of scope `outer` sees an input of scope `inner`."""
    return outer is Scope.LEVEL or inner is Scope.PATIENT
