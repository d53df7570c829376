"""The application: routes, guards and jobs put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from service.api import dicomweb, pages, plan, problems, retrievals, review, studies, system
from service.api import jobs as job_routes
from service.api.access import Gate, KeyStore
from service.api.auditing import Auditing
from service.api.browsers import BrowserGuard
from service.api.headers import SecurityHeaders
from service.api.metrics import Metrics, RequestMetrics
from service.api.tokens import token_checker
from service.audit import Trail
from service.jobs.job import Jobs
from service.pacs.gateway import Gateway
from service.planning.profiles import load_profiles
from service.settings import Settings

log = structlog.get_logger()


def create_app(
    settings: Settings,
    jobs: Jobs,
    gateway: Gateway | None = None,
    keys: KeyStore | None = None,
    trail: Trail | None = None,
) -> FastAPI:
    """Build the application around jobs; they start and stop with it.

    Args:
        settings: Of this installation.
        jobs: Where studies go and reports come from.
        gateway: To the hospital's network; None leaves its routes out.
        keys: Keys made by `acuity keys`.
        trail: Of who did what; it ends with the application. None keeps none.

    Raises:
        ProfileError: A planning profile does not make sense; said at start, not at a plan.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            await run_in_threadpool(jobs.start)
        except Exception as error:
            # The server says nothing of it: its messages may quote an address with its password.
            log.critical("start_failed", error=type(error).__name__)
            raise
        try:
            if gateway is not None:
                gateway.start()
            yield
        finally:
            if gateway is not None:
                await run_in_threadpool(gateway.close)
            jobs.close()
            if trail is not None:
                trail.close()

    app = FastAPI(
        title="vertebral-acuity",
        version=version("vertebral-acuity"),
        description="Spine MRI in, per-level findings out. Research software, no medical device.",
        lifespan=lifespan,
        # Their pages load scripts from elsewhere; the document itself is at /openapi.json.
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.jobs = jobs
    app.state.profiles = load_profiles(settings.planning_profiles)
    app.state.gate = Gate(
        (key.get_secret_value() for key in settings.api_keys), keys, token_checker(settings)
    )
    app.state.metrics = Metrics(jobs)
    for router in (
        studies.router,
        plan.router,
        review.router,
        job_routes.router,
        system.public,
        system.router,
        pages.router,
    ):
        app.include_router(router)
    if gateway is not None:
        app.state.gateway = gateway
        app.include_router(dicomweb.router)
        app.include_router(retrievals.router)
    problems.install(app)
    # Outermost last: a request that is turned away is counted and gets the headers, too.
    app.add_middleware(BrowserGuard, gate=app.state.gate)
    if trail is not None:
        app.add_middleware(Auditing, trail=trail)
    app.add_middleware(RequestMetrics, metrics=app.state.metrics)
    app.add_middleware(SecurityHeaders)
    return app
