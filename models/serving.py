"""Which version of a model serves: a history in the site's store, and the way back in it.

    <store>/<name>/serving.json                 versions that have served, the last one serves
    <store>/<name>/<version>.promotion.json     signed: seal, evidence and data of a promotion

Without `serving.json` the newest version of the first store serves, as `models.registry` says. A
promotion appends to the history and a rollback appends what was before it, so nothing is lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Final

from models.durable import write_durably
from models.errors import BundleError
from models.manifest import is_version
from models.signing import SignatureError, read_public_key, verified

SERVING: Final = "serving.json"
SCHEMA: Final = 1


class RollbackError(BundleError):
    """There is no version to go back to."""

    code: ClassVar[str] = "nothing_to_roll_back"


@dataclass(frozen=True, slots=True)
class Turn:
    """A version's turn to serve.

    Attributes:
        version, sha256: Of the bundle.
        since: When it began, UTC, ISO 8601.
        why: "before", "promoted" or "rolled_back".
    """

    version: str
    sha256: str
    since: str
    why: str


def turns(store: Path, name: str) -> tuple[Turn, ...]:
    """The history of a model in a store, oldest first; empty when nothing was promoted.

    Raises:
        BundleError: The file is damaged or of a newer version.
    """
    path = store / name / SERVING
    if not path.is_file():
        return ()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise BundleError(f"{name}: {SERVING} is of another version")
        history = tuple(Turn(**turn) for turn in document["turns"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BundleError(f"{name}: {SERVING} cannot be read") from error
    if not history or not all(is_version(turn.version) for turn in history):
        raise BundleError(f"{name}: {SERVING} names no version")
    return history


def serve(store: Path, name: str, bundle: tuple[str, str], before: tuple[str, str]) -> Turn:
    """Let a version serve from now on.

    Args:
        store: The site's store.
        name: Of the model.
        bundle: (version, sha256) of what is to serve.
        before: (version, sha256) of what served until now; kept as the first turn.
    """
    history = list(turns(store, name)) or [Turn(*before, _now(), "before")]
    turn = Turn(*bundle, _now(), "promoted")
    _write(store / name / SERVING, [*history, turn])
    return turn


def roll_back(store: Path, name: str) -> Turn:
    """Let the version serve again that served before the present one.

    Going back twice goes back two promotions, not to and fro.

    Raises:
        RollbackError: Nothing served before it.
    """
    history = list(turns(store, name))
    standing = _standing(history)
    if len(standing) < 2:
        raise RollbackError(f"no version of {name} served before the present one")
    earlier = standing[-2]
    turn = Turn(earlier.version, earlier.sha256, _now(), "rolled_back")
    _write(store / name / SERVING, [*history, turn])
    return turn


def _standing(history: list[Turn]) -> list[Turn]:
    """The turns that are not undone: a rollback takes the last one away."""
    standing: list[Turn] = []
    for turn in history:
        if turn.why == "rolled_back":
            standing.pop()
        else:
            standing.append(turn)
    return standing


def promotion_path(store: Path, name: str, version: str) -> Path:
    """Where the signed record of a promotion lies."""
    return store / name / f"{version}.promotion.json"


def write_promotion(store: Path, name: str, version: str, record: Mapping[str, Any]) -> Path:
    """Write the signed record of a promotion, whole or not at all."""
    path = promotion_path(store, name, version)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, json.dumps(dict(record), indent=1, sort_keys=True).encode())
    return path


def read_promotion(store: Path, name: str, version: str) -> dict[str, Any]:
    """Read the signed record of a promotion.

    Raises:
        BundleError: There is none, or it is damaged.
    """
    try:
        record = json.loads(promotion_path(store, name, version).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{name} {version} has no readable record of its promotion") from error
    if not isinstance(record, dict):
        raise BundleError(f"{name} {version} has no readable record of its promotion")
    return record


def require_signature(store: Path, bundle: tuple[str, str, str], folder: Path, key: Path) -> None:
    """Hold a bundle of a site's store to the site's public key; others are not looked at.

    Args:
        store: The site's store.
        bundle: (name, version, sha256).
        folder: Where the bundle lies.
        key: The public key, PEM.

    Raises:
        SignatureError: It was not promoted under this key, or is not what was signed.
    """
    if not folder.resolve().is_relative_to(store.resolve()):
        return
    name, version, _ = bundle
    try:
        record = read_promotion(store, name, version)
    except BundleError as error:
        raise SignatureError(f"model bundle {name} {version} is not signed") from error
    statement = verified(record, read_public_key(key))
    if (statement["name"], statement["version"], statement["sha256"]) != bundle:
        raise SignatureError(f"model bundle {name} {version} is not what its record was signed for")


def _write(path: Path, history: list[Turn]) -> None:
    document = {"schema": SCHEMA, "turns": [asdict(turn) for turn in history]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, json.dumps(document, indent=1).encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
