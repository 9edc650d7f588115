"""Files that may still be being written, and what of a folder has to be looked at again after a change."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from semret.index.pictures.find import FoundImage
from semret.index.store.root import lies_in


class _Look(NamedTuple):
    """Size and time stamp of a file, and since when they have been the same, on the clock that only goes forward."""

    size: int
    mtime_ns: int
    since: float


class Settling:
    """Holds files back until their size and time stamp have stayed the same for a while.

    Parameters
    ----------
    seconds : float
        How long.
    clock : callable
        Gives seconds, and never goes back.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._looks: dict[str, _Look] = {}

    @property
    def held(self) -> set[str]:
        """Paths of the files that are held back."""
        return set(self._looks)

    def touch(self, path: str) -> None:
        """Look at a file that was changed; one that is gone, or is a folder, is not held.

        Parameters
        ----------
        path : str
            Absolute.
        """
        try:
            found = os.stat(path)  # noqa: PTH116 - follows pathlib, without its cost for each event
        except OSError:
            self._looks.pop(path, None)
            return
        if not stat.S_ISDIR(found.st_mode):
            self._look(path, found.st_size, found.st_mtime_ns)

    def is_settled(self, path: str) -> bool:
        """Tell whether a file need not be held any longer, by looking at it once more.

        Parameters
        ----------
        path : str
            Absolute.

        Returns
        -------
        bool
        """
        if path in self._looks:
            self.touch(path)
        look = self._looks.get(path)
        return look is None or self._clock() - look.since >= self._seconds

    def hold(self, found: FoundImage) -> bool:
        """Tell whether a file that a walk has found is to be left as it is for now.

        A file that nobody has told of is held if it was changed a moment ago, by the clock of its folder.

        Parameters
        ----------
        found : FoundImage

        Returns
        -------
        bool
        """
        if found.path not in self._looks:
            age = time.time() - found.mtime_ns / 1e9
            if not 0 <= age < self._seconds:
                return False
        since = self._look(found.path, found.size, found.mtime_ns)
        if self._clock() - since < self._seconds:
            return True
        del self._looks[found.path]
        return False

    def forget(self, paths: Iterable[str]) -> None:
        """Let go of files that have settled and that no walk has asked for: they are no pictures.

        Parameters
        ----------
        paths : iterable of str
        """
        for path in paths:
            look = self._looks.get(path)
            if look is not None and self._clock() - look.since >= self._seconds:
                del self._looks[path]

    def _look(self, path: str, size: int, mtime_ns: int) -> float:
        """Note how a file is now; return since when it has been so."""
        before = self._looks.get(path)
        if before is None or before[:2] != (size, mtime_ns):
            self._looks[path] = _Look(size, mtime_ns, self._clock())
        return self._looks[path].since


def find_scopes(changed: Iterable[str], tops: Sequence[str]) -> dict[str, list[str]]:
    """Find what has to be walked again to see some changes.

    Parameters
    ----------
    changed : iterable of str
        Absolute paths.
    tops : sequence of str
        Files and folders that are watched, absolute.

    Returns
    -------
    dict of str to list of str
        For each of `tops` with a change, the folders in it that hold one, none inside another: that of a changed file,
        and of what is gone the nearest that is there. A file of `tops` stands for itself.
    """
    found: dict[str, set[str]] = {}
    for path in changed:
        for top in tops:
            if lies_in(path, [top]):
                found.setdefault(top, set()).add(_folder_of(path, top))
    return {top: _outermost(folders) for top, folders in found.items()}


def _folder_of(path: str, top: str) -> str:
    folder = path
    while folder != top:
        folder = os.path.dirname(folder)  # noqa: PTH120
        if os.path.isdir(folder):  # noqa: PTH112
            break
    return folder


def _outermost(folders: set[str]) -> list[str]:
    kept: list[str] = []
    for folder in sorted(folders):
        if not lies_in(folder, kept):
            kept.append(folder)
    return kept
