"""What a comparison must hold for a candidate to be promoted, and how it is kept.

`comparison.json` carries the SHA-256 of its own content: one that was edited, cut short or put
together from two is no longer what was found. It is no signature, who edits it on purpose can make
a new digest; that is why the gates are judged anew from their bounds, why margins wider than those
named here are refused, and why what is promoted is signed with everything that spoke for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from models.registry import Bundle
from training.judging.errors import ComparisonChangedError, GateError, LooseMarginsError

COMPARISON: Final = "comparison.json"
SCHEMA: Final = "2"
"""2 has a digest of its content."""

_DIGEST: Final = "content_sha256"


@dataclass(frozen=True, slots=True)
class Margins:
    """How much worse a candidate may be shown not to be.

    Attributes:
        auroc: Of the AUROC.
        missed: Share of positives that are called absent.
        false: Share of negatives that are called present.
        right: Mean of the shares of positives called present and of negatives called absent,
            half of those in doubt among them.
        found: Share of bodies found, and of bodies named right.
        ece: How much the calibration error may grow; a plain difference, without a bound.
    """

    auroc: float = 0.03
    missed: float = 0.10
    false: float = 0.10
    right: float = 0.05
    found: float = 0.02
    ece: float = 0.05


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition of promotion.

    Attributes:
        name: For example "edema.auroc".
        difference: Candidate minus served.
        bound: What must not lie below minus the margin (above it, for errors).
        margin: See `Margins`.
        passed: Whether it holds.
    """

    name: str
    difference: float
    bound: float
    margin: float
    passed: bool


MARGIN_OF: Final = {
    **{name: name for name in ("auroc", "missed", "false", "right", "ece", "found")},
    "named": "found",
}
"""Last part of a gate's name to the margin it has."""

_ERRORS: Final = frozenset({"missed", "false", "ece"})
"""Gates on what must not grow; all others are on what must not fall."""


def holds(name: str, bound: float, margin: float) -> bool:
    """Whether a gate of this name passes; what cannot be told (NaN) does not."""
    return bool(bound <= margin if _kind(name) in _ERRORS else bound >= -margin)


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


def sealed(found: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison with the digest of its content."""
    return {**found, _DIGEST: _digest(found)}


def _digest(found: Mapping[str, Any]) -> str:
    told = {name: value for name, value in found.items() if name != _DIGEST}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def read_comparison(path: Path) -> tuple[dict[str, Any], str]:
    """A comparison and the SHA-256 of its file.

    Raises:
        GateError: It cannot be read or is of another version.
        ComparisonChangedError: It is not what `acuity train compare` wrote.
    """
    try:
        raw = path.read_bytes()
        found = json.loads(raw)
    except (OSError, ValueError) as error:
        raise GateError("the comparison cannot be read") from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise GateError("the comparison is of another version: compare again")
    if found.get(_DIGEST) != _digest(found):
        raise ComparisonChangedError(
            "the comparison was changed since it was made (SHA-256 differs): compare again"
        )
    return found, hashlib.sha256(raw).hexdigest()


def require_gates(comparison: Mapping[str, Any], candidate: Bundle, served: Bundle) -> None:
    """Hold a candidate to its comparison.

    Raises:
        GateError: A gate failed, or the comparison is of other bundles than these.
        ComparisonChangedError: What it says of a gate is not what the gate's bound says.
    """
    if comparison["candidate"]["sha256"] != candidate.sha256:
        raise GateError("the comparison is not of this candidate")
    if comparison["served"]["sha256"] != served.sha256:
        raise GateError("the comparison is not with the bundle that serves now: compare again")
    failed = []
    for gate in comparison["gates"]:
        passed = holds(gate["name"], gate["bound"], gate["margin"])
        if passed != gate["passed"]:
            raise ComparisonChangedError(f"{gate['name']}: bound and verdict contradict each other")
        failed += [] if passed else [gate["name"]]
    if failed or not comparison["passed"] or not comparison["gates"]:
        raise GateError(f"not promotable: {', '.join(failed) or 'no gate'} not passed")


def require_margins(comparison: Mapping[str, Any], because: str | None = None) -> str | None:
    """Refuse margins wider than those of `Margins`, but for a reason that is given.

    Args:
        comparison: Of `read_comparison`.
        because: Why wider ones are right here; for the signed record.

    Returns:
        The reason where it was needed, else None.

    Raises:
        LooseMarginsError: A margin is wider, and no reason is given.
        ComparisonChangedError: A gate that `acuity train compare` does not know.
    """
    usual = asdict(Margins())
    unknown = [one["name"] for one in comparison["gates"] if _kind(one["name"]) not in MARGIN_OF]
    if unknown:
        raise ComparisonChangedError(f"no such gate: {', '.join(unknown)}")
    # Written so that a margin that is no number (NaN) is too wide.
    wide = [
        f"{gate['name']} {gate['margin']:g} (at most {limit:g})"
        for gate in comparison["gates"]
        for limit in (usual[MARGIN_OF[_kind(gate["name"])]],)
        if not gate["margin"] <= limit
    ]
    if not wide:
        return None
    if not (because or "").strip():
        raise LooseMarginsError(
            f"margins wider than this product's: {', '.join(wide)}; compare again without them, or "
            "say why with --loose-margins REASON, which is signed with the promotion"
        )
    return because
