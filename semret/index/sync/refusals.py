"""Files that cannot be used: those that the index remembers from earlier runs, and those of this one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from semret.index.store.catalog import Catalog
from semret.index.store.root import Root, lies_in
from semret.index.sync.rows import DECODER

Refusal = tuple[int, int, str]
"""Size of the file in bytes, its time stamp in nanoseconds, and why it cannot be used; -1 where one is not known."""


class Refusals:
    """Files that cannot be used, by the paths that are stored.

    Parameters
    ----------
    catalog : Catalog

    Attributes
    ----------
    now : dict of bytes to (int, int, str)
        Those of this run.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.now: dict[bytes, Refusal] = {}
        self._before: dict[bytes, Refusal] = {
            path: (size, mtime, reason)
            for path, size, mtime, reason, decoder in catalog.select("SELECT * FROM skipped")
            if decoder == DECODER
        }

    def before(self, key: bytes) -> Refusal | None:
        """Return what an earlier run, with the same decoder, remembered of a file.

        Parameters
        ----------
        key : bytes
            Stored path.

        Returns
        -------
        (int, int, str) or None
        """
        return self._before.get(key)

    def outdated(self, root: Root, tops: Sequence[str]) -> list[bytes] | None:
        """Return the remembered ones that no longer hold.

        Parameters
        ----------
        root : Root
            Of the index.
        tops : sequence of str
            What was looked through; what lies elsewhere still holds.

        Returns
        -------
        list of bytes or None
            Stored paths; None if what is remembered is exactly what this run found.
        """
        known = self._catalog.select("SELECT path, size, mtime_ns, reason, decoder FROM skipped")
        here = {row[0]: row[1:] for row in known if lies_in(root.to_path(row[0]), tops)}
        now = {key: (*record, DECODER) for key, record in self.now.items()}
        return None if here == now else [key for key in here if key not in now]

    def remember(self, outdated: Iterable[bytes]) -> None:
        """Have the catalog remember those of this run, within a transaction.

        Parameters
        ----------
        outdated : iterable of bytes
            Stored paths that it forgets.
        """
        self._catalog.change_many("DELETE FROM skipped WHERE path = ?", ((key,) for key in outdated))
        records = ((key, *record, DECODER) for key, record in self.now.items())
        self._catalog.change_many("INSERT OR REPLACE INTO skipped VALUES (?, ?, ?, ?, ?)", records)
