"""The page and the interface of `semret serve` behind Ray Serve: several fronts, one set of shards behind them all."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType
from typing import Any

import ray
import ray.util
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions
from ray.serve.exceptions import RayServeException

from semret.cluster.connection import LOCAL, connected
from semret.cluster.front import Front, Layout, Plan
from semret.cluster.shards import NAMESPACE
from semret.cluster.spread import fresh_name
from semret.errors import ClusterError, cut_text
from semret.server.run import EVERYWHERE, FINISH_SECONDS, address_of, listen
from semret.server.settings import Settings, is_loopback

APPLICATION = "semret"

_MOST_REQUESTS = 1000
"""Of one front; those that search queue at its desk, which refuses what is too much."""


def serve_on_ray(plan: Plan, address: str, ready: Callable[[str], None], tell: Callable[[str], None]) -> None:
    """Serve an index from a cluster until SIGTERM or Ctrl-C; then finish what is being answered.

    Parameters
    ----------
    plan : Plan
        Its settings may leave the port open.
    address : str
        Of the cluster; see `semret.cluster.connection.connected`.
    ready : callable
        Called with the address of the page once it can be opened.
    tell : callable
        Called with a line for whoever waits, if the cluster has too few processors.

    Raises
    ------
    ArgumentError
        If the port cannot be listened on.
    ClusterError
        If there is no cluster, Ray Serve runs in it already, or the fronts do not start.
    """
    with listen(plan.settings) as listener:
        plan = replace(plan, settings=replace(plan.settings, port=listener.getsockname()[1]))
    with connected(address), _serving(plan.settings, address), _told_to_stop() as stop:
        _tell_who_reaches_it(plan.settings, tell)
        _clear(plan.name)
        # Shards of a server that was killed are named alike, but not the same.
        plan = replace(plan, name=f"{plan.name}-{fresh_name()}")
        shards = plan.start_shards()
        try:
            _tell_what_is_missing(plan.layout, tell)
            _run(plan)
            ready(page_address(plan.settings))
            stop.wait()
            # Requests that are being answered are waited for; the proxy takes no more for an application that goes.
            serve.delete(APPLICATION)
        finally:
            shards.close()


def page_address(settings: Settings) -> str:
    """Return the address that the page is opened by, while Ray Serve listens.

    The head listens in any case, other computers where a replica is: on this one, from which the server was started,
    there need be none.

    Parameters
    ----------
    settings : Settings
        With the port that is listened on.

    Returns
    -------
    str
    """
    if settings.host in EVERYWHERE and not _is_on_head():
        settings = replace(settings, host=_head())
    return address_of(settings)


def _head() -> str:
    address: str = ray.get_runtime_context().gcs_address
    return address.rpartition(":")[0]


def _is_on_head() -> bool:
    here: str = ray.util.get_node_ip_address()
    return _head() == here


def _tell_who_reaches_it(settings: Settings, tell: Callable[[str], None]) -> None:
    """Say where an address of one computer is one: Ray Serve listens on the head, not where the command runs."""
    if is_loopback(settings.host) and not _is_on_head():
        tell(f"{settings.host} is that of the head, {_head()}: only there the page can be opened; see --host")


def _clear(name: str) -> None:
    """End shards that a server of this name has left behind: one that was killed could not."""
    for one in ray.util.list_named_actors(all_namespaces=True):
        if one["namespace"] == NAMESPACE and one["name"].startswith(f"{name}-"):
            with contextlib.suppress(ValueError, RayError):
                ray.kill(ray.get_actor(**one))


def _tell_what_is_missing(layout: Layout, tell: Callable[[str], None]) -> None:
    wanted = layout.shards * layout.copies * layout.cpus + layout.fronts * layout.front_cpus
    resources: Any = ray.cluster_resources
    there = resources().get("CPU", 0)
    if wanted > there:
        tell(
            f"the cluster has {there:g} processors and {wanted:g} are asked for; waiting for more (fewer --shards, "
            "--shard-copies or --replicas need less, --shard-cpus 0 reserves none for shards)"
        )


def _run(plan: Plan) -> None:
    layout = plan.layout
    deployment: Any = serve.deployment(
        Front,
        name="front",
        num_replicas=layout.fronts,
        ray_actor_options={"num_cpus": layout.front_cpus},
        max_ongoing_requests=_MOST_REQUESTS,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=FINISH_SECONDS,
        health_check_period_s=5,
        health_check_timeout_s=30,
    )
    try:
        serve.run(deployment.bind(plan), name=APPLICATION, route_prefix="/")
    except (RayServeException, RuntimeError) as error:
        with contextlib.suppress(Exception):
            found = serve.status().applications[APPLICATION]
            message = " ".join(one.message for one in found.deployments.values()) or found.message
            raise ClusterError(f"the fronts do not start: {_last_line(message)}") from error
        raise ClusterError(f"the fronts do not start: {cut_text(error)}") from error


def _last_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return cut_text(lines[-1]) if lines else "see ray logs"


@contextlib.contextmanager
def _serving(settings: Settings, address: str) -> Iterator[None]:
    """Have Ray Serve listen in a ``with`` block: on the head for this computer alone, else wherever a front is."""
    if serve.status().proxies:
        raise ClusterError(
            "Ray Serve runs in this cluster already, and listens where it was told to; end it with serve shutdown, or "
            "use another cluster"
        )
    # What it tells belongs into its log files, not between the lines of a command.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    shutdown: Any = serve.shutdown
    location = "HeadOnly" if settings.is_local else "EveryNode"
    host = settings.host.removeprefix("[").removesuffix("]")
    options = HTTPOptions(host="127.0.0.1" if host == "localhost" else host, port=settings.port)
    try:
        serve.start(proxy_location=location, http_options=options, logging_config={"enable_access_log": False})
        yield
    finally:
        # A cluster that ends with this process ends Ray Serve as well, and says less.
        if address != LOCAL:
            with contextlib.suppress(Exception):
                shutdown()


@contextlib.contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and Ctrl-C set; a second Ctrl-C ends at once."""
    event = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        if event.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
