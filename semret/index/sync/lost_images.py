"""Images that are no longer where they were: until the end of a run, their content may turn up elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from semret.index.store.catalog import Catalog
from semret.index.store.scratch import Scratch


class LostImages:
    """Ids of lost images, by content; the first one lost is the first one found again.

    Parameters
    ----------
    catalog : Catalog
        Images that it has without a path were lost by an earlier run, which was stopped.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._scratch = Scratch(
            "CREATE TABLE lost (place INTEGER PRIMARY KEY, content BLOB, id INTEGER)",
            "CREATE INDEX by_content ON lost (content)",
            "CREATE TABLE uncounted (id INTEGER PRIMARY KEY)",
        )
        self._count = 0
        for images in catalog.portions("SELECT id, sha256 FROM images WHERE path IS NULL AND id > ?", 0):
            for id_, content in images:
                self.add(content, id_, replaced=True)

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def add(self, content: bytes, id_: int, *, replaced: bool) -> None:
        """Note an image.

        Parameters
        ----------
        content : bytes
            SHA-256.
        id_ : int
        replaced : bool
            Whether it is counted otherwise than as removed: its file has another content now.
        """
        self._count += 1
        self._scratch.run("INSERT INTO lost (content, id) VALUES (?, ?)", content, id_)
        if replaced:
            self._scratch.run("INSERT OR IGNORE INTO uncounted VALUES (?)", id_)

    def take(self, content: bytes) -> int | None:
        """Return the id of the first one with a content, which is not lost any more.

        Parameters
        ----------
        content : bytes
            SHA-256.

        Returns
        -------
        int or None
            None if there is none.
        """
        if not self._count:
            return None
        found = self._scratch.one("SELECT place, id FROM lost WHERE content = ? ORDER BY place LIMIT 1", content)
        if found is None:
            return None
        self._scratch.run("DELETE FROM lost WHERE place = ?", found[0])
        self._count -= 1
        return int(found[1])

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Give the ids, each in a tuple.

        Returns
        -------
        iterator of (int,)
        """
        return self._scratch.rows("SELECT id FROM lost")

    def count_of_removed(self) -> int:
        """Return how many there are that count as removed.

        Returns
        -------
        int
        """
        select = "SELECT count(DISTINCT id) FROM lost WHERE id NOT IN (SELECT id FROM uncounted)"
        found = self._scratch.one(select)
        return int(found[0]) if found else 0
