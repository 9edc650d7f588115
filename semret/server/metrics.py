"""What is counted, in the form of Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import Scope

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Answered(Protocol):
    """An answer whose status is known in the end."""

    status: int


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._seconds = Histogram(
            "semret_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["route", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "semret_search_stage_seconds",
            "Of each stage of a search.",
            ["stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._now = Gauge("semret_requests_now", "Requests being answered.", registry=self._registry)
        self._reopened = Counter(
            "semret_index_reopened", "Times that a change of the index was taken over.", registry=self._registry
        )

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Show a number that is asked for whenever somebody looks.

        Parameters
        ----------
        name, meaning : str
        value : callable
            Returns it.
        """
        Gauge(name, meaning, registry=self._registry).set_function(value)

    def stages(self, seconds: dict[str, float]) -> None:
        """Count a search.

        Parameters
        ----------
        seconds : dict
            By stage.
        """
        for stage, spent in seconds.items():
            self._stages.labels(stage).observe(spent)

    def reopened(self) -> None:
        """Count a change of the index."""
        self._reopened.inc()

    @contextmanager
    def request(self, scope: Scope, answer: Answered) -> Iterator[None]:
        """Count a request.

        Parameters
        ----------
        scope : dict
            Of the request, in which the application notes the route.
        answer : Answered

        Yields
        ------
        None
        """
        begin = time.perf_counter()
        with self._now.track_inprogress():
            yield
        route = getattr(scope.get("route"), "path", "none")
        self._seconds.labels(route, str(answer.status)).observe(time.perf_counter() - begin)

    def as_text(self) -> bytes:
        """Return all of it.

        Returns
        -------
        bytes
            Text format 0.0.4.
        """
        return generate_latest(self._registry)
