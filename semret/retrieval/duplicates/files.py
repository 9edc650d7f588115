"""The files of an index's images as they are now: which are there, and which is the best to keep."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semret.arrays import IndexVector
from semret.errors import ImageDecodeError
from semret.index.backbones.spec import OWN_FEATURES
from semret.index.collection import Collection
from semret.index.pictures.files import hash_file


@dataclass(frozen=True, kw_only=True)
class FileSurvey:
    """What is known of the files of a collection, by position.

    Attributes
    ----------
    bytes, modified : ndarray of shape (N,), int64
        Size in bytes; time of the last change in nanoseconds since 1970, the greatest number where it is unknown.
    sizes : ndarray of shape (N, 2), int32
        Width and height in pixels.
    there : ndarray of shape (N,), bool
        Whether the file can still be what was indexed: it is there and has the size that it had.
    gone, changed : int
        Files that are not there; that have another content now.
    unsure : frozenset of int
        Positions of files that are there, but whose time stamp does not prove that they are what was indexed.
    """

    bytes: NDArray[np.int64]
    modified: NDArray[np.int64]
    sizes: NDArray[np.int32]
    there: NDArray[np.bool_]
    gone: int
    changed: int
    unsure: frozenset[int]

    def best_first(self, rows: IndexVector) -> IndexVector:
        """Order images by which is the best to keep: most pixels, then largest file, then oldest, then lowest id.

        Parameters
        ----------
        rows : ndarray of shape (n,), intp
            Positions.

        Returns
        -------
        ndarray of shape (n,), intp
        """
        pixels = self.sizes[rows].astype(np.int64).prod(axis=1)
        return rows[np.lexsort((rows, self.modified[rows], -self.bytes[rows], -pixels))]


def survey_files(collection: Collection) -> FileSurvey:
    """Look at the files of all images.

    Parameters
    ----------
    collection : Collection

    Returns
    -------
    FileSurvey

    Raises
    ------
    IndexCorruptError
        If what is read is damaged.
    """
    count = len(collection)
    sizes = collection.features.read_sizes(np.arange(count))
    found, modified = np.zeros(count, dtype=np.int64), np.full(count, np.iinfo(np.int64).max)
    there, unsure = np.zeros(count, dtype=bool), []
    gone = changed = 0
    # Maps of one's own need no files: what is named may never have been one.
    needs_files = collection.manifest.identity.backbone != OWN_FEATURES
    for row, (path, size, stamp) in enumerate(collection.files()):
        status = _status(path)
        if status is None:
            gone += needs_files
            there[row] = not needs_files
        elif needs_files and status.st_size != size:
            changed += 1
        else:
            there[row] = True
            found[row], modified[row] = status.st_size, status.st_mtime_ns
            if status.st_mtime_ns != stamp:
                unsure.append(row)
    return FileSurvey(
        bytes=found,
        modified=modified,
        sizes=sizes,
        there=there,
        gone=gone,
        changed=changed,
        unsure=frozenset(unsure),
    )


def _status(path: str) -> os.stat_result | None:
    """Return the status of a regular file; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - paths may hold undecodable bytes
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def is_unchanged(path: str, sha256: str) -> bool:
    """Tell whether a file still has the content that it was indexed with, by reading it.

    Parameters
    ----------
    path : str
    sha256 : str
        In hexadecimal.

    Returns
    -------
    bool
    """
    try:
        return hash_file(path) == sha256
    except ImageDecodeError:
        return False
