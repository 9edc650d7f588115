"""Files that are written: not over one that is read, and whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from semret.errors import ArgumentError
from semret.paths import PathLike


def require_distinct(output: PathLike, inputs: Iterable[PathLike]) -> None:
    """Raise ArgumentError if writing `output` would replace one of `inputs`, under whatever name.

    Files are the same if they are one on the disk: another spelling, a link, a hard link, another case where the file
    system ignores case. Where an input is a folder, `output` may not be it or lie in it. An output that does not exist
    yet can only lie in a folder.

    Parameters
    ----------
    output : path
    inputs : iterable of path
        Files and folders; those that do not exist are passed over.

    Raises
    ------
    ArgumentError
        If it would.
    """
    for given in inputs:
        if _same(output, given):
            raise ArgumentError(f"cannot write {output}: it is {given}, which is read; name another file")
        if Path(given).is_dir() and any(_same(folder, given) for folder in _folders(output)):
            raise ArgumentError(f"cannot write {output}: it lies in {given}, which is read; name another place")


@contextlib.contextmanager
def replaced(path: PathLike) -> Iterator[IO[bytes]]:
    """Write a file in a ``with`` block; it takes its place at the end, and an error leaves what was there before.

    A link stays, and what it leads to is replaced. What is there and is no regular file, as a pipe, is written to as
    the block goes on.

    Parameters
    ----------
    path : path

    Yields
    ------
    binary file
        Of another name in the same folder; at the end it has the permissions of the one that it replaces, or those of
        a new file.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    former = _mode(path)
    if former is not None and not stat.S_ISREG(former):
        with Path(path).open("wb") as stream:
            yield stream
        return
    file = Path(os.path.realpath(path))
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".semret-", delete=False) as temporary:
        try:
            yield temporary
            temporary.flush()
            os.fsync(temporary.fileno())
            temporary.close()
            Path(temporary.name).chmod(0o666 & ~_umask() if former is None else stat.S_IMODE(former))
            Path(temporary.name).replace(file)
        except BaseException:
            Path(temporary.name).unlink(missing_ok=True)
            raise


def _mode(path: PathLike) -> int | None:
    """Return kind and permissions of what a path leads to; None if there is nothing."""
    try:
        return Path(path).stat().st_mode
    except FileNotFoundError:
        return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _folders(path: PathLike) -> Iterable[Path]:
    return Path(os.path.realpath(path)).parents


def _same(one: PathLike, other: PathLike) -> bool:
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return False
