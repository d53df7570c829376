"""Routes: the page at `/` and its two files. They hold no data, so anyone may load them."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Response

from service.api.headers import PAGE_POLICY
from service.api.problems import ProblemError

_FILES: Final = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index() -> Response:
    """The list of studies."""
    return _file("index.html")


@router.get("/web/{name}")
async def page_file(name: str) -> Response:
    """A style sheet, script or picture of the page."""
    if name not in _FILES:
        raise ProblemError(404, "not_found", "Not Found.")
    return _file(name)


def _file(name: str) -> Response:
    content = (files("service.web") / name).read_bytes()
    return Response(
        content, media_type=_FILES[name], headers={"Content-Security-Policy": PAGE_POLICY}
    )
