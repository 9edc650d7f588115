"""The folder that the paths in a catalog are relative to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semret.errors import ArgumentError
from semret.paths import PathLike, absolute, is_address, tidy

WORKING = "writing-"
"""What the names of folders begin with in which an index is written that belongs elsewhere."""


@dataclass(frozen=True)
class Root:
    """The folder that stored paths are relative to.

    Attributes
    ----------
    stored : str
        As the catalog has it: relative to the index directory where the index lies inside the root, so that both may
        move together; else absolute, as that of an index which belongs elsewhere.
    folder : Path
        The same, absolute.
    """

    stored: str
    folder: Path

    @classmethod
    def at(cls, index: Path, folder: PathLike) -> Root:
        """Return the root at this folder.

        Parameters
        ----------
        index : Path
            Index directory.
        folder : path

        Returns
        -------
        Root
        """
        top = absolute(folder)
        inside = index.is_relative_to(top) and (top == index.parent or not index.name.startswith(WORKING))
        return cls(Path(os.path.relpath(top, index)).as_posix() if inside else top.as_posix(), top)

    @classmethod
    def read(cls, index: Path, stored: str) -> Root:
        """Return the root that the catalog of an index names.

        Links are not followed, as in `at`: where an index was moved to another disk and a link put in its place, the
        root is still found from the folder that the link lies in.

        Parameters
        ----------
        index : Path
            Index directory.
        stored : str
            As the catalog has it.

        Returns
        -------
        Root
        """
        return cls(stored, Path(os.path.normpath(index / stored)))

    def is_unknown_in(self, index: Path) -> bool:
        """Tell whether it is seen from an index that lay elsewhere before, and so leads nowhere.

        Parameters
        ----------
        index : Path
            Index directory.

        Returns
        -------
        bool
        """
        return index.name.startswith(WORKING) and not Path(self.stored).is_absolute()

    @classmethod
    def choose(cls, index: Path, paths: Sequence[PathLike]) -> Root:
        """Return the root of a new index.

        That is the folder that holds the index if all `paths` are in it, else the deepest one that all are in.

        Parameters
        ----------
        index : Path
            Index directory.
        paths : sequence of path
            Pictures and folders that are going to be indexed; at least one. Addresses count nowhere.

        Returns
        -------
        Root

        Raises
        ------
        ArgumentError
            If they have no folder in common (on Windows, different drives).
        """
        given = [absolute(path) for path in paths if not is_address(path)]
        if all(path.is_relative_to(index.parent) for path in given):
            return cls.at(index, index.parent)
        folders = [path if path.is_dir() else path.parent for path in given]
        try:
            return cls.at(index, os.path.commonpath(folders))
        except ValueError as error:
            raise ArgumentError("the paths lie on different drives; give --root, or index them one by one") from error

    def to_stored(self, path: str) -> bytes:
        """Return how a path is stored: relative to the root where it lies below, with forward slashes.

        Parameters
        ----------
        path : str
            Absolute.

        Returns
        -------
        bytes
        """
        top = str(self.folder)
        prefix = top if top.endswith(os.sep) else top + os.sep
        kept = path[len(prefix) :] if path.startswith(prefix) else path
        return (kept.replace("\\", "/") if os.sep == "\\" else kept).encode("utf-8", "surrogateescape")

    def to_path(self, stored: bytes) -> str:
        """Return the absolute path that was stored.

        Parameters
        ----------
        stored : bytes

        Returns
        -------
        str
            Undecodable bytes are surrogate escapes. An address is stored, and returned, as it is.
        """
        text = stored.decode("utf-8", "surrogateescape")
        # Nearly every path of an index: a million of them are to be had in a second or two.
        if (
            os.sep == "/"
            and text[:1] not in ("", "/", ".")
            and text[-1] != "/"
            and "//" not in text
            and "/." not in text
        ):
            top = str(self.folder)
            return top + text if top == os.sep else f"{top}{os.sep}{text}"
        # What is stored of a path has no two slashes in a row.
        return text if is_address(text) else tidy(os.path.join(self.folder, text))  # noqa: PTH118


def lies_in(path: str, folders: Sequence[str]) -> bool:
    """Tell whether an absolute path is one of `folders`, or below one.

    Parameters
    ----------
    path : str
        Absolute.
    folders : sequence of str
        Absolute; may be empty.

    Returns
    -------
    bool
    """
    return any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)
