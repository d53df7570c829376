"""Every error as a problem document (RFC 9457) with a stable `code`.

`type` is a URN made of the code and is not dereferenceable. Neither `detail` nor any member holds
patient data or the value that was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from service.jobs.content import ContentTooLargeError, InvalidArchiveError
from service.jobs.folders import DiskFullError
from service.jobs.job import QueueFullError

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"

CODE_HEADER: Final = "X-Problem-Code"
"""Names the code again, for proxies and metrics that do not read bodies."""

RETRY_AFTER_S: Final = 10
"""What a client is asked to wait when the queue is full: a few studies are read in that time."""

_CODES: Final[Mapping[int, str]] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "content_too_large",
    415: "unsupported_media_type",
}


class Problem(BaseModel):
    """The problem document; some problems add members of their own."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str
    detail: str


class ProblemError(Exception):
    """Ends a request with a problem document.

    Args:
        status: HTTP status.
        code: Stable code.
        detail: One sentence for the person who reads the log of the client.
        headers: Added to the response.
        members: Added to the document.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = dict(members or {})

    def response(self) -> JSONResponse:
        """The document as a response."""
        problem = Problem(
            type=f"urn:vertebral-acuity:problem:{self.code}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            code=self.code,
            detail=self.detail,
            **self.members,
        )
        return JSONResponse(
            problem.model_dump(mode="json"),
            status_code=self.status,
            media_type=MEDIA_TYPE,
            headers={CODE_HEADER: self.code, **self.headers},
        )


RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "Any error, as a problem document (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }
}
"""For the OpenAPI document of every route."""


def install(app: FastAPI) -> None:
    """Turn every exception that reaches the application into a problem document."""
    app.add_exception_handler(ProblemError, _of_problem)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(QueueFullError, _of_no_room)
    app.add_exception_handler(DiskFullError, _of_no_room)
    app.add_exception_handler(InvalidArchiveError, _of_invalid_archive)
    app.add_exception_handler(ContentTooLargeError, _of_large_content)
    app.add_exception_handler(Exception, _of_anything)


def _of_problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)  # noqa: S101  what it is registered for
    return error.response()


def _of_validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    # The value sent is left out: it may be an identifier.
    errors = [
        {"where": ".".join(str(part) for part in item["loc"]), "message": str(item["msg"])}
        for item in error.errors()
    ]
    return ProblemError(
        422, "validation_failed", "The request is not as described.", members={"errors": errors}
    ).response()


def _of_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = _CODES.get(error.status_code, "http_error")
    detail = f"{HTTPStatus(error.status_code).phrase}."
    return ProblemError(error.status_code, code, detail, headers=error.headers).response()


def _of_no_room(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, QueueFullError | DiskFullError)  # noqa: S101
    return ProblemError(
        503, error.code, f"{error}.", headers={"Retry-After": str(RETRY_AFTER_S)}
    ).response()


def _of_invalid_archive(_request: Request, error: Exception) -> JSONResponse:
    return ProblemError(422, InvalidArchiveError.code, f"{error}.").response()


def _of_large_content(_request: Request, error: Exception) -> JSONResponse:
    return ProblemError(413, ContentTooLargeError.code, f"{error}.").response()


def _of_anything(_request: Request, error: Exception) -> JSONResponse:
    # The service's border: what nobody foresaw is named by its type only.
    log.error("request_failed", code="internal", error=type(error).__name__)
    return ProblemError(500, "internal", "Something went wrong in the service.").response()
