"""Prometheus metrics: counts and latencies by code, never by patient or study."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.jobs.job import Job, Jobs, JobState

UNMATCHED: Final = "unmatched"
"""Route label of requests that no route took: their paths are the client's and unbounded."""


class Metrics:
    """The metrics of one application, in a registry of its own."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, jobs: Jobs) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "acuity_http_requests",
            "Requests by route and status.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._latency = Histogram(
            "acuity_http_request_seconds",
            "Time to the end of a response, by route.",
            ("route",),
            registry=self._registry,
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300),
        )
        self._registry.register(_JobCollector(jobs))

    def note_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _JobCollector(Collector):
    """Reads the jobs when asked, so that figures survive a restart as the jobs do."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not read jobs that are not open yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Jobs by state, refusals and failures by code, time per pipeline stage."""
        jobs = self._jobs.listing()
        states = GaugeMetricFamily("acuity_jobs", "Jobs by state.", labels=("state",))
        tally = Tally(job.state for job in jobs)
        for state in JobState:
            states.add_metric((state.value,), tally[state])
        yield states
        reasons = GaugeMetricFamily(
            "acuity_jobs_without_result", "Refused and failed jobs by code.", labels=("code",)
        )
        for code, count in sorted(Tally(_codes(jobs)).items()):
            reasons.add_metric((code,), count)
        yield reasons
        yield _stage_times(jobs)


def _codes(jobs: tuple[Job, ...]) -> Iterator[str]:
    for job in jobs:
        if job.outcome is not None and job.outcome.reason is not None:
            yield job.outcome.reason.code


def _stage_times(jobs: tuple[Job, ...]) -> SummaryMetricFamily:
    family = SummaryMetricFamily(
        "acuity_stage_seconds", "Time spent per pipeline stage.", labels=("stage",)
    )
    counts: Tally[str] = Tally()
    sums: dict[str, float] = {}
    for job in jobs:
        for stage, milliseconds in (job.outcome.stages_ms if job.outcome else {}).items():
            counts[stage] += 1
            sums[stage] = sums.get(stage, 0.0) + milliseconds / 1000
    for stage, count in sorted(counts.items()):
        family.add_metric((stage,), count, sums[stage])
    return family


class RequestMetrics:
    """Counts every request under the route that took it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note its status."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        start = time.perf_counter()

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            route = getattr(scope.get("route"), "path", UNMATCHED)
            self._metrics.note_request(scope["method"], route, status, time.perf_counter() - start)
