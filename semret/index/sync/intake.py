"""From the network into the index: files are placed in their order, and committed when it is time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from semret.errors import ImageSearchError
from semret.index.store.layout import Rows
from semret.index.sync.changes import Changes
from semret.index.sync.loading import Loaded
from semret.index.sync.pipeline import Embedded


class Intake:
    """Puts files into the index, in their order, as they come out of the network.

    A new index is made with the first picture that has been embedded; unusable files that come before it are kept here
    until then.

    Parameters
    ----------
    folder : Path
        Index directory.
    changes : Changes or None
        To the index, if there is one.
    make_index : callable
        Makes it otherwise.
    """

    def __init__(self, folder: Path, changes: Changes | None, make_index: Callable[[], Changes]) -> None:
        self.folder = folder
        self._changes = changes
        self._make_index = make_index
        self._waiting: list[Loaded] = []

    def is_known(self, sha256: bytes) -> bool:
        """Tell whether the features of a content are stored or about to be.

        Parameters
        ----------
        sha256 : bytes

        Returns
        -------
        bool
        """
        return self._changes is not None and self._changes.is_known(sha256)

    @property
    def changes(self) -> Changes | None:
        """The changes to the index; None as long as there is none."""
        return self._changes

    def take(self, embedded: Embedded[Rows]) -> None:
        """Keep the features of new contents, place all files, and commit if it is time.

        Parameters
        ----------
        embedded : Embedded of Rows

        Raises
        ------
        StorageError
            If the disk is full, read-only, or refuses access.
        """
        if embedded.result is not None:
            if self._changes is None:
                self._changes = self._make_index()
            self._changes.keep(embedded.pictures, embedded.result)
        self.place(embedded.files)

    def place(self, loaded_files: list[Loaded]) -> None:
        """Place files whose features are kept, or known to be unusable, and commit if it is time.

        Parameters
        ----------
        loaded_files : list of Loaded

        Raises
        ------
        StorageError
            If the disk is full, read-only, or refuses access.
        """
        files, self._waiting = self._waiting + loaded_files, []
        if self._changes is None:
            self._waiting = files
            return
        self._changes.look_up(files)
        for loaded in files:
            if loaded.reason is not None:
                self._changes.refuse(loaded.path, loaded.size, loaded.stamp_ns, loaded.reason)
            else:
                self._changes.place(loaded)
        self.commit_if_due()

    def commit_if_due(self) -> None:
        """Commit if enough pictures, or enough time, have passed since the last commit.

        Raises
        ------
        StorageError
            If the disk is full, read-only, or refuses access.
        """
        if self._changes is not None and self._changes.is_due:
            self._changes.commit()

    def require_changes(self, stopped: bool) -> Changes:
        """Return the changes to the index.

        Parameters
        ----------
        stopped : bool
            Whether the run was stopped.

        Returns
        -------
        Changes

        Raises
        ------
        ImageSearchError
            If no picture was embedded to make an index with.
        """
        if self._changes is not None:
            return self._changes
        if stopped:
            raise ImageSearchError(
                "stopped before the first pictures were in the index, which a new one takes in at once; nothing is "
                "kept and there is no index yet, run the same command again"
            )
        first = self._waiting[0]
        raise ImageSearchError(
            f"none of the {len(self._waiting)} files found is a usable picture; the first, {first.path}: {first.reason}"
        )
