"""What a segment holds: its datasets, their checksums, and what the catalog knows of it."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array
from semret.index.codec.codec import statistics
from semret.index.store.lock import LOCK_NAME
from semret.index.store.manifest import Manifest
from semret.integer_tokens import IntegerTokens

SEGMENT_ROWS = 256
"""Most images in one segment; also the most that a kill can cost."""

SEGMENT_BYTES = 2**27
"""Bytes of tokens after which a segment is closed though it has fewer rows."""

FULL_SEGMENT = 4096
"""Most images in a segment that is written from other segments, which a kill cannot cost."""

Shape: TypeAlias = tuple[int, ...]

FOLDER = "segments"
_SEGMENT_FILE = re.compile(r"\d{6,18}\.h5")


@dataclass(frozen=True)
class Column:
    """One dataset of a segment.

    Attributes
    ----------
    dtype : str
        Little-endian.
    shape : tuple of int
        Rows first where it has rows.
    check : int or None
        The column of ``checksums`` that its rows are checked by; None where the dataset is checked as a whole.
    """

    dtype: str
    shape: tuple[int, ...]
    check: int | None = None

    @functools.cached_property
    def bytes(self) -> int:
        """Size of the dataset."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def columns(manifest: Manifest, rows: int) -> dict[str, Column]:
    """Return the datasets of a segment, in the order of the file.

    Of every image: ``tokens`` (n, S, C), or as the codec stores them, with ``scales`` (n, S) of most codecs; ``pooled``
    (n, D); ``means`` (n, C), the mean token, of the tokens as stored; ``norms`` (n,), Frobenius, of the tokens as
    stored; ``ids`` (n,), the id under which each row was first indexed; ``sha256`` (n, 32), of the image file;
    ``sizes`` (n, 2), width and height of the picture; ``checksums`` (n, k), of the row of each dataset that has a
    `Column.check`. Over all rows: ``position_sum`` (S, C) of the tokens, ``channel_sum`` (C,) of their means,
    ``pooled_sum`` (D,).

    With a codec, C are its directions; what it subtracts is fixed, so there are no sums; ``means`` are in units of
    `mean_units`; and ``full_norms`` (n,) has the Frobenius norm of the tokens before they were projected, so that it
    can be told what the projection keeps.

    Parameters
    ----------
    manifest : Manifest
    rows : int
        n, from 0.

    Returns
    -------
    dict of str to Column
    """
    plain = manifest.codec_file is None
    return dict(
        _columns(rows, manifest.map_shape, manifest.pooled_length, plain, tuple(manifest.token_columns.items()))
    )


@functools.lru_cache(maxsize=256)
def _columns(
    rows: int, shape: tuple[int, int], dimension: int, plain: bool, tokens: tuple[tuple[str, tuple[str, Shape]], ...]
) -> dict[str, Column]:
    positions, channels = shape
    checked = [(name, dtype, inner) for name, (dtype, inner) in tokens]
    checked.insert(1, ("pooled", "<f4" if plain else "<f2", (dimension,)))
    checked.insert(2, ("means", "<f4" if plain else "<f2", (channels,)))
    found = {name: Column(dtype, (rows, *inner), check) for check, (name, dtype, inner) in enumerate(checked)}
    found["norms"] = Column("<f8", (rows,))
    if not plain:
        found["full_norms"] = Column("<f4", (rows,))
    found["ids"] = Column("<i8", (rows,))
    found["sha256"] = Column("u1", (rows, 32))
    found["sizes"] = Column("<i4", (rows, 2))
    if plain:
        found["position_sum"] = Column("<f8", (positions, channels))
        found["channel_sum"] = Column("<f8", (channels,))
        found["pooled_sum"] = Column("<f8", (dimension,))
    found["checksums"] = Column("<u8", (rows, len(checked)))
    return found


def rows_of_segment(manifest: Manifest) -> int:
    """Return how many images a segment takes that is written from other segments.

    Parameters
    ----------
    manifest : Manifest

    Returns
    -------
    int
    """
    return max(1, min(FULL_SEGMENT, math.ceil(SEGMENT_BYTES / manifest.token_bytes)))


def checked_rows(layout: dict[str, Column]) -> list[str]:
    """Return the datasets whose rows are checked one by one, in the order of their checksums.

    Parameters
    ----------
    layout : dict of str to Column
        As `columns` gives it.

    Returns
    -------
    list of str
    """
    return [name for name, column in layout.items() if column.check is not None]


def mean_units(norms: Float64Array, positions: int) -> Float64Array:
    """Return what the mean tokens of a codec are stored in units of: no mean is longer, so float16 holds it.

    Parameters
    ----------
    norms : ndarray of shape (n,), float64
        Frobenius norms of the tokens.
    positions : int
        S.

    Returns
    -------
    ndarray of shape (n,), float64
        The root of the mean squared norm of the tokens; 1 where they are all zero.
    """
    units = norms / math.sqrt(positions)
    return np.where(units > 0, units, 1.0)


def compact_statistics(tokens: IntegerTokens) -> dict[str, NDArray[np.floating[Any]]]:
    """Return what is stored beside the tokens of a codec, by the names of `columns`.

    Parameters
    ----------
    tokens : IntegerTokens
        (n, S, C), as decoded.

    Returns
    -------
    dict of str to ndarray
        ``means`` (n, C) float16, in units of `mean_units`; ``norms`` (n,) float64.
    """
    means, norms = statistics(tokens)
    units = mean_units(norms, tokens.shape[1])[:, None]
    return {"means": (means / units).astype(np.float16), "norms": norms}


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

    tokens: NDArray[Any]
    pooled: NDArray[np.floating[Any]]
    means: NDArray[np.floating[Any]]
    norms: Float64Array
    ids: NDArray[np.int64]
    sha256: NDArray[np.uint8]
    sizes: NDArray[np.int32]
    scales: Float32Array | None = None
    full_norms: Float32Array | None = None

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
