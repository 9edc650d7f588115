"""The pool of workers: how large it is and what each takes of the cluster, and portions mapped over it by Ray Data."""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from semret.cluster.portions import Done, Job, Portion
from semret.cluster.worker import PortionWorker
from semret.errors import ArgumentError, ClusterError, cut_text

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """How large the pool is.

    Attributes
    ----------
    least, most : int or None
        Actors, each of which holds the network; between them the pool grows and shrinks with the work. None stands for
        as many as fit into the cluster as it is; a larger number makes a cluster that can grow do so.
    cpus, gpus : float
        Processors and cards that each takes; a card may be shared (0.5).
    """

    least: int | None = None
    most: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        for name in ("least", "most"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ArgumentError(f"{name} is {value} actors, expected at least 1")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ArgumentError(f"at least {self.least} and at most {self.most} actors: expected MIN:MAX")
        if self.cpus < 0 or self.gpus < 0 or not self.cpus + self.gpus:
            raise ArgumentError(f"{self.cpus:g} processors and {self.gpus:g} cards for an actor: expected some of them")

    def bounds(self, *, can_grow: bool = True) -> tuple[int, int]:
        """Return how many actors there are at least and at most, in the cluster that this process is connected to.

        Where not even one fits into a cluster that may grow, a warning says what is waited for.

        Parameters
        ----------
        can_grow : bool
            Whether the cluster may be one that grows when more is asked for.

        Returns
        -------
        least, most : int

        Raises
        ------
        ClusterError
            If not even one fits into it, and it cannot grow or nothing is asked for that would make it grow.
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        wanted = {"CPU": self.cpus, "GPU": self.gpus}
        # No actor is on two computers.
        fit = sum(min(int(node.get(name, 0.0) // a) for name, a in wanted.items() if a) for node in nodes)
        if not fit:
            each = sorted({", ".join(f"{node.get(name, 0.0):g} {name}" for name in wanted) for node in nodes})
            has = f"computers of the cluster have {' or '.join(each[:3])}{' or other' * (len(each) > 3)}"
            none_fits = f"{has}, an actor takes {self.cpus:g} CPU and {self.gpus:g} GPU: not one fits"
            if not can_grow:
                raise ClusterError(f"{none_fits}; ask for less")
            if self.most is None:
                raise ClusterError(f"{none_fits}; ask for less, or give MIN:MAX actors if the cluster can grow")
            _logger.warning("%s; waiting for the cluster to grow", none_fits)
        most = self.most or max(fit, self.least or 1)
        return min(self.least or max(1, min(fit, most)), most), most


class Pool:
    """Maps portions over actors.

    Parameters
    ----------
    options : PoolOptions
    can_grow : bool
        Whether the cluster may be one that grows when more is asked for.

    Raises
    ------
    ClusterError
        See `PoolOptions.bounds`.
    """

    def __init__(self, options: PoolOptions, *, can_grow: bool = True) -> None:
        self._options = options
        self._least, self._most = options.bounds(can_grow=can_grow)

    def map(self, job: Job, known: NDArray[np.bytes_], portions: Iterable[Portion]) -> Iterator[Done]:
        """Have portions dealt with.

        A worker that dies is started again where there is room, and the portions that it had are done anew.

        Parameters
        ----------
        job : Job
        known : ndarray of bytes
            Contents whose features are committed, ascending.
        portions : iterable of Portion
            They are in memory, without pictures.

        Yields
        ------
        Done
            For each portion, as they are done. Leaving it early ends the workers.

        Raises
        ------
        SemretError
            That a worker raised.
        ClusterError
            If the cluster is lost, or a worker ends in a way that starting it again does not mend.
        """
        rows = [{"portion": pickle.dumps(portion)} for portion in portions]
        _be_quiet()
        pool = ray.data.ActorPoolStrategy(
            min_size=min(self._least, len(rows)), max_size=min(self._most, len(rows)), max_tasks_in_flight_per_actor=2
        )
        arguments: dict[str, Any] = {"job": ray.put(job), "known": ray.put(known)}
        mapped = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            PortionWorker,
            batch_size=1,
            compute=pool,
            fn_constructor_kwargs=arguments,
            num_cpus=self._options.cpus,
            num_gpus=self._options.gpus,
        )
        try:
            with contextlib.closing(_given(mapped)) as results:
                for row in results:
                    done: Done = pickle.loads(row["done"])
                    if done.error is not None:
                        raise done.error
                    yield done
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"the cluster could not go on: {_last_line(error)}; run the same command again"
            ) from error


def _given(mapped: ray.data.Dataset) -> Generator[dict[str, Any], None, None]:
    """Give rows; to close this ends the execution."""
    yield from mapped.iter_rows()


def _last_line(error: Exception) -> str:
    """Return what an error of Ray comes down to: it begins with where, and ends with what."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return cut_text(lines[-1] if lines else type(error).__name__)


def _be_quiet() -> None:
    """Leave the terminal to the command: progress is drawn by it."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
