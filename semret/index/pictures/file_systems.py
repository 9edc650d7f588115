"""What gives access to addresses: the file systems of fsspec. The only file that knows it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from semret.errors import ImageSearchError, MissingDependencyError, cut_text

# What Azure adds to each message: ids, times, and the same once more as XML.
_ADDED = re.compile(r"\s*RequestId:.*", re.DOTALL)
_LONGEST = 200


def file_system(address: str) -> tuple[Any, str]:
    """Return what gives access to an address.

    Parameters
    ----------
    address : str

    Returns
    -------
    fsspec.AbstractFileSystem, str
        With the path in it.

    Raises
    ------
    ImageSearchError
        If there is no such kind of address, or no account for it.
    MissingDependencyError
        If no package for such addresses is installed.
    """
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{address} is read by fsspec, not installed here; run pip install 'semret[cluster]'"
        ) from error
    try:
        # A listing must be of now; this process may run for days.
        fs, path = fsspec.core.url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        raise MissingDependencyError(f"{address} cannot be read: {cut_text(error)}") from error
    except Exception as error:  # each package has its own for an account that it does not find, or cannot make out
        known = address.partition("://")[0] in fsspec.available_protocols()
        what = "cannot be opened" if known else "is no address that can be read"
        raise ImageSearchError(f"{address} {what}: {reason(error)}") from error
    return fs, path


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
        The same in the store, as `file_system` returns it.

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
