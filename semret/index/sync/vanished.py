"""Which images that were not found are removed from an index, and which are kept.

A folder that is found without a single picture is more often a drive that is not connected than a wish to forget its
pictures, so its images are kept until they are to be pruned.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable

from semret.index.store.scratch import Scratch
from semret.index.sync.survey import Survey

Copies = Callable[[bytes], Iterable[tuple[int, str, bool]]]
"""Gives the images with a content: id, absolute path, and whether the survey found it."""


class Vanished:
    """Images that a survey did not find. They lie in a temporary file until it is known what becomes of them.

    Parameters
    ----------
    survey : Survey
    prune : bool
        Whether images of folders that are gone as a whole are removed too.

    Attributes
    ----------
    removed : array of int
        Ids of the images that are removed: single files, files that are there but no longer belong to what was walked
        or that are excluded, whether they are there or not, and those of folders whose every content lies elsewhere.
    """

    def __init__(self, survey: Survey, *, prune: bool) -> None:
        self._survey, self._prune = survey, prune
        self._scratch = Scratch("CREATE TABLE unseen (id INTEGER PRIMARY KEY, folder INTEGER, content BLOB)")
        self._folders: dict[str, int] = {}
        self._counts: list[int] = []
        self.removed = array("q")

    def note(self, id_: int, path: str, content: bytes) -> None:
        """Note an image whose path is not among those found.

        Parameters
        ----------
        id_ : int
        path : str
            Absolute. What lies outside the survey, or where nothing could be read, is passed over; so is one on hold.
        content : bytes
            SHA-256.
        """
        if path in self._survey.held or not self._survey.covers(path):
            return
        excluded = self._survey.unwanted.cover(path)
        self._survey.excluded_images += excluded
        folder = None if self._prune or excluded else self._survey.emptied(path)
        if folder is None or os.path.lexists(path):
            self.removed.append(id_)
            self._scratch.run("INSERT INTO unseen VALUES (?, NULL, NULL)", id_)
            return
        number = self._folders.setdefault(folder, len(self._folders))
        if number == len(self._counts):
            self._counts.append(0)
        self._counts[number] += 1
        self._scratch.run("INSERT INTO unseen VALUES (?, ?, ?)", id_, number, content)

    def settle(self, copies: Copies) -> dict[str, int]:
        """Decide what becomes of folders that are gone as a whole, once all images are noted.

        Parameters
        ----------
        copies : callable

        Returns
        -------
        dict
            For each folder whose images are kept, their number.
        """
        lasting: set[int] = set()
        for number, content in self._scratch.rows("SELECT folder, content FROM unseen WHERE folder IS NOT NULL"):
            if number not in lasting and not self._is_elsewhere(content, copies):
                lasting.add(number)
        for number in range(len(self._counts)):
            if number not in lasting:
                gone = self._scratch.rows("SELECT id FROM unseen WHERE folder = ?", number)
                self.removed.extend(id_ for (id_,) in gone)
        kept = {folder: self._counts[number] for folder, number in self._folders.items() if number in lasting}
        return dict(sorted(kept.items()))

    def _is_elsewhere(self, content: bytes, copies: Copies) -> bool:
        return any(
            self._scratch.one("SELECT 1 FROM unseen WHERE id = ?", id_) is None and (found or os.path.lexists(path))
            for id_, path, found in copies(content)
        )
