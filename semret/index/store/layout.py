"""What a segment holds: its datasets, their checksums, and what the catalog knows of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array
from semret.index.store.lock import LOCK_NAME
from semret.index.store.manifest import Manifest

SEGMENT_ROWS = 256
"""Most images in one segment; also the most that a kill can cost."""

SEGMENT_BYTES = 2**27
"""Bytes of tokens after which a segment is closed though it has fewer rows."""

FOLDER = "segments"
_SEGMENT_FILE = re.compile(r"\d{6,18}\.h5")


@dataclass(frozen=True)
class Column:
    """One dataset of a segment: its dtype (little-endian) and shape, rows first where it has rows."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size of the dataset."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def columns(manifest: Manifest, rows: int) -> dict[str, Column]:
    """Return the datasets of a segment, in the order of the file.

    ``tokens`` (n, S, C); ``pooled`` (n, D); ``means`` (n, C), of the tokens as stored; ``norms`` (n,), Frobenius, of
    the tokens as stored; ``ids`` (n,), the id under which each row was first indexed; ``sha256`` (n, 32), of the image
    file; ``sizes`` (n, 2), width and height of the picture; ``position_sum`` (S, C) and ``channel_sum`` (C,), of
    tokens and token means over all rows; ``pooled_sum`` (D,); ``checksums`` (n, 3), of the row of tokens, pooled and
    means.

    Parameters
    ----------
    manifest : Manifest
    rows : int
        n, from 0.

    Returns
    -------
    dict of str to Column
    """
    positions, channels = manifest.token_shape
    dimension = manifest.identity.pooled_dim
    tokens = {"float16": "<f2", "float32": "<f4"}[manifest.dtype]
    return {
        "tokens": Column(tokens, (rows, positions, channels)),
        "pooled": Column("<f4", (rows, dimension)),
        "means": Column("<f4", (rows, channels)),
        "norms": Column("<f8", (rows,)),
        "ids": Column("<i8", (rows,)),
        "sha256": Column("u1", (rows, 32)),
        "sizes": Column("<i4", (rows, 2)),
        "position_sum": Column("<f8", (positions, channels)),
        "channel_sum": Column("<f8", (channels,)),
        "pooled_sum": Column("<f8", (dimension,)),
        "checksums": Column("<u8", (rows, 3)),
    }


CHECKED_ROWS = {"tokens": 0, "pooled": 1, "means": 2}
"""Datasets whose rows are checked one by one, and their column of ``checksums``; the others are checked as a whole."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """What the catalog knows of a segment.

    Attributes
    ----------
    number : int
        Its file is ``segments/NNNNNN.h5``. Never used twice.
    rows, bytes : int
        Images in it, whether still wanted or not; size of the file.
    sha256 : str
        Of the whole file, in hexadecimal.
    offsets : dict of str to int
        Where each dataset begins in the file.
    sums : dict of str to int
        `checksum` of each dataset that has no checksums of its rows.
    """

    number: int
    rows: int
    bytes: int
    sha256: str
    offsets: dict[str, int]
    sums: dict[str, int]


@dataclass(frozen=True)
class Rows:
    """Features of n images on their way into a segment: see `columns` for the fields."""

    tokens: NDArray[np.floating[Any]]
    pooled: Float32Array
    means: Float32Array
    norms: Float64Array
    ids: NDArray[np.int64]
    sha256: NDArray[np.uint8]
    sizes: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)


def segment_name(number: int) -> str:
    """Return the file of a segment as it is named in an index directory and in an export, with forward slashes.

    Parameters
    ----------
    number : int
        From 1.

    Returns
    -------
    str
    """
    return f"{FOLDER}/{number:06d}.h5"


def segment_path(index: Path, number: int) -> Path:
    """Return the file of a segment.

    Parameters
    ----------
    index : Path
        Index directory.
    number : int
        From 1.

    Returns
    -------
    Path
    """
    return index / segment_name(number)


def segment_numbers(index: Path) -> Iterator[int]:
    """Give the numbers of the segments whose files lie in an index directory, whether its catalog knows them or not.

    Parameters
    ----------
    index : Path
        Index directory.

    Yields
    ------
    int
        In no particular order; each number once.
    """
    for file in (index / FOLDER).glob("*.h5"):
        # One number has one name: 0000001.h5 is not segment 1.
        if _SEGMENT_FILE.fullmatch(file.name) and segment_path(index, int(file.stem)) == file:
            yield int(file.stem)


def directory_bytes(folder: Path) -> int:
    """Return how large an index is.

    Parameters
    ----------
    folder : Path
        Index directory.

    Returns
    -------
    int
        Bytes of all files in it and below, without the lock.
    """
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.name != LOCK_NAME)


def checksum(array: NDArray[Any]) -> int:
    """Return the sum of an array's bytes taken as 64-bit words, modulo 2^64. It changes with any single byte.

    Parameters
    ----------
    array : ndarray
        Of any shape and dtype.

    Returns
    -------
    int
        0 for an empty array.
    """
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    whole = len(raw) - len(raw) % 8
    tail = int.from_bytes(raw[whole:].tobytes(), "little")
    return (int(np.add.reduce(raw[:whole].view("<u8"), dtype=np.uint64)) + tail) % 2**64


def row_checksums(array: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the `checksum` of each row, (n,).

    Parameters
    ----------
    array : ndarray of shape (n, ...)
        Of any dtype.

    Returns
    -------
    ndarray of shape (n,), uint64
    """
    flat = np.ascontiguousarray(array).reshape(len(array), math.prod(array.shape[1:])).view(np.uint8)
    if flat.shape[1] % 8:
        return np.array([checksum(row) for row in flat], dtype=np.uint64)
    return np.asarray(np.add.reduce(flat.view("<u8"), axis=1, dtype=np.uint64))
