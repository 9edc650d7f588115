"""How fast each worker is, and what the files were refused for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from semret.cluster.portions import Done, Worker

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True)
class WorkerRate:
    """What one worker did.

    Attributes
    ----------
    node : str
        Address of its computer.
    process : int
    portions, pictures : int
        That it dealt with; pictures that it put through the network.
    seconds : float
        That it was busy, without loading the network.
    """

    node: str
    process: int
    portions: int
    pictures: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Pictures that it embedded in a second of its work."""
        return self.pictures / self.seconds if self.seconds > 0 else 0.0


class Rates:
    """Adds up what workers did."""

    def __init__(self) -> None:
        self._workers: dict[Worker, WorkerRate] = {}

    def note(self, done: Done) -> None:
        """Add a portion.

        Parameters
        ----------
        done : Done
        """
        before = self._workers.get(done.worker)
        self._workers[done.worker] = WorkerRate(
            node=done.worker.node,
            process=done.worker.process,
            portions=1 + (before.portions if before else 0),
            pictures=done.pictures + (before.pictures if before else 0),
            seconds=done.seconds + (before.seconds if before else 0.0),
        )

    def all(self) -> tuple[WorkerRate, ...]:
        """Return what each did, by computer and process.

        Returns
        -------
        tuple of WorkerRate
        """
        return tuple(sorted(self._workers.values(), key=lambda rate: (rate.node, rate.process)))


def reasons(skipped: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Count files by why they cannot be used.

    Parameters
    ----------
    skipped : iterable of (path, reason)

    Returns
    -------
    dict of str to int
        The most frequent reason first. Reasons that differ by numbers alone are one, with N in their places.
    """
    return dict(Counter(_NUMBER.sub("N", reason) for _, reason in skipped).most_common())
