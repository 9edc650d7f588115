"""The index that is served: always the newest state of it, and the pictures in it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import Field

from semret.arrays import IdVector
from semret.errors import ArgumentError, SemretError
from semret.index.collection import Collection
from semret.index.store.catalog_file import CATALOG_NAME, DIGEST_NAME
from semret.names import one_line, unescaped
from semret.retrieval.search.engine import SearchEngine

_log = logging.getLogger(__name__)

WholeId = Annotated[int, Field(ge=0, lt=2**63)]
"""An id, as a request has it."""

WATCH_SECONDS = 1.0
"""How often the index is looked at: two calls of the system."""


State: TypeAlias = tuple[tuple[int, int, int], ...]
"""What the system says of the catalog's files."""


@dataclass(frozen=True)
class View:
    """One state of the index: what belongs together while a request is answered."""

    engine: SearchEngine
    _chosen: dict[str, IdVector | None] = field(default_factory=dict)

    @property
    def collection(self) -> Collection:
        """The index, open."""
        return self.engine.collection

    @property
    def generation(self) -> int:
        """Number of the state."""
        return self.collection.generation

    @property
    def folders(self) -> list[str]:
        """All folders that hold images or folders with images, from the root of the index, sorted."""
        return self.engine.places.folders

    def within(self, folder: str | None) -> IdVector | None:
        """Find the images in a folder and those below it.

        Parameters
        ----------
        folder : str or None
            From the root of the index, as `folders` has it, or absolute; either may be as `semret.names.escaped` writes
            it, which is how a form can name what is not UTF-8. A folder of just that name comes first.

        Returns
        -------
        ndarray of int64 or None
            Ids, ascending; None for None and for the root.

        Raises
        ------
        ArgumentError
            If no image lies there.
        """
        if not folder:
            return None
        if folder not in self._chosen:
            if len(self._chosen) > 100:
                self._chosen.clear()
            self._chosen[folder] = self._find(folder)
        return self._chosen[folder]

    def _find(self, folder: str) -> IdVector | None:
        root = str(self.collection.root.folder).rstrip("/") + "/"
        for name in dict.fromkeys((folder, unescaped(folder))):
            inside = f"{name}/".removeprefix(root).strip("/")
            if not inside:
                return None
            if len(found := self.engine.places.below(inside)):
                return found
        raise ArgumentError(f"there is no image in a folder {folder}; /api/info lists the folders")


class Served:
    """Holds the newest state of an index that somebody else may be writing to.

    A new state is opened beside the old one, which answers until the new one is ready. If that fails, because the
    catalog is damaged or being repaired, the old one stays, and `trouble` says why.

    Parameters
    ----------
    engine : SearchEngine

    Attributes
    ----------
    view : View
        The newest state.
    trouble : str or None
    on_change : callable
        Called when a new state is served.
    """

    def __init__(self, engine: SearchEngine) -> None:
        self._path = engine.collection.path
        self._seen: State | None = None
        self.view = View(engine)
        self.trouble: str | None = None
        self.on_change: Callable[[], None] = lambda: None

    @classmethod
    def open(cls, open_engine: Callable[[], SearchEngine]) -> Served:
        """Open an index to be served.

        Parameters
        ----------
        open_engine : callable
            Opens it.

        Returns
        -------
        Served

        Raises
        ------
        IndexNotFoundError, IndexCorruptError, IncompatibleIndexError
            See `semret.retrieval.search.engine.open_index`.
        """
        engine = open_engine()
        # Its files are first looked at by `refresh`, which finds the state that was opened unless it has changed.
        return cls(engine)

    def refresh(self) -> bool:
        """Open the index again if it has changed.

        Returns
        -------
        bool
            Whether `view` is a new one.
        """
        state = _state_of(self._path)
        if state == self._seen:
            self.trouble = None
            return False
        try:
            engine = self.view.engine.reopened()
        except (SemretError, OSError) as error:
            line = one_line(error)
            if line != self.trouble:
                _log.warning("the index has changed but cannot be opened, the former state is served: %s", line)
            self.trouble = line
            return False
        self._seen, self.trouble = state, None
        if _is_same(engine.collection, self.view.collection):
            return False
        try:
            _warm(engine)
        except SemretError:
            # Whoever searches is told; what else there is of the new state is served.
            _log.warning("the index has changed, and its features cannot be read")
        self.view = View(engine)
        self.on_change()
        return True

    async def watch(self) -> None:
        """Look at the index again and again, for ever."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await asyncio.to_thread(self.refresh)
            except Exception:
                # Whatever it is, the next look may find it gone; the server goes on with what it has.
                _log.exception("looking at the index failed")


def _is_same(one: Collection, other: Collection) -> bool:
    """Tell whether two open indexes are one state; format 1 gives states no names of their own."""
    if one.generation != other.generation or one.state != other.state:
        return False
    return one.state is not None or one.mark == other.mark


def _warm(engine: SearchEngine) -> None:
    """Read what every search needs, before anybody waits for it."""
    if len(engine):
        engine.query(int(engine.collection.ids[0]), k=1, invariance="pooled")


def _state_of(path: Path) -> State:
    """Return what changes with every commit: the status of the catalog's files, which are not opened.

    Closing a file of SQLite's would drop the locks that the process has on it.
    """
    found: list[tuple[int, int, int]] = []
    for name in (CATALOG_NAME, DIGEST_NAME):
        try:
            status = os.stat(path / name)  # noqa: PTH116 - follows pathlib, without its cost each second
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)
