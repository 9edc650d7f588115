"""Indexing on a cluster: what `semret.build` does, by several machines. ``semret index --ray``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from semret.cluster.connection import AUTO, LOCAL, connected
from semret.cluster.pool import Pool, PoolOptions
from semret.cluster.rates import WorkerRate, reasons
from semret.cluster.run import ClusterRun, Crew
from semret.index.backbones.spec import Backbone
from semret.index.location import default_index_path
from semret.index.model_choice import ModelChoice
from semret.index.sync.report import SyncOptions, SyncReport
from semret.index.sync.sync import sync
from semret.paths import PathLike
from semret.progress import Progress, told


@dataclass(frozen=True, kw_only=True)
class ClusterReport(SyncReport):
    """What indexing on a cluster did.

    Attributes
    ----------
    workers : tuple of WorkerRate
        What each worker did; one that was started again is another.
    """

    workers: tuple[WorkerRate, ...] = ()

    @property
    def reasons(self) -> dict[str, int]:
        """Files that could not be indexed, counted by reason."""
        return reasons(self.skipped)

    def as_json(self) -> dict[str, Any]:
        """Return the report as ``semret index --ray --format json`` prints it.

        Returns
        -------
        dict
            That of `SyncReport`, with ``workers`` and ``reasons``.
        """
        workers = [
            {**{field.name: getattr(rate, field.name) for field in fields(rate)}, "images_per_second": speed}
            for rate in self.workers
            for speed in (rate.images_per_second,)
        ]
        return {**super().as_json(), "workers": workers, "reasons": self.reasons}


def index(
    paths: PathLike | Sequence[PathLike],
    *,
    index: PathLike | None = None,
    address: str = AUTO,
    pool: PoolOptions | None = None,
    choice: ModelChoice | None = None,
    options: SyncOptions | None = None,
    progress: Progress | bool | None = None,
    stop: Callable[[], bool] | None = None,
    load: Callable[[], Backbone] | None = None,
) -> ClusterReport:
    """Make an index on a cluster, or bring it up to date; the index is the one that one machine makes.

    Workers read, decode and embed, and write segments into the index directory, which all computers must have at the
    same path. This process alone commits: what a worker or a computer had not finished when it died is done by others,
    and when this process dies, what was committed stays; the same call again continues. A picture that lies in several
    places may be embedded by several workers at once; one of its rows is used, and ``semret compact`` drops the others.

    Parameters
    ----------
    paths : path or sequence of path
        Pictures, folders that are walked, and addresses of pictures elsewhere; listed by this process.
    index : path or None
        As in `semret.build`.
    address : str
        ``auto`` for the cluster of this computer, ``HOST:PORT``, or ``local`` for one that is started here.
    pool : PoolOptions, optional
        How many workers, and what each takes.
    choice : ModelChoice, optional
        Which network; ``device`` is that of the workers.
    options : SyncOptions, optional
        As on one machine; ``workers`` are the threads of each worker, by default as many as it has processors.
    progress : callable, bool or None
        As in `semret.build`.
    stop : callable, optional
        Asked after each portion; once it answers True, what is there is committed and the report returned.
    load : callable, optional
        Loads a network of your own, in place of `choice`.

    Returns
    -------
    ClusterReport

    Raises
    ------
    ClusterError
        If there is no cluster, no worker fits into it, or a computer of it cannot take part: it does not see the index,
        has another version of semret or other weights.
    SemretError
        As `semret.build`.
    """
    directory, settings, size = default_index_path(index), options or SyncOptions(), pool or PoolOptions()
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    asked = choice or ModelChoice()
    on_worker = load or asked.loader(directory)
    # This process needs what the network is called and gives, and no card.
    here = load or replace(asked, device="cpu").loader(directory)
    with connected(address), told(progress, "indexing") as tell:
        crew = Crew(
            pool=Pool(size, can_grow=address != LOCAL),
            load=on_worker,
            threads=settings.workers or max(1, int(size.cpus)),
        )
        report = sync(
            directory,
            given,
            here,
            options=settings,
            progress=tell,
            stop=stop,
            make_run=partial(ClusterRun, crew=crew),
        )
    values = {field.name: getattr(report, field.name) for field in fields(report)}
    return ClusterReport(**values, workers=crew.rates.all())
