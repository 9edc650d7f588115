"""The file beside the catalog that says which generation it is of and what its SHA-256 is."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from semret.errors import StorageError
from semret.index.store import durable
from semret.index.store.members import damaged, read_member

DIGEST_BYTES = 1024
"""No such file is longer."""


def digest_line(generation: int, digest: str) -> bytes:
    """Return the content of the file beside the catalog: generation, SHA-256, and a CRC of these two.

    Parameters
    ----------
    generation : int
    digest : str
        SHA-256 of the catalog, in hexadecimal.

    Returns
    -------
    bytes
        One line of ASCII.
    """
    text = f"{generation} {digest}"
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()


def read_digest(path: Path) -> tuple[int, str] | None:
    """Read the file beside the catalog.

    Parameters
    ----------
    path : Path

    Returns
    -------
    (int, str) or None
        Generation, and SHA-256 in hexadecimal; None if there is no such file.

    Raises
    ------
    IndexCorruptError
        If it is not as `digest_line` made it.
    StorageError
        If it may not be read.
    """
    try:
        raw = read_member(path, most=DIGEST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(durable.describe(error, f"read {path}")) from error
    found = re.fullmatch(rb"(\d{1,18}) ([0-9a-f]{64}) [0-9a-f]{8}\n", raw)
    if found is None or digest_line(int(found[1]), found[2].decode()) != raw:
        raise damaged(path, "it does not have its checksum")
    return int(found[1]), found[2].decode()
