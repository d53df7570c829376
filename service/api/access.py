"""Who may use the service: holders of a key or token, or, where neither is set up, this machine."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from typing import Annotated, Final, Protocol

from fastapi import Depends, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from service.api.problems import ProblemError
from service.jobs.keys import LOCAL, Grant, Scope

SESSION_COOKIE: Final = "acuity_session"
SESSION_S: Final = 8 * 3600
"""How long a browser stays signed in: one working day."""

REMEMBERED_S: Final = 5.0
"""How long an answer about a key is believed; a revoked key is of no use after that."""

MOST_REMEMBERED: Final = 1000

_HASHED: Final = re.compile(r"sha256:([0-9a-f]{64})(?::([a-z,]+))?")


class KeyStore(Protocol):
    """Keys that can be made and revoked while the service runs."""

    def exist(self) -> bool:
        """Whether a key was ever made."""

    def find(self, key: str) -> Grant | None:
        """Who holds a key."""


class TokenStore(Protocol):
    """Tokens that somebody else gives out."""

    def grant_of(self, token: str) -> Grant | None:
        """Who a token is of."""


class Gate:
    """Knows clients by their keys, tokens and sessions. Thread-safe.

    Args:
        keys: Of the settings: plain, or as `sha256:DIGEST[:SCOPES]`.
        store: Keys made by `acuity keys`.
        tokens: Of an identity provider.
    """

    def __init__(
        self,
        keys: Iterable[str],
        store: KeyStore | None = None,
        tokens: TokenStore | None = None,
    ) -> None:
        self._keys = tuple(_configured(keys))
        self._store = store
        self._tokens = tokens
        self._sessions: dict[bytes, tuple[Grant, float]] = {}
        self._remembered: dict[bytes, tuple[Grant | None, float]] = {}
        self._open: tuple[bool, float] = (not self._keys and tokens is None, 0.0)
        self._lock = threading.Lock()

    def open(self) -> bool:
        """Whether no authentication is set up. May ask the database."""
        if self._keys or self._tokens is not None or self._store is None:
            return self._open[0]
        is_open, until = self._open
        if time.monotonic() >= until:
            is_open = not self._store.exist()
            self._open = (is_open, time.monotonic() + REMEMBERED_S)
        return is_open

    def grant_of(self, presented: str) -> Grant | None:
        """Who a key or token is of. May ask the database or the identity provider."""
        digest = _digest(presented)
        for known, grant in self._keys:
            if hmac.compare_digest(digest, known):
                return grant
        found, until = self._remembered.get(digest, (None, 0.0))
        if time.monotonic() >= until:
            found = self._look_up(presented)
            self._remember(digest, found)
        return found

    def open_session(self, grant: Grant) -> str:
        """Make a token for a browser."""
        token = secrets.token_urlsafe(32)
        now = time.monotonic()
        with self._lock:
            self._sessions = {key: one for key, one in self._sessions.items() if one[1] > now}
            self._sessions[_digest(token)] = (grant, now + SESSION_S)
        return token

    def session_grant(self, token: str) -> Grant | None:
        """Who a browser's token is of, None when it is not ours or over."""
        with self._lock:
            grant, until = self._sessions.get(_digest(token), (None, 0.0))
        return grant if until > time.monotonic() else None

    def _look_up(self, presented: str) -> Grant | None:
        found = self._store.find(presented) if self._store is not None else None
        # A token is checked each time: it has an end of its own.
        if found is None and self._tokens is not None and presented.count(".") == 2:
            found = self._tokens.grant_of(presented)
        return found

    def _remember(self, digest: bytes, grant: Grant | None) -> None:
        with self._lock:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[digest] = (grant, time.monotonic() + REMEMBERED_S)


def _configured(keys: Iterable[str]) -> Iterator[tuple[bytes, Grant]]:
    for number, key in enumerate(keys, 1):
        hashed = _HASHED.fullmatch(key)
        if hashed is None:
            yield _digest(key), Grant(f"key:configured-{number}", frozenset(Scope))
            continue
        names = (hashed[2] or Scope.ADMIN.value).split(",")
        grant = Grant(f"key:configured-{number}", frozenset(Scope(name) for name in names))
        yield bytes.fromhex(hashed[1]), grant


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


_BEARER: Final = HTTPBearer(
    auto_error=False, description="An API key, or a token of the hospital's identity provider"
)
_KEY_HEADER: Final = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key")


async def grant_of_request(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    key: Annotated[str | None, Security(_KEY_HEADER)],
) -> Grant:
    """Who sent a request.

    Raises:
        ProblemError: 401 when nobody knows.
    """
    gate: Gate = request.app.state.gate
    presented = bearer.credentials if bearer is not None else key
    grant = await run_in_threadpool(gate.grant_of, presented) if presented else None
    if grant is None:
        grant = gate.session_grant(request.cookies.get(SESSION_COOKIE, ""))
    if grant is None and await run_in_threadpool(gate.open):
        grant = LOCAL
    if grant is None:
        raise ProblemError(
            401,
            "unauthorized",
            "Send a key or token as `Authorization: Bearer …`, or a key as `X-API-Key: …`.",
            headers={"WWW-Authenticate": 'Bearer realm="vertebral-acuity"'},
        )
    request.state.grant = grant
    return grant


Granted = Annotated[Grant, Depends(grant_of_request)]


def require(*scopes: Scope) -> Callable[..., Awaitable[None]]:
    """A dependency that lets a request pass whose sender has any of some scopes.

    Args:
        scopes: None for anybody who is known.
    """

    async def check(grant: Granted) -> None:
        check_scope(grant, scopes)

    return check


def check_scope(grant: Grant, scopes: Collection[Scope]) -> None:
    """Let a client pass that has any of some scopes.

    Raises:
        ProblemError: 403 when it has none.
    """
    if scopes and not grant.allows(scopes):
        wanted = " or ".join(scope.value for scope in scopes)
        raise ProblemError(
            403,
            "insufficient_scope",
            f"This needs the scope {wanted}.",
            headers={
                "WWW-Authenticate": (
                    f'Bearer realm="vertebral-acuity", error="insufficient_scope", '
                    f'scope="{" ".join(scope.value for scope in scopes)}"'
                )
            },
        )
