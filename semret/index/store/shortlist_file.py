"""The file ``shortlist.faiss``: the only place that knows its bytes.

It holds what FAISS writes for an ``IndexFlatIP``, so FAISS can read it, and a trailer behind it: a magic, a mark that
says to which state of the index it belongs, and a checksum over everything. It is derived from the segments: one that
is missing, stale or damaged costs time and no answer.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array
from semret.foreign import open_regular
from semret.index.store import durable
from semret.index.store.layout import checksum

SHORTLIST_NAME = "shortlist.faiss"

_MAGIC = b"semret-shortlist-1\n".ljust(24, b"\0")
_TRAILER = struct.Struct("<24s32sQ")
_HEADER = struct.Struct("<4siqqqBiQ")


def fingerprint(*arrays: NDArray[Any]) -> bytes:
    """Return 32 bytes that change with any of the arrays.

    Parameters
    ----------
    *arrays : ndarray
        Of any shapes and dtypes.

    Returns
    -------
    bytes
        SHA-256 of their contents, dtypes and shapes.
    """
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
    """Write a shortlist, whole or not at all.

    Parameters
    ----------
    path : Path
    vectors : ndarray of shape (N, D), float32
    mark : bytes
        32 bytes that say to which state of the index it belongs.

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

    Parameters
    ----------
    path : Path
    shape : (int, int)
        N and D.
    mark : bytes
        As for `write_shortlist`.

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
    """Check a shortlist of any state of an index, without keeping it in memory.

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
        Its mark and the number of its rows; None if it is damaged in any byte.

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
