"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from folioscope.types import PageResult

METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
"""Others are counted as one, whatever clients think of."""

SECONDS = (0.005, 0.02, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one server; any thread may count."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "folioscope_requests", "Requests answered; 499: the client went first.", ["route", "method", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "folioscope_request_seconds", "From a request's head to the end of its answer.", ["route"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._stages = Histogram(
            "folioscope_stage_seconds", "What requests spend their time in: wait, page, embed, predict, everything.",
            ["stage"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._pages = Counter("folioscope_pages", "Pages read, by status.", ["status"], registry=self.registry)
        self._tokens = Counter("folioscope_tokens", "Tokens: of prompts, image included, and of answers.", ["kind"],
                               registry=self.registry)  # fmt: skip
        self._speed = Gauge("folioscope_page_tokens_per_second", "Tokens of the last page's answer a second.",
                            registry=self.registry)  # fmt: skip

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        self._requests.labels(route, method if method in METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def stage(self, stage: str, seconds: float) -> None:
        self._stages.labels(stage).observe(seconds)

    def page(self, result: PageResult) -> None:
        self._pages.labels(result.status).inc()
        usage = result.usage
        self._tokens.labels("prompt").inc(usage.prompt_tokens)
        self._tokens.labels("output").inc(usage.output_tokens)
        self.stage("page", usage.seconds)
        if usage.seconds:
            self._speed.set(usage.output_tokens / usage.seconds)

    def gauge(self, name: str, help: str, value: Callable[[], float]) -> None:
        """A number that is asked for when somebody looks."""
        Gauge(name, help, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
