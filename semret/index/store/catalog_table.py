"""The images, segments and refused files of a catalog as arrays in memory."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.errors import IndexCorruptError
from semret.index.store.catalog import Catalog
from semret.index.store.layout import Segment
from semret.index.store.members import damaged

_PORTION = 2**16


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
        try:
            self._load_images(catalog)
            self._load_places(catalog)
        except (TypeError, ValueError, OverflowError) as error:
            raise damaged(catalog.path, "an image has no features, or an entry is not valid") from error
        self._check_places(catalog)
        self._load_segments()
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
        select = (
            "SELECT id, size, mtime_ns, sha256, path FROM images "
            f"WHERE path IS NOT NULL AND id > ? ORDER BY id LIMIT {_PORTION}"
        )
        found: dict[str, list[Any]] = {name: [] for name in ("ids", "sizes", "stamps", "lengths", "hashes", "paths")}
        for rows in _portions(catalog, select, 0):
            ids, sizes, stamps, hashes, paths = zip(*rows, strict=True)
            for name, values in (("ids", ids), ("sizes", sizes), ("stamps", stamps), ("lengths", map(len, paths))):
                found[name].append(np.array(list(values), dtype=np.int64))
            found["hashes"].append(_hashes(hashes))
            found["paths"].append(np.frombuffer(b"".join(paths), dtype=np.uint8))
        for name in ("ids", "sizes", "stamps"):
            self._kept[name] = np.concatenate([np.zeros(0, dtype=np.int64), *found[name]])
        self._kept["path_ends"] = np.cumsum(np.concatenate([np.zeros(0, dtype=np.int64), *found["lengths"]]))
        self._kept["hashes"] = np.concatenate([np.zeros((0, 32), dtype=np.uint8), *found["hashes"]])
        self._kept["paths"] = np.concatenate([np.zeros(0, dtype=np.uint8), *found["paths"]])

    def _load_places(self, catalog: Catalog) -> None:
        """Find the place of each image's content: both are in the order of hashes, or can be brought into it."""
        select = f"SELECT sha256, segment, row FROM contents WHERE sha256 > ? ORDER BY sha256 LIMIT {_PORTION}"
        hashes, places = [np.zeros((0, 32), dtype=np.uint8)], [np.zeros((0, 2), dtype=np.int64)]
        for rows in _portions(catalog, select, b""):
            shas, segments, inner = zip(*rows, strict=True)
            hashes.append(_hashes(shas))
            places.append(np.array([segments, inner], dtype=np.int64).T)
        known, place = np.concatenate(hashes), np.concatenate(places)
        wanted = self._kept["hashes"]
        if len(wanted) and not len(known):
            raise ValueError("there are images but no contents")
        found = np.minimum(np.searchsorted(_prefixes(known), _prefixes(wanted)), max(len(known) - 1, 0))
        wrong = np.flatnonzero((known[found] != wanted).any(axis=1))
        if wrong.size:
            # Digests that begin alike for eight bytes: nobody has seen two, but a crafted catalog may hold them.
            by_hash = {sha.tobytes(): number for number, sha in enumerate(known)}
            found[wrong] = [by_hash.get(wanted[row].tobytes(), -1) for row in wrong]
            if (found < 0).any():
                raise ValueError("an image has no features")
        self._numbers, self._kept["rows"] = place[found, 0], place[found, 1]

    def _check_places(self, catalog: Catalog) -> None:
        """Refuse images whose segment does not exist, or has fewer rows; note which of the segments they are in."""
        numbers = np.array(sorted(self.segments), dtype=np.int64)
        limits = np.array([self.segments[number].rows for number in numbers.tolist()], dtype=np.int64)
        rows, ids = self._kept["rows"], self._kept["ids"]
        if len(ids) and not len(numbers):
            raise damaged(catalog.path, "there are images but no segments")
        place = np.minimum(np.searchsorted(numbers, self._numbers), max(len(numbers) - 1, 0))
        wrong = (numbers[place] != self._numbers) | (rows < 0) | (rows >= limits[place])
        if np.any(wrong):
            raise damaged(catalog.path, f"image {int(ids[wrong][0])} is placed outside the segments")
        self._kept |= {"places": place, "segment_numbers": numbers, "segment_rows": limits}

    def _load_segments(self) -> None:
        texts = [segment_text(self.segments[number]) for number in sorted(self.segments)]
        self._kept["segment_ends"], self._kept["segments"] = _joined(texts)

    def _load_skipped(self, catalog: Catalog) -> None:
        rows = catalog.select("SELECT path, reason FROM skipped ORDER BY path")
        self._kept["skipped_path_ends"], self._kept["skipped_paths"] = _joined([path for path, _ in rows])
        reasons = [str(reason).encode("utf-8", "surrogateescape") for _, reason in rows]
        self._kept["skipped_reason_ends"], self._kept["skipped_reasons"] = _joined(reasons)

    def _sort_hashes(self) -> NDArray[np.int32]:
        hashes = self._kept["hashes"]
        order = np.argsort(_prefixes(hashes), kind="stable")
        ordered = hashes[order]
        alike = (ordered[1:, :8] == ordered[:-1, :8]).all(axis=1)
        if (ordered[1:][alike] != ordered[:-1][alike]).any():
            # Digests that begin alike and do not go on alike.
            words = np.ascontiguousarray(hashes).view(">u8").astype(np.uint64)
            order = np.lexsort(words.T[::-1])
        return order.astype(np.int32)

    def _stored_paths(self) -> list[bytes]:
        blob, ends = self._kept["paths"].tobytes(), self._kept["path_ends"].tolist()
        return [blob[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _sort_paths(self) -> NDArray[np.int32]:
        paths = self._stored_paths()
        return np.array(sorted(range(len(paths)), key=paths.__getitem__), dtype=np.int32)

    def _sort_composed(self) -> NDArray[np.int32]:
        if self._kept["paths"].tobytes().isascii():
            return np.zeros(0, dtype=np.int32)
        keys = {row: composed(path) for row, path in enumerate(self._stored_paths()) if not path.isascii()}
        return np.array(sorted(keys, key=lambda row: (keys[row], row)), dtype=np.int32)

    def _link_copies(self) -> dict[str, NDArray[np.int32]]:
        """Note for each image the first one of its content, and the next one."""
        order = self.whole("by_hash").astype(np.intp)
        hashes = self._kept["hashes"][order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (hashes[1:] != hashes[:-1]).any(axis=1)
        firsts, nexts = np.empty(len(order), dtype=np.int32), np.full(len(order), -1, dtype=np.int32)
        firsts[order] = order[new][np.cumsum(new) - 1]
        follows = ~new[1:]
        nexts[order[:-1][follows]] = order[1:][follows]
        self._kept |= {"firsts": firsts, "nexts": nexts}
        return {"firsts": firsts, "nexts": nexts}


def _portions(catalog: Catalog, select: str, first: int | bytes) -> Iterator[list[tuple[Any, ...]]]:
    """Give the rows of a table in portions; the first column is its key, and where the next portion begins."""
    after: Any = first
    while rows := catalog.select(select, after):
        if not rows[-1][0] > after:
            raise IndexCorruptError(f"{catalog.path} is damaged: its entries are not in order")
        yield rows
        after = rows[-1][0]


def _hashes(values: tuple[bytes, ...]) -> NDArray[np.uint8]:
    if set(map(len, values)) - {32}:
        raise ValueError("a digest does not have 32 bytes")
    return np.frombuffer(b"".join(values), dtype=np.uint8).reshape(-1, 32)


def _prefixes(hashes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(hashes[:, :8]).view(">u8")[:, 0].astype(np.uint64)


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
