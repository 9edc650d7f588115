"""The images, segments and refused files of a catalog as arrays in memory."""

from __future__ import annotations

import heapq
import itertools
import json
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.index.store.catalog import Catalog
from semret.index.store.layout import Segment
from semret.index.store.members import damaged

_PREFIX = 8
_RUN = 2**14
_KEYS = 2**8
_BYTES = 2**20
_NOWHERE, _OUTSIDE = -2, -1
_MOST_ROWS = 2**31 - 1


class CatalogTable:
    """The arrays of `semret.index.store.directory_file.directory_columns`, made of one state of a catalog.

    Orders are made when they are asked for.

    Parameters
    ----------
    catalog : Catalog
        Within `Catalog.reading`. It is not used later.

    Attributes
    ----------
    segments : dict of int to Segment
        In use, by number.

    Raises
    ------
    IndexCorruptError
        If an image has no features, or is placed outside the segments, or an entry is not valid.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.segments = catalog.segments()
        # What the catalog does not know.
        self._kept: dict[str, NDArray[Any]] = {"tail": np.zeros(0, dtype=np.int32)}
        self._kept |= {"pooled_mean": np.zeros(0), "channel_mean": np.zeros(0)}
        self._made: dict[str, Callable[[], NDArray[Any]]] = {
            "by_hash": self._sort_hashes,
            "by_path": self._sort_paths,
            "composed": self._sort_composed,
            "firsts": lambda: self._link_copies()["firsts"],
            "nexts": lambda: self._link_copies()["nexts"],
        }
        self._load_segments()
        try:
            self._load_images(catalog)
            self._load_places(catalog)
        except (TypeError, ValueError, OverflowError) as error:
            raise damaged(catalog.path, "an image has no features, or an entry is not valid") from error
        self._check_places(catalog)
        self._load_skipped(catalog)

    def whole(self, name: str) -> NDArray[Any]:
        """Return an array.

        Parameters
        ----------
        name : str

        Returns
        -------
        ndarray
            The same one at every call.
        """
        if name not in self._kept:
            self._kept[name] = self._made[name]()
        return self._kept[name]

    def part(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return some rows of an array.

        Parameters
        ----------
        name : str
        start, stop : int
            Along its first axis.

        Returns
        -------
        ndarray
        """
        return self.whole(name)[start:stop]

    def take(self, name: str, rows: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """Return rows of an array at any places.

        Parameters
        ----------
        name : str
        rows : ndarray of shape (n,), integer

        Returns
        -------
        ndarray of shape (n, ...)
        """
        return np.asarray(self.whole(name)[rows])

    def _load_images(self, catalog: Catalog) -> None:
        """Fill arrays of their final length, so that nothing is in memory twice."""
        count, length = catalog.select("SELECT count(*), total(length(path)) FROM images WHERE path IS NOT NULL")[0]
        if not count + length <= catalog.size:
            raise ValueError("there is more of it than the file can hold")
        kept = {name: np.empty(count, dtype=np.int64) for name in ("ids", "sizes", "stamps", "path_ends")}
        kept |= {"hashes": np.empty((count, 32), dtype=np.uint8), "paths": np.empty(int(length), dtype=np.uint8)}
        done = end = 0
        select = "SELECT id, size, mtime_ns, sha256, path FROM images WHERE path IS NOT NULL AND id > ?"
        for rows in catalog.portions(select, 0):
            ids, sizes, stamps, hashes, paths = zip(*rows, strict=True)
            part = slice(done, done + len(rows))
            for name, values in (("ids", ids), ("sizes", sizes), ("stamps", stamps)):
                kept[name][part] = np.array(list(values), dtype=np.int64)
            kept["hashes"][part] = _hashes(hashes)
            kept["path_ends"][part] = end + np.cumsum([len(path) for path in paths])
            blob = np.frombuffer(b"".join(paths), dtype=np.uint8)
            kept["paths"][end : end + len(blob)] = blob
            done, end = part.stop, end + len(blob)
        if (done, end) != (count, length):
            raise ValueError("not all of its images could be read")
        self._kept |= kept

    def _load_places(self, catalog: Catalog) -> None:
        """Find the place of each image's content: these come in the order of hashes, as images can be taken."""
        self._kept["places"] = np.full(len(self._kept["ids"]), _NOWHERE, dtype=np.int32)
        self._kept["rows"] = np.zeros(len(self._kept["ids"]), dtype=np.int32)
        order = self.whole("by_hash")
        ordered = _prefixes(self._kept["hashes"])[order]
        for rows in catalog.portions("SELECT sha256, segment, row FROM contents WHERE sha256 > ?", b""):
            shas, segments, inner = zip(*rows, strict=True)
            known, place = _hashes(shas), np.array([segments, inner], dtype=np.int64)
            prefixes = _prefixes(known)
            first, last = np.searchsorted(ordered, prefixes[0]), np.searchsorted(ordered, prefixes[-1], side="right")
            images = order[first:last]
            found = _find(known, prefixes, self._kept["hashes"][images])
            self._place(images[found >= 0], *place[:, found[found >= 0]])

    def _place(self, images: NDArray[np.int32], segments: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Note which of the segments some images are in, and in which row."""
        numbers, limits = self._kept["segment_numbers"], self._kept["segment_rows"]
        if not len(numbers):
            return
        place = np.minimum(np.searchsorted(numbers, segments), len(numbers) - 1)
        outside = (numbers[place] != segments) | (rows < 0) | (rows >= limits[place]) | (rows > _MOST_ROWS)
        self._kept["places"][images] = np.where(outside, _OUTSIDE, place)
        self._kept["rows"][images] = np.where(outside, 0, rows)

    def _check_places(self, catalog: Catalog) -> None:
        """Refuse images without features, and those whose segment does not exist, or has fewer rows."""
        places, ids = self._kept["places"], self._kept["ids"]
        if len(ids) and not len(self.segments):
            raise damaged(catalog.path, "there are images but no segments")
        if (places == _NOWHERE).any():
            raise damaged(catalog.path, "an image has no features, or an entry is not valid")
        if (places == _OUTSIDE).any():
            raise damaged(
                catalog.path, f"image {int(ids[np.argmax(places == _OUTSIDE)])} is placed outside the segments"
            )

    def _load_segments(self) -> None:
        numbers = sorted(self.segments)
        self._kept["segment_numbers"] = np.array(numbers, dtype=np.int64)
        self._kept["segment_rows"] = np.array([self.segments[number].rows for number in numbers], dtype=np.int64)
        texts = [segment_text(self.segments[number]) for number in numbers]
        self._kept["segment_ends"], self._kept["segments"] = _joined(texts)

    def _load_skipped(self, catalog: Catalog) -> None:
        rows = catalog.select("SELECT path, reason FROM skipped ORDER BY path")
        self._kept["skipped_path_ends"], self._kept["skipped_paths"] = _joined([path for path, _ in rows])
        reasons = [str(reason).encode("utf-8", "surrogateescape") for _, reason in rows]
        self._kept["skipped_reason_ends"], self._kept["skipped_reasons"] = _joined(reasons)

    def _sort_hashes(self) -> NDArray[np.int32]:
        hashes = self._kept["hashes"]
        order = np.argsort(_prefixes(hashes), kind="stable").astype(np.int32)
        if (self._follows(order, _PREFIX) != self._follows(order)).any():
            # Digests that begin alike and do not go on alike: nobody has seen two, but a crafted catalog may hold them.
            words = np.ascontiguousarray(hashes).view(">u8").astype(np.uint64)
            order = np.lexsort(words.T[::-1]).astype(np.int32)
        return order

    def _follows(self, order: NDArray[np.int32], length: int = 32) -> NDArray[np.bool_]:
        """Tell for each but the first of an order of hashes whether it begins with the same bytes as the one before."""
        found = np.zeros(max(len(order) - 1, 0), dtype=bool)
        for start in range(0, len(found), _RUN):
            part = self._kept["hashes"][order[start : start + _RUN + 1], :length]
            found[start : start + _RUN] = (part[1:] == part[:-1]).all(axis=1)
        return found

    def _sort_paths(self) -> NDArray[np.int32]:
        return sorted_by(self._keys, np.arange(len(self._kept["ids"]), dtype=np.int32))

    def _sort_composed(self) -> NDArray[np.int32]:
        blob = self._kept["paths"]
        if all(blob[start : start + _BYTES].tobytes().isascii() for start in range(0, len(blob), _BYTES)):
            return np.zeros(0, dtype=np.int32)
        every = np.arange(len(self._kept["ids"]), dtype=np.int32)
        other = np.fromiter((row for path, row in self._keys(every) if not path.isascii()), dtype=np.int32)
        return sorted_by(lambda rows: ((composed(path), row) for path, row in self._keys(rows)), other)

    def _keys(self, rows: NDArray[np.int32]) -> Iterator[tuple[bytes, int]]:
        """Give the stored paths of some images, with their positions."""
        ends, blob = self._kept["path_ends"], self._kept["paths"].data
        for start in range(0, len(rows), _KEYS):
            part = rows[start : start + _KEYS]
            starts = np.where(part > 0, ends[np.maximum(part, 1) - 1], 0)
            for row, begin, end in zip(part.tolist(), starts.tolist(), ends[part].tolist(), strict=True):
                yield bytes(blob[begin:end]), row

    def _link_copies(self) -> dict[str, NDArray[np.int32]]:
        """Note for each image the first one of its content, and the next one."""
        order = self.whole("by_hash")
        follows = self._follows(order)
        new = np.ones(len(order), dtype=bool)
        new[1:] = ~follows
        firsts, nexts = np.empty(len(order), dtype=np.int32), np.full(len(order), -1, dtype=np.int32)
        firsts[order] = order[new][np.cumsum(new, dtype=np.int32) - 1]
        nexts[order[:-1][follows]] = order[1:][follows]
        self._kept |= {"firsts": firsts, "nexts": nexts}
        return {"firsts": firsts, "nexts": nexts}


def sorted_by(
    keys: Callable[[NDArray[np.int32]], Iterator[tuple[bytes, int]]], rows: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Sort positions by a key of theirs, equal keys by position; few keys are in memory at a time.

    Parameters
    ----------
    keys : callable
        Gives for positions their keys and themselves.
    rows : ndarray of shape (n,), int32

    Returns
    -------
    ndarray of shape (n,), int32
    """
    runs: list[NDArray[np.int32]] = []
    edges: list[tuple[bytes, int]] = []
    for start in range(0, len(rows), _RUN):
        found = sorted(keys(rows[start : start + _RUN]))
        runs.append(np.array([row for _, row in found], dtype=np.int32))
        edges += [found[0], found[-1]]
    if all(before < after for before, after in itertools.pairwise(edges[1:-1])):
        # As files of one walk mostly are: each run lies behind the one before.
        return np.concatenate([np.zeros(0, dtype=np.int32), *runs])
    merged = heapq.merge(*map(keys, runs))
    return np.fromiter((row for _, row in merged), dtype=np.int32, count=len(rows))


def _find(known: NDArray[np.uint8], prefixes: NDArray[np.uint64], wanted: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return where digests are among sorted ones with these beginnings, (n,); -1 for those that are not."""
    found = np.minimum(np.searchsorted(prefixes, _prefixes(wanted)), len(known) - 1)
    wrong = np.flatnonzero((known[found] != wanted).any(axis=1))
    if wrong.size:
        by_hash = {sha.tobytes(): number for number, sha in enumerate(known)}
        found[wrong] = [by_hash.get(wanted[row].tobytes(), -1) for row in wrong]
    return found


def _hashes(values: tuple[bytes, ...]) -> NDArray[np.uint8]:
    if set(map(len, values)) - {32}:
        raise ValueError("a digest does not have 32 bytes")
    return np.frombuffer(b"".join(values), dtype=np.uint8).reshape(-1, 32)


def _prefixes(hashes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(hashes[:, :_PREFIX]).view(">u8")[:, 0].astype(np.uint64)


def _joined(parts: list[bytes]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return where each part ends, and all of them one behind the other."""
    return np.cumsum([len(part) for part in parts], dtype=np.int64), np.frombuffer(b"".join(parts), dtype=np.uint8)


def segment_text(segment: Segment) -> bytes:
    """Return the entry of a segment as one text.

    Parameters
    ----------
    segment : Segment

    Returns
    -------
    bytes
        JSON: number, rows, bytes, SHA-256, and as texts offsets and sums.
    """
    offsets, sums = json.dumps(segment.offsets), json.dumps(segment.sums)
    return json.dumps([segment.number, segment.rows, segment.bytes, segment.sha256, offsets, sums]).encode()


def composed(stored: bytes) -> bytes:
    """Return a stored path with its accents composed; macOS takes them apart, others do not.

    Parameters
    ----------
    stored : bytes

    Returns
    -------
    bytes
    """
    text = unicodedata.normalize("NFC", stored.decode("utf-8", "surrogateescape"))
    return text.encode("utf-8", "surrogateescape")
