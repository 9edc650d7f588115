"""Options of ``semret index`` that have several computers do the work."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semret.commands.output import say
from semret.names import amount

if TYPE_CHECKING:
    from semret.cluster.indexing import ClusterReport
    from semret.index.model_choice import ModelChoice
    from semret.index.sync.report import SyncOptions, SyncReport
    from semret.progress import Progress

_BOUNDS = re.compile(r"(\d{1,5})(?::(\d{1,5}))?")


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Which cluster, and what of it."""

    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="[ADDRESS]",
            help="Let a Ray cluster embed: without an address, or with auto, the one of this computer; HOST:PORT "
            "another; local one that is started here for the length of the command.",
        ),
    ] = None
    actors: Annotated[
        str | None,
        typer.Option(
            "--actors",
            metavar="MIN:MAX",
            help="With --ray: how many workers, each of which holds the model; default: as many as fit.",
        ),
    ] = None
    actor_cpus: Annotated[
        float, typer.Option("--actor-cpus", min=0, help="With --ray: processors that each worker takes.")
    ] = 1.0
    actor_gpus: Annotated[
        float, typer.Option("--actor-gpus", min=0, help="With --ray: GPUs that each worker takes; 0.5 is half of one.")
    ] = 0.0

    def index(
        self,
        paths: Sequence[str],
        directory: Path,
        choice: ModelChoice,
        options: SyncOptions,
        progress: Progress | None,
        stop: Callable[[], bool],
    ) -> ClusterReport:
        """Index on the cluster.

        Parameters
        ----------
        paths : sequence of str
        directory : Path
            Of the index.
        choice : ModelChoice
        options : SyncOptions
        progress : callable or None
        stop : callable

        Returns
        -------
        ClusterReport

        Raises
        ------
        SemretError
            See `semret.cluster.indexing.index`.
        """
        from semret.cluster.extra import require_cluster

        require_cluster("semret index --ray")
        # Only now: these need the extra.
        from semret.cluster.indexing import index
        from semret.cluster.pool import PoolOptions

        least, most = parse_actors(self.actors)
        pool = PoolOptions(least=least, most=most, cpus=self.actor_cpus, gpus=self.actor_gpus)
        # Ray prints what it notices of its computers; stdout is for the report.
        with contextlib.redirect_stdout(sys.stderr):
            return index(
                paths,
                index=directory,
                address=self.ray or "",
                pool=pool,
                choice=choice,
                options=options,
                progress=progress,
                stop=stop,
            )


def parse_actors(text: str | None) -> tuple[int | None, int | None]:
    """Read ``MIN:MAX``, or one number for both.

    Parameters
    ----------
    text : str or None

    Returns
    -------
    least, most : int or None
        None for None.

    Raises
    ------
    typer.BadParameter
        If the text is something else.
    """
    if text is None:
        return None, None
    match = _BOUNDS.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no range of workers; write MIN:MAX, as in 2:8", param_hint="--actors")
    return int(match[1]), int(match[2] or match[1])


def tell_workers(report: SyncReport) -> None:
    """Say on stderr what each worker of a cluster did, and what files were refused for; of one computer, nothing.

    Parameters
    ----------
    report : SyncReport
    """
    for rate in getattr(report, "workers", ()):
        speed = f"{rate.pictures} embedded, {rate.images_per_second:.1f} images/s while busy"
        say(f"semret: worker {rate.process} on {rate.node}: {amount(rate.portions, 'portion')}, {speed}")
    for reason, files in getattr(report, "reasons", {}).items():
        say(f"semret: skipped {amount(files, 'file')}: {reason}")
