"""One state of an index, spread over shards."""

from __future__ import annotations

import hashlib
import itertools
import os
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray

from semret.arrays import Float64Array, IndexVector
from semret.cluster.parts import Asked, Owners, Part, deal, places_in
from semret.cluster.shards import Answer, Laid, Shards
from semret.errors import ShapeError
from semret.index.collection import Collection

_numbers = itertools.count()


def fresh_name() -> str:
    """Return a name that nothing of any process has had.

    Returns
    -------
    str
    """
    return f"{os.urandom(8).hex()}-{next(_numbers)}"


class Spread:
    """The images of a collection, each in one of some shards.

    Parameters
    ----------
    collection : Collection
        Stays open as long as this is used: it keeps the segments of its state from being deleted.
    shards : Shards
    owners : ndarray of shape (N,), int32, or None
        The shard of each image; None deals them out in equal shares, see `deal`.

    Raises
    ------
    ShapeError
        If `owners` are not those of the images.
    IndexCorruptError, ClusterError
        If a shard cannot read its part.
    """

    def __init__(self, collection: Collection, shards: Shards, owners: Owners | None = None) -> None:
        table = collection.table
        numbers, rows = np.asarray(table.numbers), np.asarray(table.rows)
        self.owners = deal(numbers, rows, shards.count) if owners is None else np.asarray(owners, dtype=np.int32)
        if self.owners.shape != rows.shape or (
            len(rows) and not 0 <= self.owners.min() <= self.owners.max() < shards.count
        ):
            raise ShapeError(
                f"owners are not the numbers of one of {shards.count} shards for each of {len(rows)} images"
            )
        self.shards = shards
        self.places: IndexVector = np.empty(len(rows), dtype=np.intp)
        lists = collection.nearest.lists
        self.lists = None if lists is None else lists.lists
        state = hashlib.sha256(collection.mark + os.fsencode(collection.path) + self.owners.tobytes())
        state.update(b"" if self.lists is None else self.lists.token)
        mean = None if collection.manifest.codec_file is not None else collection.features.pooled_mean
        self._parts: dict[int, Laid] = {}
        self.keys: list[tuple[int, str]] = []
        for shard, positions in enumerate(places_in(self.owners, shards.count)):
            self.places[positions] = np.arange(len(positions))
            if len(positions):
                part = Part(
                    key=f"{state.hexdigest()}-{shard}",
                    path=collection.path,
                    manifest=collection.manifest,
                    segments={int(one): collection.segments[int(one)] for one in np.unique(numbers[positions])},
                    ids=collection.ids[positions],
                    numbers=numbers[positions],
                    rows=rows[positions],
                    pooled_mean=mean,
                    lists=None if self.lists is None else self.lists.token,
                    newest=int(collection.ids[-1]),
                )
                self._parts[shard] = Laid(part.key, ray.put(part))
                self.keys.append((shard, part.key))
        self._turn = itertools.count()
        # Segments that no state needs any more are kept from being deleted as long as a shard has them open.
        weakref.finalize(self, _forget, shards, self.keys).atexit = False
        self._open()

    def _open(self) -> None:
        """Have all actors open their parts, at once."""
        asked = [
            self.shards.ask(shard, "open", part.ref, first=replica)
            for shard, part in self._parts.items()
            for replica in range(self.shards.replicas)
        ]
        for answer in asked:
            answer.get()

    def turn(self) -> int:
        """Return which replicas the next query asks first.

        Returns
        -------
        int
        """
        return next(self._turn)

    def ask(self, shard: int, method: str, *arguments: Any, first: int) -> Answer:
        """Begin to ask a shard about its part.

        Parameters
        ----------
        shard : int
            One that has images.
        method : str
            Of `Shard`, which takes the part.
        *arguments
            What else it takes.
        first : int
            See `Shards.ask`.

        Returns
        -------
        Answer
        """
        return self.shards.ask(shard, method, self._parts[shard], *arguments, first=first)

    def ask_all(self, method: str, *arguments: Any) -> list[Any]:
        """Ask all shards that have images about their parts, at once.

        Parameters
        ----------
        method : str
        *arguments

        Returns
        -------
        list
            In the order of shards.
        """
        turn = self.turn()
        asked = [self.ask(shard, method, *arguments, first=turn) for shard in self._parts]
        return [answer.get() for answer in asked]

    def split(self, positions: IndexVector) -> list[tuple[int, IndexVector]]:
        """Split images by shard.

        Parameters
        ----------
        positions : ndarray of shape (n,), intp
            In the collection.

        Returns
        -------
        list of (int, ndarray of intp)
            Of each shard that has some of them, its number and which of `positions` these are, ascending.
        """
        owners = self.owners[positions]
        return [(int(shard), np.flatnonzero(owners == shard)) for shard in np.unique(owners)]

    def gather(
        self, positions: IndexVector, method: str, before: Sequence[Any] = (), after: Sequence[Any] = (), width: int = 1
    ) -> Float64Array:
        """Ask every shard for numbers of its images among some.

        Parameters
        ----------
        positions : ndarray of shape (n,), intp
            In the collection.
        method : str
            Takes the part, `before`, the places of the images in the part, and `after`; returns one array of as many
            numbers, or `width` of them.
        before, after : sequence
        width : int

        Returns
        -------
        ndarray of shape (width, n), float64
        """
        out, turn = np.empty((width, len(positions))), self.turn()
        parts = self.split(positions)
        asked = [
            self.ask(shard, method, *before, self.places[positions[which]], *after, first=turn)
            for shard, which in parts
        ]
        for (_, which), answer in zip(parts, asked, strict=True):
            out[:, which] = answer.get()
        return out


def _forget(shards: Shards, keys: list[tuple[int, str]]) -> None:
    for shard, key in keys:
        for replica in range(shards.replicas):
            shards.tell(shard, "forget", key, first=replica)


def put(asked: Asked) -> Laid:
    """Lay a query in Ray's store, from where every shard takes it once.

    Parameters
    ----------
    asked : Asked

    Returns
    -------
    Laid
    """
    return Laid(asked.key, ray.put(asked))
