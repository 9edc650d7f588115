"""The user's cache of indexes that lie elsewhere: a folder for each address, and in it one for each state."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path

from platformdirs import user_cache_path

from semret.errors import StorageError
from semret.foreign import read_regular
from semret.index.store import durable

KEPT = "kept"
"""Name of the folder in which segments have their digests for names."""

ADDRESS = "address"
"""Name of the file that says whose cache it is."""

_NAME = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LONGEST = 2**16


def cache_of(address: str) -> Path:
    """Return the folder of the user's cache that belongs to an address.

    Parameters
    ----------
    address : str

    Returns
    -------
    Path
        It need not exist.
    """
    return user_cache_path("semret", appauthor=False) / "indexes" / _name_of(address)


def make_cache(address: str) -> Path:
    """Make the folder of an address where there is none.

    Parameters
    ----------
    address : str

    Returns
    -------
    Path

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    cache = cache_of(address)
    with durable.storage(f"write the cache {cache}"):
        kept_segments(cache).mkdir(parents=True, exist_ok=True)
    if not (cache / ADDRESS).exists():
        # Messages name the cache where it cannot be written, and another process may write it right now.
        with contextlib.suppress(StorageError):
            durable.write_file(cache / ADDRESS, os.fsencode(address), "address")
    return cache


def kept_segments(cache: Path) -> Path:
    """Return the folder of a cache in which segments have their digests for names.

    Parameters
    ----------
    cache : Path

    Returns
    -------
    Path
    """
    return cache / KEPT


def known_as(index: Path) -> str:
    """Return what the user knows an index by.

    Parameters
    ----------
    index : Path
        Index directory.

    Returns
    -------
    str
        The address that it was fetched from if it lies in a cache, else its path.
    """
    cache = index.parent
    if not _NAME.fullmatch(cache.name):
        return str(index)
    try:
        address = os.fsdecode(read_regular(cache / ADDRESS, most=_LONGEST))
    except OSError:
        return str(index)
    return address if _name_of(address) == cache.name else str(index)


def _name_of(address: str) -> str:
    return hashlib.sha256(os.fsencode(address)).hexdigest()
