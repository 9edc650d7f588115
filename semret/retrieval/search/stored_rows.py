"""What an index has stored, as rows for other programs: read a few images at a time, whatever the index holds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semret._version import __version__
from semret.arrays import Float32Array, FloatArray, IdVector
from semret.errors import ArgumentError
from semret.index.codec.table import NO_CODEC
from semret.index.collection import Collection
from semret.integer_tokens import IntegerTokens
from semret.names import escaped
from semret.progress import Progress
from semret.retrieval.search.stored import stored_maps

PART_BYTES = 2**25
"""Features held at once, as float32."""

MOST_ROWS = 4096
"""Images at once: their names may be long."""


class Chosen(NamedTuple):
    """Which features of images are written.

    Attributes
    ----------
    center : {"none", "channel"}
        Of maps, see `semret.SearchEngine.tokens`.
    integers : bool
        Whether maps are what a codec stores, with scales.
    pooled : bool
        Whether there are pooled embeddings in place of maps.
    """

    center: str = "none"
    integers: bool = False
    pooled: bool = False


class StoredRows:
    """The images of an index that are written, and what is written of them.

    Parameters
    ----------
    collection : Collection
    ids : ndarray of shape (n,), int64
        In any order; one may come twice.
    chosen : Chosen
    progress : callable or None
        Called with the number of images read and their total.

    Attributes
    ----------
    shape : tuple of int
        (n, S, C) of the maps, or (n, D) of the pooled embeddings where these are chosen.
    dtype : dtype
        Of either.
    scales : dtype or None
        Of the scales of integers.

    Raises
    ------
    ArgumentError, UnknownNameError
        If the index has no such features.
    """

    def __init__(self, collection: Collection, ids: IdVector, chosen: Chosen, progress: Progress | None = None) -> None:
        if chosen.pooled and chosen != Chosen(pooled=True):
            raise ArgumentError(
                "pooled embeddings are written as the shortlist compares them: centred, scaled to length 1; "
                "leave center and integers out, they are for maps"
            )
        self.collection, self.ids, self.chosen = collection, ids, chosen
        self._progress = progress
        self.shape: tuple[int, ...] = (len(ids), collection.manifest.pooled_length)
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self.scales: np.dtype[Any] | None = None
        if not chosen.pooled:
            # With no image, too: it checks the arguments and tells the dtype.
            empty = self._maps(ids[:0])
            self.shape = (len(ids), *empty.shape[1:])
            self.dtype = np.dtype(np.int8) if isinstance(empty, IntegerTokens) else empty.dtype
            self.scales = empty.scales.dtype if isinstance(empty, IntegerTokens) else None

    def parts(self) -> Iterator[tuple[IdVector, Any]]:
        """Read what is chosen.

        Yields
        ------
        ids : ndarray of shape (n,), int64
            Of some images, in the order of all.
        features : ndarray of shape (n, S, C), IntegerTokens, or ndarray of shape (n, D)
            Their maps, or pooled embeddings.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        step = min(MOST_ROWS, max(1, PART_BYTES // (4 * math.prod(self.shape[1:]))))
        for start in range(0, len(self.ids), step):
            ids = self.ids[start : start + step]
            yield ids, self.pooled_of(ids) if self.chosen.pooled else self._maps(ids)
            if self._progress is not None:
                self._progress(start + len(ids), len(self.ids))

    def _maps(self, ids: IdVector) -> FloatArray | IntegerTokens:
        return stored_maps(self.collection, ids, center=self.chosen.center, integers=self.chosen.integers)

    def paths_of(self, ids: IdVector) -> list[str]:
        """Return where images lie, as it is printed.

        Parameters
        ----------
        ids : ndarray of shape (n,), int64

        Returns
        -------
        list of str
        """
        return [escaped(path) for path in self.collection.paths(ids)]

    def pooled_of(self, ids: IdVector) -> Float32Array:
        """Return pooled embeddings as the shortlist compares them.

        Parameters
        ----------
        ids : ndarray of shape (n,), int64

        Returns
        -------
        ndarray of shape (n, D), float32
            The mean subtracted, scaled to length 1; zeros where an embedding is the mean itself.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        return self.collection.nearest.unit_vectors(self.collection.rows(ids))

    def sizes_of(self, ids: IdVector) -> NDArray[np.int32]:
        """Return width and height of upright pictures.

        Parameters
        ----------
        ids : ndarray of shape (n,), int64

        Returns
        -------
        ndarray of shape (n, 2), int32
            In pixels; zeros for features that came without a picture.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        return self.collection.features.read_sizes(self.collection.rows(ids))

    @cached_property
    def description(self) -> str:
        """What the numbers are, as one line of JSON in ASCII; docs/ecosystem.md lists its fields."""
        manifest = self.collection.manifest
        identity, entry = manifest.identity, manifest.codec_file
        described: dict[str, Any] = {
            "semret": __version__,
            "model": identity.backbone,
            "weights_sha256": identity.weights_sha256,
            "layer": identity.layer,
            "grid": list(identity.grid),
            "codec": NO_CODEC if entry is None else entry.name,
            "codec_sha256": None if entry is None else entry.digest,
            "center": None if self.chosen.pooled else "channel" if self.chosen.integers else self.chosen.center,
            "pooling": identity.pooled,
            "index_state": self.collection.mark.hex(),
        }
        return json.dumps(described, ensure_ascii=True, allow_nan=False)
