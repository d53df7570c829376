"""The application: routes, guards and jobs put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from service.api import dicomweb, pages, plan, problems, retrievals, review, studies, system
from service.api import jobs as job_routes
from service.api.access import BrowserGuard, Gate
from service.api.headers import SecurityHeaders
from service.api.metrics import Metrics, RequestMetrics
from service.jobs.job import Jobs
from service.pacs.gateway import Gateway
from service.planning.profiles import load_profiles
from service.settings import Settings


def create_app(settings: Settings, jobs: Jobs, gateway: Gateway | None = None) -> FastAPI:
    """Build the application around jobs; they start and stop with it.

    Args:
        settings: Of this installation.
        jobs: Where studies go and reports come from.
        gateway: To the hospital's network; None leaves its routes out.

    Raises:
        ProfileError: A planning profile does not make sense; said at start, not at a plan.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        jobs.start()
        try:
            if gateway is not None:
                gateway.start()
            yield
        finally:
            if gateway is not None:
                await run_in_threadpool(gateway.close)
            jobs.close()

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
    app.state.gate = Gate(key.get_secret_value() for key in settings.api_keys)
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
    app.add_middleware(RequestMetrics, metrics=app.state.metrics)
    app.add_middleware(SecurityHeaders)
    return app
