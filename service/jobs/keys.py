"""Keys of clients: made here, shown once, kept as a digest.

A key is `acuity_<id>_<secret>` with a secret of 256 random bits. Kept is the SHA-256 of the secret:
a slow hash protects what people think up; nobody can guess 256 bits, so a fast one that can be
checked with every request loses nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Engine, Row, and_, func, insert, select, update

from service.jobs.database import API_KEYS

PREFIX: Final = "acuity"
DAY_S: Final = 86_400.0


class Scope(StrEnum):
    """What a client may do. No scope gives anything of another, but for `admin`: it gives all."""

    SUBMIT = "submit"
    """Hand in studies and follow their jobs."""
    READ = "read"
    """See reports, and plan with them."""
    REVIEW = "review"
    """Verify, correct or reject reports."""
    ADMIN = "admin"
    """Everything, deleting studies included."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Who a client is and what it may do.

    Attributes:
        name: For the audit trail: `key:NAME`, `token:SUBJECT` or `local`.
    """

    name: str
    scopes: frozenset[Scope]

    def allows(self, wanted: Collection[Scope]) -> bool:
        """Whether any of the scopes wanted is given."""
        return Scope.ADMIN in self.scopes or not self.scopes.isdisjoint(wanted)


LOCAL: Final = Grant("local", frozenset(Scope))
"""This machine's own users, where no authentication is set up."""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key as it is listed; times in seconds since the epoch."""

    key_id: str
    name: str
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None
    revoked_at: float | None

    def valid(self, now: float) -> bool:
        """Whether the key opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class ApiKeys:
    """The keys of an installation.

    Args:
        engine: Of a migrated database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, name: str, scopes: Collection[Scope], days: float | None = None) -> str:
        """Make a key.

        Args:
            name: For people and the audit trail.
            scopes: What it may do.
            days: How long; None until it is revoked.

        Returns:
            The key, which nobody can find out again.
        """
        key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        now = time.time()
        row = {
            "key_id": key_id,
            "name": name,
            "digest": _digest(secret),
            "scopes": " ".join(sorted(scopes)),
            "created_at": now,
            "expires_at": None if days is None else now + days * DAY_S,
        }
        with self._engine.begin() as connection:
            connection.execute(insert(API_KEYS).values(**row))
        return f"{PREFIX}_{key_id}_{secret}"

    def revoke(self, key_id: str) -> bool:
        """Make a key useless; False when there is no such key in use."""
        with self._engine.begin() as connection:
            changed = connection.execute(
                update(API_KEYS)
                .where(and_(API_KEYS.c.key_id == key_id, API_KEYS.c.revoked_at.is_(None)))
                .values(revoked_at=time.time())
            )
        return changed.rowcount == 1

    def listing(self) -> tuple[KnownKey, ...]:
        """Every key ever made, oldest first."""
        asked = select(API_KEYS).order_by(API_KEYS.c.created_at)
        with self._engine.connect() as connection:
            return tuple(_known(row) for row in connection.execute(asked))

    def exist(self) -> bool:
        """Whether a key was ever made: from then on nobody is let in without one."""
        with self._engine.connect() as connection:
            count = connection.execute(select(func.count()).select_from(API_KEYS)).scalar_one()
        return int(count) > 0

    def find(self, key: str) -> Grant | None:
        """Who holds a key, None for a wrong, expired or revoked one."""
        prefix, _, rest = key.partition("_")
        key_id, _, secret = rest.partition("_")
        if prefix != PREFIX or not secret:
            return None
        with self._engine.connect() as connection:
            row = connection.execute(select(API_KEYS).where(API_KEYS.c.key_id == key_id)).first()
        if row is None or not hmac.compare_digest(row.digest, _digest(secret)):
            return None
        known = _known(row)
        return Grant(f"key:{known.name}", known.scopes) if known.valid(time.time()) else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _known(row: Row[Any]) -> KnownKey:
    return KnownKey(
        key_id=row.key_id,
        name=row.name,
        scopes=frozenset(Scope(scope) for scope in row.scopes.split()),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
