"""Files of segments that are kept open between reads: a query reads several datasets of each of a hundred segments."""

from __future__ import annotations

import io
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable

MOST_OPEN = 128
"""Segments whose files are kept open; those used last."""


class OpenFile:
    """A file that is read by offset, from any number of threads at once; closed when nobody holds this any more.

    Parameters
    ----------
    stream : io.FileIO
        Taken over.
    """

    def __init__(self, stream: io.FileIO) -> None:
        # An own descriptor: a file object that nobody closes would complain.
        self._descriptor = os.dup(stream.fileno())
        self._guard = threading.Lock()
        stream.close()
        weakref.finalize(self, os.close, self._descriptor)

    def read_into(self, view: memoryview, offset: int) -> int:
        """Read bytes from a place in the file.

        Parameters
        ----------
        view : memoryview
            Writable; as much of it is filled as the system gives at once.
        offset : int

        Returns
        -------
        int
            How many bytes were read; 0 at the end of the file.

        Raises
        ------
        OSError
            If the disk fails.
        """
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [view], offset)
        with self._guard:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            part = os.read(self._descriptor, len(view))
        view[: len(part)] = part
        return len(part)

    def size(self) -> int:
        """Return the length of the file in bytes, as it is now.

        Returns
        -------
        int
        """
        return os.fstat(self._descriptor).st_size


class _Recent:
    """The files that were used last, by whoever uses them."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._files: OrderedDict[int, OpenFile] = OrderedDict()

    def get(self, key: int, opened: Callable[[], OpenFile]) -> OpenFile:
        with self._guard:
            found = self._files.get(key)
            if found is not None:
                self._files.move_to_end(key)
                return found
        found = opened()
        with self._guard:
            self._files[key] = found
            while len(self._files) > MOST_OPEN:
                self._files.popitem(last=False)
        return found

    def drop(self, key: int) -> None:
        with self._guard:
            self._files.pop(key, None)


_recent = _Recent()


def kept_open(owner: object, opened: Callable[[], OpenFile]) -> OpenFile:
    """Return the file of an owner, opened at the first call and again after others were used in between.

    Parameters
    ----------
    owner : object
        Its file is let go with it.
    opened : callable
        Opens it.

    Returns
    -------
    OpenFile

    Raises
    ------
    OSError, IndexCorruptError
        As `opened`.
    """
    if os.name != "posix":
        # Elsewhere a file that is open can neither be replaced nor deleted.
        return opened()
    return _recent.get(id(owner), opened)


def let_go(owner: object) -> None:
    """Have the file of an owner closed when the owner goes; to be called once.

    Parameters
    ----------
    owner : object
    """
    weakref.finalize(owner, _recent.drop, id(owner))
