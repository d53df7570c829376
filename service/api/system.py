"""Routes: health, readiness, metrics, models, and the browser's session."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from models.errors import BundleError
from models.registry import find_bundles, resolve
from service.api.access import SESSION_COOKIE, SESSION_S, Gate, Granted, require
from service.api.metrics import Metrics
from service.api.problems import RESPONSES, ProblemError
from service.api.schemas import BundleDocument, BundleList
from service.jobs.job import Jobs, Readiness
from service.jobs.keys import LOCAL
from service.settings import Settings

public = APIRouter(tags=["system"], responses=RESPONSES)
router = APIRouter(tags=["system"], dependencies=[Depends(require())], responses=RESPONSES)


@public.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether the process answers; it does while a study is read."""
    return {"status": "ok"}


@public.get("/readyz", response_model=Readiness)
async def readyz(request: Request) -> Readiness:
    """Whether a study sent now would be read: bundles open, work folder writable, room to wait."""
    jobs: Jobs = request.app.state.jobs
    readiness = await run_in_threadpool(jobs.readiness)
    if not readiness.ready:
        raise ProblemError(
            503,
            "not_ready",
            "The service cannot read a study now.",
            headers={"Retry-After": "1"},
            members={"checks": readiness.checks},
        )
    return readiness


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counts and latencies for Prometheus, without patient data."""
    collected: Metrics = request.app.state.metrics
    body = await run_in_threadpool(collected.exposition)
    return Response(body, media_type=collected.media_type)


@router.get("/v1/models", response_model=BundleList)
async def models(request: Request) -> BundleList:
    """The model bundles of this installation, and which ones read new studies."""
    return await run_in_threadpool(_bundles, request.app.state.settings)


@router.post("/v1/session", status_code=204)
async def open_session(request: Request, grant: Granted) -> Response:
    """Exchange a key for a cookie, so that a browser can open reports by their links."""
    gate: Gate = request.app.state.gate
    response = Response(status_code=204)
    if grant is not LOCAL:
        response.set_cookie(
            SESSION_COOKIE,
            gate.open_session(grant),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
    return response


def _bundles(settings: Settings) -> BundleList:
    try:
        in_use = {
            resolve(name, bundle_dir=settings.bundle_dir).sha256
            for name in (settings.localiser_bundle, settings.scorer_bundle)
        }
        found = find_bundles(settings.bundle_dir)
    except BundleError as error:
        raise ProblemError(503, error.code, f"{error}.") from error
    return BundleList(
        models=tuple(
            BundleDocument(
                name=bundle.name,
                version=bundle.version,
                sha256=bundle.sha256,
                in_use=bundle.sha256 in in_use,
            )
            for bundle in found
        )
    )
