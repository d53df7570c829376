"""Turns away what only a foreign web page would send, and, without keys, other machines."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.access import Gate
from service.api.hosts import is_loopback
from service.api.problems import ProblemError

UNGUARDED: Final = frozenset({"/healthz"})
"""Answers whatever the database does, and says nothing."""


class BrowserGuard:
    """Guards the service in front of every route.

    Without keys a page in the user's browser could otherwise reach the service on loopback: by a
    form sent across origins, or by a name of its own that it points at this machine.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] == "http":
            problem = await self._problem(Request(scope))
            if problem is not None:
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _problem(self, request: Request) -> ProblemError | None:
        host = request.headers.get("host", "")
        local = (
            request.client is not None
            and is_loopback(request.client.host)
            and is_loopback(urlsplit(f"//{host}").hostname or "")
        )
        guarded = not local and request.url.path not in UNGUARDED
        if guarded and await run_in_threadpool(self._gate.open):
            return ProblemError(
                403, "host_not_allowed", "Without API keys only this machine is served."
            )
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return ProblemError(403, "cross_origin", "Requests of other sites are not served.")
        return None
