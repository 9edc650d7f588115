"""Paths made absolute, as the system understands them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from semret.errors import ArgumentError, cut_text

PathLike = str | os.PathLike[str]

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
"""A single letter is a drive."""


def is_address(path: PathLike) -> bool:
    """Tell whether something is the address of a file elsewhere, such as ``s3://bucket/photo.jpg``, and no path.

    Parameters
    ----------
    path : path

    Returns
    -------
    bool
        Of an absolute path always False: it begins with a slash or a drive.
    """
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def require_path(path: object, name: str = "a path") -> None:
    """Refuse what is no path; bytes are none here, as they are none for `pathlib`, and an empty text is none.

    For `pathlib` that is the current folder, and whoever has an empty text mostly meant another.

    Parameters
    ----------
    path : object
    name : str
        Names it in the message.

    Raises
    ------
    ArgumentError
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentError(f"{name} is {cut_text(repr(path))}, expected text or a pathlib.Path")
    if not os.fspath(path):
        raise ArgumentError(f"{name} is empty, expected the name of a file or folder; the current folder is .")


def located(path: PathLike) -> str:
    """Return where something lies, whatever the current directory is.

    Parameters
    ----------
    path : path
        Or an address.

    Returns
    -------
    str
        An address as it is, without a slash at its end; else the path made `absolute`.

    Raises
    ------
    ArgumentError
        As `absolute`.
    """
    if not (isinstance(path, str) and is_address(path)):
        return str(absolute(path))
    bare = path.rstrip("/")
    return bare if is_address(bare) else path


def absolute(path: PathLike) -> Path:
    """Return a path from the root, without ``.`` and ``..``; links are kept as they are.

    What follows a link to a folder and ``..`` lies beside what the link leads to, as everywhere in the system.

    Parameters
    ----------
    path : path
        Absolute, or relative to the current directory; it need not exist.

    Returns
    -------
    Path

    Raises
    ------
    ArgumentError
        If it is no path, or is relative and the current directory has been deleted.
    """
    require_path(path)
    try:
        return Path(tidy(str(Path(path).absolute())))
    except FileNotFoundError as error:
        raise ArgumentError(
            f"the current folder does not exist any more, and {os.fspath(path)!r} is relative to it; "
            "change to another folder, or give absolute paths"
        ) from error


def tidy(path: str) -> str:
    """Return an absolute path without ``.``, ``..`` and doubled separators.

    What ``..`` behind a link to a folder leads to is found as the system finds it.

    Parameters
    ----------
    path : str
        Absolute.

    Returns
    -------
    str
    """
    if os.name == "nt" or f"{os.sep}.." not in path:
        return os.path.normpath(path)
    whole = os.sep
    for part in Path(path).parts[1:]:
        if part == "..":
            # Only here does it matter where a link leads: its target's parent, not its own.
            whole = os.path.dirname(os.path.realpath(whole) if os.path.islink(whole) else whole)  # noqa: PTH114, PTH120
        else:
            whole = os.path.join(whole, part)  # noqa: PTH118
    return whole
