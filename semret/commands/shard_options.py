"""Options of commands that search in shards of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from semret.cluster.front import Layout


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """In which cluster an index is served, and over how many actors."""

    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="[ADDRESS]",
            help="Serve from a Ray cluster: without an address, or with auto, the one of this computer; HOST:PORT "
            "another; local one that is started here. All its nodes need the index under the same path.",
        ),
    ] = None
    shards: Annotated[
        int | None,
        typer.Option("--shards", help="With --ray: parts that the index is held and searched in; default: 1."),
    ] = None
    shard_copies: Annotated[
        int | None,
        typer.Option(
            "--shard-copies", help="With --ray: actors for each part, to stand in for one another; default: 1."
        ),
    ] = None
    shard_cpus: Annotated[
        float | None,
        typer.Option("--shard-cpus", help="With --ray: processors that each of these takes, or 0; default: 1."),
    ] = None
    replicas: Annotated[
        int | None, typer.Option("--replicas", help="With --ray: replicas of what answers requests; default: 1.")
    ] = None

    def layout(self) -> Layout:
        """Return how the server is spread over the cluster.

        Returns
        -------
        Layout

        Raises
        ------
        ArgumentError
            If a number is out of range.
        """
        from semret.cluster.front import Layout

        given: dict[str, Any] = {
            "shards": self.shards,
            "copies": self.shard_copies,
            "fronts": self.replicas,
            "cpus": self.shard_cpus,
        }
        return Layout(**{name: value for name, value in given.items() if value is not None})

    def check(self) -> None:
        """Refuse what says something of a cluster, where none is to be used.

        Raises
        ------
        BadParameter
            If so.
        """
        given = {"--shards": self.shards, "--shard-copies": self.shard_copies, "--shard-cpus": self.shard_cpus}
        for name, value in {**given, "--replicas": self.replicas}.items():
            if self.ray is None and value is not None:
                raise typer.BadParameter("is about a cluster; give --ray as well", param_hint=name)
