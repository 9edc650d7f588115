"""Images that are no longer where they were: until the end of a run, their content may turn up elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from semret.index.store.catalog import Catalog
from semret.index.store.scratch import Scratch


@dataclass(frozen=True)
class LostImage:
    """An image that is no longer where it was.

    Attributes
    ----------
    id : int
    had_features : bool
        Whether the index holds the features of its content. It does unless a repair has dropped them; until they are
        back, the image is none of the index's.
    """

    id: int
    had_features: bool


class LostImages:
    """Ids of lost images, by content; the first one lost is the first one found again.

    Parameters
    ----------
    catalog : Catalog
        Images that it has without a path were lost by an earlier run, which was stopped.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._scratch = Scratch(
            "CREATE TABLE lost (place INTEGER PRIMARY KEY, content BLOB, id INTEGER, had_features INTEGER)",
            "CREATE INDEX by_content ON lost (content)",
            "CREATE TABLE uncounted (id INTEGER PRIMARY KEY)",
        )
        self._count = 0
        select = "SELECT id, sha256, sha256 IN (SELECT sha256 FROM contents) FROM images WHERE path IS NULL AND id > ?"
        for images in catalog.portions(select, 0):
            for id_, content, had_features in images:
                self.add(content, id_, replaced=True, had_features=bool(had_features))

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def add(self, content: bytes, id_: int, *, replaced: bool, had_features: bool = True) -> None:
        """Note an image.

        Parameters
        ----------
        content : bytes
            SHA-256.
        id_ : int
        replaced : bool
            Whether it is counted otherwise than as removed: its file has another content now.
        had_features : bool
            See `LostImage`.
        """
        self._count += 1
        insert = "INSERT INTO lost (content, id, had_features) VALUES (?, ?, ?)"
        self._scratch.run(insert, content, id_, had_features)
        if replaced:
            self._scratch.run("INSERT OR IGNORE INTO uncounted VALUES (?)", id_)

    def take(self, content: bytes) -> LostImage | None:
        """Return the first one with a content, which is not lost any more.

        Parameters
        ----------
        content : bytes
            SHA-256.

        Returns
        -------
        LostImage or None
            None if there is none.
        """
        if not self._count:
            return None
        select = "SELECT place, id, had_features FROM lost WHERE content = ? ORDER BY place LIMIT 1"
        found = self._scratch.one(select, content)
        if found is None:
            return None
        self._scratch.run("DELETE FROM lost WHERE place = ?", found[0])
        self._count -= 1
        return LostImage(int(found[1]), bool(found[2]))

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
