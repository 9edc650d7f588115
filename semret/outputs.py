"""Check that a file about to be written is not one that is read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

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


def _folders(path: PathLike) -> Iterable[Path]:
    return Path(os.path.realpath(path)).parents


def _same(one: PathLike, other: PathLike) -> bool:
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return False
