"""The pictures of an index: only they are served, and only while they are what was indexed."""

from __future__ import annotations

import threading
from collections import OrderedDict

from semret.errors import ArgumentError, ImageDecodeError
from semret.index.pictures.containers import cut_down
from semret.index.pictures.contents import read_content
from semret.index.pictures.decode import thumbnail
from semret.server.problems import RefusedError
from semret.server.served import View

EDGES = 32, 2048
"""Pixels of the shortest and longest side that a thumbnail is asked for with."""

_MOST_KEPT = 64 * 2**20

MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
    "AVIF": "image/avif",
    "HEIF": "image/heif",
}


class Pictures:
    """Reads pictures of an index, and keeps small copies of them in memory, up to 64 MiB."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def content(self, view: View, id_: int) -> tuple[bytes, str]:
        """Read the file of an image.

        Parameters
        ----------
        view : View
        id_ : int

        Returns
        -------
        (bytes, str)
            Its content, and its media type.

        Raises
        ------
        RefusedError
            404 if the index has no such image; 410 if the file is gone, or is not what was indexed any more.
        """
        data = self._read(view, id_)
        plain = cut_down(data)
        return data, MEDIA_TYPES.get("" if plain is None else plain.format, "application/octet-stream")

    def small(self, view: View, id_: int, edge: int) -> bytes:
        """Return a small copy of an image.

        Parameters
        ----------
        view : View
        id_ : int
        edge : int
            Most pixels of the longer side.

        Returns
        -------
        bytes
            A JPEG file.

        Raises
        ------
        RefusedError
            See `content`.
        ArgumentError
            If the edge is out of range.
        """
        if not EDGES[0] <= edge <= EDGES[1]:
            raise ArgumentError(f"edge is {edge}, expected {EDGES[0]} to {EDGES[1]}")
        key = hash_of(view, id_), edge
        with self._lock:
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return found
        made = thumbnail(self._read(view, id_), edge)
        self._keep(key, made)
        return made

    def _read(self, view: View, id_: int) -> bytes:
        sha256 = hash_of(view, id_)
        (path,) = view.collection.paths([id_])
        try:
            found = read_content(path)
        except ImageDecodeError as error:
            raise RefusedError(410, f"the picture cannot be read any more: {error}") from error
        if found.sha256 != sha256:
            raise RefusedError(410, f"{path} is not the picture that was indexed any more; run semret index again")
        return found.data

    def _keep(self, key: tuple[str, int], data: bytes) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = data
                self._size += len(data)
            while self._size > _MOST_KEPT:
                self._size -= len(self._kept.popitem(last=False)[1])


def hash_of(view: View, id_: int) -> str:
    """Return the SHA-256 of an image's file, as it was indexed.

    Parameters
    ----------
    view : View
    id_ : int

    Returns
    -------
    str
        In hexadecimal.

    Raises
    ------
    RefusedError
        404 if the index has no such image.
    """
    found = view.engine.find(id_)
    if found is None:
        raise RefusedError(404, f"the index has no image {id_}")
    return view.collection.hashes([found])[0]
