"""A front of `semret serve` behind Ray Serve: one replica of what answers requests, and what it is made from."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from ray import serve
from starlette.types import ASGIApp, Receive, Scope, Send

from semret.cluster.search import open_sharded
from semret.cluster.shards import Shards
from semret.errors import ArgumentError
from semret.index.store.manifest import MANIFEST_NAME
from semret.server.app import create_app
from semret.server.metrics import Metrics
from semret.server.served import Served
from semret.server.service import Service
from semret.server.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a server is spread over a cluster.

    Attributes
    ----------
    shards : int
        Parts that the index is held in.
    copies : int
        Actors for each part.
    fronts : int
        Replicas of what answers requests.
    cpus : float
        Processors that each actor of a shard takes; 0 reserves none.
    front_cpus : float
        Processors that each front takes.

    Raises
    ------
    ArgumentError
        If a number is out of range.
    """

    shards: int = 1
    copies: int = 1
    fronts: int = 1
    cpus: float = 1
    front_cpus: float = 1

    def __post_init__(self) -> None:
        for name in ("shards", "copies", "fronts"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} is {getattr(self, name)}, expected at least 1")
        for name in ("cpus", "front_cpus"):
            if not 0 <= getattr(self, name) < 2**16:
                raise ArgumentError(f"{name} is {getattr(self, name)}, expected a number of processors, 0 or more")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a front is made from, on whichever node.

    Attributes
    ----------
    index : Path
        Index directory, absolute, the same on all nodes.
    settings : Settings
        With the port that is listened on.
    layout : Layout
    name : str
        That the names of the shards begin with.
    weights, device
        See `semret.retrieval.search.engine.SearchEngine`.
    """

    index: Path
    settings: Settings
    layout: Layout
    name: str
    weights: Path | None = None
    device: str | None = None

    def start_shards(self) -> Shards:
        """Start the shards, or find them.

        Returns
        -------
        Shards
        """
        return Shards(self.layout.shards, replicas=self.layout.copies, cpus=self.layout.cpus, name=self.name)


@serve.ingress()
class Front:
    """One replica of what answers requests.

    It follows the index on its own: a new state is opened in the shards beside the old one, which answers until the new
    one is ready. What it takes from the index itself, it reads from the index's directory.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        shards = plan.start_shards()
        self._plan, self._metrics = plan, Metrics()
        self._served = Served.open(
            lambda: open_sharded(plan.index, shards, weights=plan.weights, device=plan.device),
        )
        self._service = Service(self._served, plan.settings, self._metrics)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the application of `semret serve`, at work from the replica's start to its end."""
        return _working(create_app(self._service, self._plan.settings, self._metrics), self._service)

    async def check_health(self) -> None:
        """Tell Ray Serve whether this replica can go on: whether the index is still there on its node.

        Raises
        ------
        OSError
            If it is not; the replica is then replaced, on another node if need be. A shard that is being started again
            is no reason: searches wait for it.
        """
        await asyncio.to_thread(os.stat, self._plan.index / MANIFEST_NAME)


def _working(app: ASGIApp, service: Service) -> ASGIApp:
    """Return an application that begins to work when it is started, and ends when it is stopped."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        await receive()
        async with service.working():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return run
