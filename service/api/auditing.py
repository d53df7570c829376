"""Who did what with whose study: a record in the audit trail for each request that did anything."""

from __future__ import annotations

from typing import Final

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.audit import Deed, Event, Outcome, Trail

log = structlog.get_logger()

DEEDS: Final = {
    ("POST", "/v1/studies"): Event.IMPORT,
    ("POST", "/dicom-web/studies"): Event.IMPORT,
    ("POST", "/dicom-web/studies/{study_uid}"): Event.IMPORT,
    ("POST", "/v1/retrievals"): Event.IMPORT,
    ("GET", "/v1/studies"): Event.QUERY,
    ("POST", "/v1/studies/{study_uid}/review"): Event.REVIEW,
    ("DELETE", "/v1/studies/{study_uid}"): Event.DELETED,
    ("POST", "/v1/session"): Event.AUTHENTICATION,
}
"""What a request on a route does. Every other route under a study or a job is looking at it."""

_LOOKING: Final = ("/v1/studies/{study_uid}", "/v1/jobs/{job_id}/report")
_REFUSED: Final = frozenset({401, 403})
_NO_ANSWER: Final = 500


class Auditing:
    """Writes the trail: on the disk before the first byte of an answer is sent.

    A trail that cannot be written is said in the log, loudly, and keeps nobody from a report.
    """

    def __init__(self, app: ASGIApp, trail: Trail) -> None:
        self._app = app
        self._trail = trail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note what came of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Routes and guards write here who asked, and which job it became.
        scope.setdefault("state", {})
        answered = False

        async def noting_send(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                await self._note(scope, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            if not answered:
                await self._note(scope, _NO_ANSWER)

    async def _note(self, scope: Scope, status: int) -> None:
        event = _event_of(scope, status)
        if event is None:
            return
        try:
            count = self._trail.note(_deed(event, scope, scope["state"], status))
            await run_in_threadpool(self._trail.settle, count)
        except OSError as error:
            log.critical("audit_not_written", error=type(error).__name__)


def _event_of(scope: Scope, status: int) -> Event | None:
    if status in _REFUSED:
        return Event.REFUSED
    route = getattr(scope.get("route"), "path", "")
    known = DEEDS.get((scope["method"], route))
    if known is None and route.startswith(_LOOKING):
        return Event.ACCESSED
    return known


def _deed(event: Event, scope: Scope, state: dict[str, object], status: int) -> Deed:
    grant = state.get("grant")
    client = scope.get("client")
    parameters = scope.get("path_params", {})
    return Deed(
        event=event,
        user=getattr(grant, "name", ""),
        address=client[0] if client else "",
        outcome=Outcome.of_status(status),
        study_instance_uid=str(parameters.get("study_uid", "")),
        job_id=str(state.get("job_id") or parameters.get("job_id", "")),
    )
