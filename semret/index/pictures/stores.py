"""What the packages of stores say: what lies in a folder, where that is in the user's words, and why they failed."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any

from semret.errors import cut_text

# What Azure adds to each message: ids, times, and the same once more as XML.
_ADDED = re.compile(r"\s*RequestId:.*", re.DOTALL)
_LONGEST = 200


def reason(error: Exception) -> str:
    """Return what the package of a store says of its failure, as part of a line.

    Parameters
    ----------
    error : Exception

    Returns
    -------
    str
        See `semret.errors.cut_text`.
    """
    return cut_text(_ADDED.sub("", str(error)) or error, _LONGEST)


def naming(fs: Any, address: str, path: str) -> Callable[[str], str]:
    """Return what gives paths in a store their addresses: with the scheme, and the account, of one that was given.

    A package knows itself by one of its schemes: of what lies below ``az://`` it would say that it lies at ``abfs://``.

    Parameters
    ----------
    fs : fsspec.AbstractFileSystem
    address : str
        As it was given.
    path : str
        The same in the store, without scheme and account.

    Returns
    -------
    callable
        Takes a path in the store, at or below `path`, and returns its address.
    """
    top, account = path.partition("/")[0], address.partition("://")[2].partition("/")[0]
    if top and account.startswith(f"{top}@"):
        beginning = f"{address.partition('://')[0]}://{account}"
        return lambda name: beginning + name.removeprefix(top)
    if "::" in address or not path or not address.endswith(path):
        unnamed: Callable[[str], str] = fs.unstrip_protocol
        return unnamed
    return lambda name: address.removesuffix(path) + name


def listing(fs: Any, folder: str, *, may_be_gone: bool) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return what is in a folder and not hidden.

    fsspec's own walk passes over folders below the first that cannot be listed.

    Parameters
    ----------
    fs : fsspec.AbstractFileSystem
    folder : str
        Path in it.
    may_be_gone : bool
        Whether one that is not there is an empty one: with its last object a folder vanishes.

    Returns
    -------
    folders : list of str
        Paths.
    files : dict of str to dict
        What the store tells of each, by path.

    Raises
    ------
    FileNotFoundError
        If it is not there and may not be gone.
    """
    try:
        listed = fs.ls(folder, detail=True)
    except FileNotFoundError:
        if not may_be_gone:
            raise
        return [], {}
    folders, files = [], {}
    for info in listed:
        path = info["name"].rstrip("/")
        # Some stores list a folder as an empty object in itself.
        if path == folder.rstrip("/") or posixpath.basename(path).startswith("."):
            continue
        if info["type"] == "directory":
            folders.append(path)
        else:
            files[path] = info
    return folders, files
