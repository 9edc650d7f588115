"""A folder in an object store: its objects read, fetched, put and deleted, with errors in one line."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semret.errors import IndexCorruptError, SemretError, StorageError
from semret.index.pictures.remote import file_system
from semret.index.pictures.stores import reason


class ObjectFolder:
    """What lies below an address.

    Parameters
    ----------
    address : str
        Such as ``s3://bucket/index``.

    Attributes
    ----------
    address : str
        Without a slash at its end.

    Raises
    ------
    ImageSearchError
        If there is no such kind of address.
    MissingDependencyError
        If no package for such addresses is installed.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._fs: Any
        self._fs, self._top = file_system(self.address)

    @property
    def creates_alone(self) -> bool:
        """Whether creating an object may fail where there is one; otherwise it is looked for, and then written."""
        write = self._fs._pipe_file if self._fs.async_impl else self._fs.pipe_file
        # What fsspec offers every kind of storage is such a look; a web server has not even that.
        if write.__module__ == "fsspec.spec" or self.address.startswith(("http://", "https://")):
            return False
        # Old packages know no such put.
        taken = inspect.signature(write).parameters.values()
        return any(parameter.name == "mode" or parameter.kind is parameter.VAR_KEYWORD for parameter in taken)

    def read(self, name: str, most: int) -> bytes | None:
        """Return the content of a small object.

        Parameters
        ----------
        name : str
        most : int
            Bytes beyond which it is refused.

        Returns
        -------
        bytes or None
            None if there is no such object.

        Raises
        ------
        IndexCorruptError
            If it is longer.
        StorageError
            If the store cannot be read.
        """
        with self._told("read", name):
            try:
                raw = bytes(self._fs.cat_file(self._place(name), start=0, end=most + 1))
            except FileNotFoundError:
                return None
        if len(raw) > most:
            raise IndexCorruptError(f"{self.address}/{name} is damaged: it has more than {most} bytes")
        return raw

    def fetch(self, name: str, path: Path, most: int) -> bool:
        """Fetch an object into a file.

        Parameters
        ----------
        name : str
        path : Path
        most : int
            Bytes beyond which it is refused.

        Returns
        -------
        bool
            False if there is no such object.

        Raises
        ------
        IndexCorruptError, StorageError
            As `read`.
        """
        with self._told("read", name):
            try:
                size = int(self._fs.info(self._place(name))["size"])
                if size > most:
                    raise IndexCorruptError(f"{self.address}/{name} is damaged: it has {size} bytes, not {most}")
                self._fs.get_file(self._place(name), str(path))
            except FileNotFoundError:
                return False
        return True

    def put(self, name: str, data: bytes, *, alone: bool = False) -> None:
        """Write a small object: whole or not at all.

        Parameters
        ----------
        name : str
        data : bytes
        alone : bool
            Whether there may be no such object yet; otherwise it takes the place of one.

        Raises
        ------
        StorageError
            If there is one and may not be, or the store cannot be written.
        """
        with self._told("create" if alone else "write", name):
            self._fs.pipe_file(self._place(name), data, **({"mode": "create"} if alone else {}))

    def upload(self, path: Path, name: str) -> None:
        """Write a file as an object.

        Parameters
        ----------
        path : Path
        name : str

        Raises
        ------
        StorageError
            If the store cannot be written.
        """
        # Where a package refuses to write over an object, one of this name has this content.
        with self._told("write", name), contextlib.suppress(FileExistsError):
            self._fs.put_file(str(path), self._place(name))

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the objects of a folder, and how many bytes they have.

        Parameters
        ----------
        folder : str

        Returns
        -------
        dict of str to int
            By their names, which begin with that of the folder.

        Raises
        ------
        StorageError
            If the store cannot be read.
        """
        with self._told("list", folder):
            try:
                found = self._fs.ls(self._place(folder), detail=True)
            except FileNotFoundError:
                return {}
            files = [info for info in found if info["type"] == "file"]
            return {f"{folder}/{info['name'].rpartition('/')[2]}": int(info["size"]) for info in files}

    def delete(self, name: str) -> None:
        """Delete an object; it may be missing.

        Parameters
        ----------
        name : str

        Raises
        ------
        StorageError
            If the store does not do it.
        """
        with self._told("delete", name), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._place(name))

    def _place(self, name: str) -> str:
        return f"{self._top}/{name}"

    @contextlib.contextmanager
    def _told(self, action: str, name: str) -> Iterator[None]:
        try:
            yield
        except SemretError:
            raise
        except FileNotFoundError as error:
            # Folders need not be made in such stores, and what is read or deleted may be missing.
            raise StorageError(
                f"cannot {action} {self.address}/{name}: there is no such bucket or container"
            ) from error
        except Exception as error:  # what the packages of all kinds of storage raise has no common class
            raise StorageError(f"cannot {action} {self.address}/{name}: {reason(error)}") from error
