"""What was made of uploaded pictures: whoever asks about one again, or wants an explanation, need not wait for it."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import TypeAlias

from semret.integer_tokens import IntegerTokens
from semret.retrieval.search.query_pictures import EncodedImage, Seen
from semret.server.served import View

MOST_KEPT_BYTES = 64 * 2**20
"""Of features in all; those of a picture take 10 kB with the default codec, 370 kB without one."""

Key: TypeAlias = tuple[str, str]
"""Of the manifest, and of the picture's content."""


class Recent:
    """Keeps the features of the pictures that were asked about last, by their content. Safe in any number of threads.

    The pictures themselves are not kept. Features belong to the network and codec of an index: after a change of these
    they are made anew. Two requests about one picture at the same time wait for the same pass of the network.

    Parameters
    ----------
    most_bytes : int
    """

    def __init__(self, most_bytes: int = MOST_KEPT_BYTES) -> None:
        self._most = most_bytes
        self._guard = threading.Lock()
        self._kept: OrderedDict[Key, Seen] = OrderedDict()
        self._under_way: dict[Key, Future[Seen]] = {}
        self.bytes = 0

    def represent(self, view: View, picture: EncodedImage) -> Seen:
        """Return what an engine makes of a picture, which is kept from the last time or made now.

        Parameters
        ----------
        view : View
        picture : EncodedImage

        Returns
        -------
        Seen
            Called as this picture is, without its content.

        Raises
        ------
        SemretError
            See `SearchEngine.represent`.
        """
        key = view.collection.manifest.digest, hashlib.sha256(picture.data).hexdigest()
        with self._guard:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found._replace(name=picture.name)
            other = self._under_way.get(key)
            own: Future[Seen] = Future()
            if other is None:
                self._under_way[key] = own
        if other is not None:
            return other.result()._replace(name=picture.name)
        try:
            seen = view.engine.represent(picture)._replace(picture=None)
        except BaseException as error:
            self._settle(key, None)
            own.set_exception(error)
            raise
        self._settle(key, seen)
        own.set_result(seen)
        return seen

    def _settle(self, key: Key, seen: Seen | None) -> None:
        """Keep what was made, in the place of what was not asked about for longest."""
        with self._guard:
            del self._under_way[key]
            if seen is None or _size(seen) > self._most:
                return
            self._kept[key] = seen
            self.bytes += _size(seen)
            while self.bytes > self._most:
                self.bytes -= _size(self._kept.popitem(last=False)[1])


def _size(seen: Seen) -> int:
    tokens = seen.tokens
    stored = tokens.integers.nbytes + tokens.scales.nbytes if isinstance(tokens, IntegerTokens) else tokens.nbytes
    return stored + seen.pooled.nbytes + 1000
