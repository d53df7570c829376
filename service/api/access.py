"""Who may use the service: holders of a key, or, when no key is set, this machine alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.hosts import is_loopback
from service.api.problems import ProblemError

SESSION_COOKIE: Final = "acuity_session"
SESSION_S: Final = 8 * 3600
"""How long a browser stays signed in: one working day."""


class Gate:
    """Checks keys and keeps browser sessions.

    Args:
        keys: The keys of which a client must send one; none opens the gate to this machine only.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = tuple(_digest(key) for key in keys)
        self._sessions: dict[bytes, float] = {}
        self._lock = threading.Lock()

    @property
    def open(self) -> bool:
        """Whether no key is set."""
        return not self._keys

    def admits_key(self, key: str) -> bool:
        """Compare with every key, in the same time whatever the answer."""
        digest = _digest(key)
        matches = [hmac.compare_digest(digest, known) for known in self._keys]
        return any(matches)

    def open_session(self) -> str:
        """Make a token for a browser."""
        token = secrets.token_urlsafe(32)
        now = time.monotonic()
        with self._lock:
            self._sessions = {key: end for key, end in self._sessions.items() if end > now}
            self._sessions[_digest(token)] = now + SESSION_S
        return token

    def admits_session(self, token: str) -> bool:
        """Whether the token is ours and not over."""
        with self._lock:
            return self._sessions.get(_digest(token), 0.0) > time.monotonic()


async def require_access(request: Request) -> None:
    """Let a request pass that carries a key or a session.

    Raises:
        ProblemError: 401 when it does not.
    """
    gate: Gate = request.app.state.gate
    if gate.open or _has_key(gate, request):
        return
    if gate.admits_session(request.cookies.get(SESSION_COOKIE, "")):
        return
    raise ProblemError(
        401,
        "unauthorized",
        "Send an API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
        headers={"WWW-Authenticate": 'Bearer realm="vertebral-acuity"'},
    )


def _has_key(gate: Gate, request: Request) -> bool:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    presented = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key")
    return bool(presented) and gate.admits_key(presented or "")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class BrowserGuard:
    """Turns away what only a foreign web page would send.

    Without keys a page in the user's browser could otherwise reach the service on loopback: by a
    form sent across origins, or by a name of its own that it points at this machine.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] == "http":
            problem = self._problem(Request(scope))
            if problem is not None:
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _problem(self, request: Request) -> ProblemError | None:
        host = request.headers.get("host", "")
        if self._gate.open and not (
            request.client is not None
            and is_loopback(request.client.host)
            and is_loopback(urlsplit(f"//{host}").hostname or "")
        ):
            return ProblemError(
                403, "host_not_allowed", "Without API keys only this machine is served."
            )
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return ProblemError(403, "cross_origin", "Requests of other sites are not served.")
        return None
