"""What inverted lists and words have in common when their files are opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from semret.arrays import IdVector
from semret.errors import IndexCorruptError
from semret.index.store.paged_file import PagedFile

T = TypeVar("T")


def most_images(ids: IdVector) -> int:
    """Return how many images a file that is derived from an index can be of: more than there can ever have been.

    Parameters
    ----------
    ids : ndarray of shape (N,), int64
        Of the images there are, ascending.

    Returns
    -------
    int
    """
    return 4 * int(ids[-1] if len(ids) else 0) + 2**20


def open_usable(open_any: Callable[[], PagedFile], mark: bytes, make: Callable[[PagedFile], T]) -> T | None:
    """Open a file that searches can do without.

    Parameters
    ----------
    open_any : callable
        Opens it, of whatever index.
    mark : bytes
        That it has if it is of this index.
    make : callable
        Makes of the file what searches use.

    Returns
    -------
    object or None
        None if there is no such file, or none that can be used.
    """
    # Where a file that is held open cannot be replaced, a reader would keep the next writer from it.
    if os.name != "posix":
        return None
    try:
        file = open_any()
        return make(file) if file.mark == mark else None
    except (OSError, IndexCorruptError):
        return None
