"""Prometheus metrics: counts and latencies by code, never by patient or study."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import CODE_HEADER
from service.jobs.job import Depth, Jobs, JobState, Tally
from service.jobs.tallies import CALLS, OUTCOMES, REASONS, STAGE_BUCKETS_S, STAGES

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
        self._refusals = Counter(
            "acuity_http_refusals",
            "Requests that ended in a problem, by its code.",
            ("code",),
            registry=self._registry,
        )
        self._registry.register(_JobCollector(jobs))

    def note_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def note_refusal(self, code: str) -> None:
        """Count a request that ended in a problem document."""
        self._refusals.labels(code).inc()

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _JobCollector(Collector):
    """Reads the database when asked: figures survive a restart, and are of all processes."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not read jobs that are not open yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The queue as it is, and what jobs came to so far."""
        yield from _queue(self._jobs.depth(), time.time())
        deliveries = GaugeMetricFamily(
            "acuity_deliveries", "Results on their way to targets, by state.", labels=("state",)
        )
        for state, count in self._jobs.deliveries().items():
            deliveries.add_metric((state,), count)
        yield deliveries
        tallies = self._jobs.tallies()
        for name, (metric, text, labels) in _COUNTERS.items():
            family = CounterMetricFamily(metric, text, labels=labels)
            for tally in tallies:
                if tally.name == name:
                    family.add_metric(tally.label.split("/"), tally.count)
            yield family
        yield _stage_times([tally for tally in tallies if tally.name == STAGES])


_COUNTERS: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    OUTCOMES: ("acuity_jobs_ended", "Jobs that came to an end, by state.", ("state",)),
    REASONS: ("acuity_jobs_without_result", "Refused and failed jobs, by code.", ("code",)),
    CALLS: ("acuity_calls", "Levels by what was called; watch for drift.", ("question", "call")),
}


def _queue(depths: Sequence[Depth], now: float) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("acuity_jobs", "Jobs that are kept, by state.", labels=("state",))
    age = GaugeMetricFamily(
        "acuity_queue_age_seconds", "Since the oldest open job was received.", labels=("state",)
    )
    known = {depth.state: depth for depth in depths}
    for state in JobState:
        jobs.add_metric((state.value,), known[state].count if state in known else 0)
        if not state.final:
            oldest = known[state].oldest if state in known else now
            age.add_metric((state.value,), max(0.0, now - oldest))
    yield jobs
    yield age


def _stage_times(tallies: Sequence[Tally]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(
        "acuity_stage_seconds", "Time spent per pipeline stage.", labels=("stage",)
    )
    stages = sorted({tally.label.rpartition("/")[0] for tally in tallies})
    for stage in stages:
        counts = {
            tally.label.rpartition("/")[2]: tally
            for tally in tallies
            if tally.label.rpartition("/")[0] == stage
        }
        buckets, below = [], 0
        for limit in (*(f"{limit:g}" for limit in STAGE_BUCKETS_S), "+Inf"):
            below += counts[limit].count if limit in counts else 0
            buckets.append((limit, float(below)))
        family.add_metric(
            (stage,), buckets, sum_value=sum(tally.total for tally in counts.values())
        )
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
        status, code = 500, ""
        start = time.perf_counter()

        async def noting_send(message: Message) -> None:
            nonlocal status, code
            if message["type"] == "http.response.start":
                status = message["status"]
                code = Headers(raw=message["headers"]).get(CODE_HEADER, "")
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            route = getattr(scope.get("route"), "path", UNMATCHED)
            if code:
                self._metrics.note_refusal(code)
            self._metrics.note_request(scope["method"], route, status, time.perf_counter() - start)
