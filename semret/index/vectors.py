"""The shortlist: pooled embeddings nearest to a query. The only module that imports faiss.

FAISS scans the vectors where there is much to scan. A single query of a small collection takes less time than importing
FAISS does, so its products are then taken directly. Either way only preselects: what may belong to the shortlist is
scored again in float64, so the shortlist is the same, ties included.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray, IdVector, require_ndim
from semret.errors import ArgumentError, ShapeError
from semret.foreign import open_regular
from semret.forked import inherited
from semret.index.store import durable
from semret.index.store.segments import checksum

SHORTLIST_NAME = "shortlist.faiss"

FAISS_PRODUCTS = 2**20
"""Query-image pairs from which FAISS is used."""

_MAGIC = b"semret-shortlist-1\n".ljust(24, b"\0")
_TRAILER = struct.Struct("<24s32sQ")
_HEADER = struct.Struct("<4siqqqBiQ")


@dataclass(frozen=True)
class Shortlist:
    """The images nearest to each query by pooled embedding.

    Attributes
    ----------
    ids : ndarray of shape (Q, K), int64
        Best first; equal scores in the order of ids.
    scores : ndarray of shape (Q, K), float64
        Cosine of the centred pooled embeddings; 0 where either is the mean itself.
    """

    ids: IdVector
    scores: Float64Array


class VectorIndex:
    """Normalised pooled embeddings, searched exhaustively by inner product.

    Parameters
    ----------
    ids : ndarray of shape (N,), int64
        Ascending.
    vectors : ndarray of shape (N, D), float32
        As `normalise` gives them.
    """

    def __init__(self, ids: IdVector, vectors: Float32Array) -> None:
        require_ndim(vectors, 2, "vectors", "(N, D)")
        if len(ids) != len(vectors):
            raise ShapeError(f"there are {len(ids)} ids but {len(vectors)} vectors")
        self.ids = ids
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._faiss: Any = None

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, queries: FloatArray, length: int) -> Shortlist:
        """Return the `length` best images of each query (Q, D), normalised; all of them if there are fewer.

        Raises
        ------
        ArgumentError
            If `length` is less than 1.
        ShapeError
            If the queries have another dimension.
        """
        require_ndim(queries, 2, "queries", "(Q, D)")
        if length < 1:
            raise ArgumentError(f"a shortlist of {length} was asked for; it needs at least 1")
        if queries.shape[1] != self.vectors.shape[1]:
            raise ShapeError(f"the query has {queries.shape[1]} dimensions, the index {self.vectors.shape[1]}")
        length = min(length, len(self))
        ids = np.empty((len(queries), length), dtype=np.int64)
        scores = np.empty((len(queries), length))
        if length:
            single = np.ascontiguousarray(queries, dtype=np.float32)
            rows = self._preselect(single, length)
            for number, candidates in enumerate(rows):
                exact = products(single[number], self.vectors[candidates])
                order = np.lexsort((candidates, -exact))[:length]
                ids[number], scores[number] = self.ids[candidates[order]], exact[order]
        return Shortlist(ids, scores)

    def _preselect(self, queries: Float32Array, length: int) -> list[NDArray[np.intp]]:
        """Return for each query rows that certainly hold the `length` best."""
        # A float32 product of unit vectors errs by at most D u in whatever order it is summed; two may err apart.
        slack = 2 * queries.shape[1] * float(np.finfo(np.float32).eps)
        if len(queries) * len(self) >= FAISS_PRODUCTS:
            return [self._by_faiss(query, length, slack) for query in self._first_round(queries, length)]
        rough = queries @ self.vectors.T
        floors = -np.partition(-rough, length - 1, axis=1)[:, length - 1]
        return [np.flatnonzero(row >= floor - slack) for row, floor in zip(rough, floors, strict=True)]

    def _first_round(self, queries: Float32Array, length: int) -> list[_Round]:
        wanted = min(2 * length + 16, len(self))
        scores, rows = self.faiss().search(queries, wanted)
        return [_Round(query, *found) for query, *found in zip(queries, scores, rows, strict=True)]

    def _by_faiss(self, found: _Round, length: int, slack: float) -> NDArray[np.intp]:
        """Ask FAISS for more until what it leaves out is certainly worse than the `length` best."""
        scores, rows = found.scores, found.rows
        while len(rows) < len(self) and scores[-1] >= scores[length - 1] - slack:
            more = min(4 * len(rows), len(self))
            scores, rows = (array[0] for array in self.faiss().search(found.query[None], more))
        return np.sort(rows[scores >= scores[length - 1] - slack]).astype(np.intp)

    def faiss(self) -> Any:
        """Return the vectors as a FAISS index, an ``IndexFlatIP`` with the rows of this one."""
        import faiss

        if inherited("faiss"):
            faiss.omp_set_num_threads(1)
        if self._faiss is None:
            self._faiss = faiss.IndexFlatIP(self.vectors.shape[1])
            self._faiss.add(self.vectors)
        return self._faiss


@dataclass(frozen=True)
class _Round:
    query: Float32Array
    scores: Float32Array
    rows: IdVector


def normalise(pooled: FloatArray, mean: Float64Array) -> Float32Array:
    """Subtract the mean from pooled embeddings (n, D) and scale them to length 1; what is zero stays zero."""
    centred = np.asarray(pooled, dtype=np.float64) - mean
    lengths = np.sqrt(np.einsum("nd,nd->n", centred, centred))[:, None]
    unit = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
    return np.asarray(unit, dtype=np.float32)


def products(query: Float32Array, vectors: Float32Array) -> Float64Array:
    """Return the float64 inner products of one vector (D,) with many (n, D), each independent of the others."""
    return np.asarray(np.einsum("nd,d->n", vectors.astype(np.float64), query.astype(np.float64)))


def fingerprint(*arrays: NDArray[Any]) -> bytes:
    """Return 32 bytes that change with any of the arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def _header(rows: int, dimension: int) -> bytes:
    """Return how FAISS begins the file of an ``IndexFlatIP``."""
    dummy = 1 << 20
    return _HEADER.pack(b"IxFI", dimension, rows, dummy, dummy, 1, 0, rows * dimension)


def write_shortlist(path: Path, vectors: Float32Array, mark: bytes) -> None:
    """Write vectors (N, D) as a FAISS file, followed by `mark` (32 bytes) and a checksum, whole or not at all.

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    vectors = np.ascontiguousarray(vectors, dtype="<f4")
    head = _header(*vectors.shape)
    try:
        with durable.storage(f"write {path}"):
            with io.BufferedRandom(durable.create_temporary(path)) as stream:
                stream.write(head)
                stream.write(vectors.data if vectors.size else b"")
                stream.write(_TRAILER.pack(_MAGIC, mark, _sum(head, vectors, mark)))
                stream.flush()
                durable.flush_file(stream.fileno())
            durable.put_in_place(path, "shortlist")
    except BaseException:
        durable.discard(durable.temporary(path))
        raise


def read_shortlist(path: Path, shape: tuple[int, int], mark: bytes) -> Float32Array | None:
    """Return the vectors of a file that `write_shortlist` made with this shape and mark.

    The file is never given to FAISS: a header that is what it must be leaves nothing in it to interpret, and the
    vectors are copied from behind it.

    Returns
    -------
    ndarray of shape (N, D), float32, or None
        None if the file is missing, of another state of the index, or damaged in any byte.
    """
    head = _header(*shape)
    size = shape[0] * shape[1] * 4
    try:
        with open_regular(path, most=len(head) + size + _TRAILER.size, follow=False) as stream:
            if os.fstat(stream.fileno()).st_size != len(head) + size + _TRAILER.size:
                return None
            if stream.read(len(head)) != head:
                return None
            vectors = np.empty(shape, dtype="<f4")
            view = memoryview(vectors.reshape(-1).view(np.uint8).data)
            done = 0
            while done < size and (count := stream.readinto(view[done:])):
                done += count
            magic, found_mark, found_sum = _TRAILER.unpack(stream.read(_TRAILER.size))
    except (OSError, struct.error):
        return None
    if magic != _MAGIC or found_mark != mark or found_sum != _sum(head, vectors, mark):
        return None
    return vectors


def examine_shortlist(path: Path, dimension: int, most: int) -> tuple[bytes, int] | None:
    """Return mark and number of rows of a shortlist of any state of an index, without keeping it in memory.

    Parameters
    ----------
    path : Path
    dimension : int
        Of its vectors.
    most : int
        Rows beyond which it cannot be one.

    Returns
    -------
    (bytes, int) or None
        None if it is damaged in any byte.

    Raises
    ------
    UnfitFileError
        If it is no regular file, or too long.
    OSError
        If it is missing or cannot be read.
    """
    length = len(_header(0, dimension))
    with open_regular(path, most=length + 4 * dimension * most + _TRAILER.size, follow=False) as stream:
        rows, rest = divmod(os.fstat(stream.fileno()).st_size - length - _TRAILER.size, 4 * dimension)
        if rest or rows < 0 or (head := stream.read(length)) != _header(rows, dimension):
            return None
        total, left = 0, 4 * dimension * rows
        while left and (chunk := _read_fully(stream, min(left, 2**20))):
            total += checksum(np.frombuffer(chunk, dtype=np.uint8))
            left -= len(chunk)
        trailer = stream.read(_TRAILER.size)
    if left or len(trailer) != _TRAILER.size:
        return None
    magic, mark, found = _TRAILER.unpack(trailer)
    return (mark, rows) if magic == _MAGIC and found == (total + _sum_of_rest(head, mark)) % 2**64 else None


def _read_fully(stream: io.FileIO, size: int) -> bytes:
    parts = []
    while size and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _sum(head: bytes, vectors: Float32Array, mark: bytes) -> int:
    return (checksum(vectors) + _sum_of_rest(head, mark)) % 2**64


def _sum_of_rest(head: bytes, mark: bytes) -> int:
    return checksum(np.frombuffer(head + mark, dtype=np.uint8))
