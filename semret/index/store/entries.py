"""What each entry of a catalog must be. SQLite does not enforce the types of columns, and a catalog may be crafted.

Every entry is checked when a catalog is opened, so that the code that uses them need not check again.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from typing import Any

from semret.index.store.layout import Segment

MOST = 2**62
"""Ids, numbers, sizes and times are smaller; so what is computed with them stays within 64 bits."""

LONGEST_PATH = 2**16
"""Bytes of a path; systems allow 4,096, or 32,767 characters."""

_KEYS = "('generation', 'root', 'style', 'manifest', 'state', 'former', 'energies')"
_HASH = "typeof({0}) = 'blob' AND length({0}) = 32"
_PATH = f"typeof(path) = 'blob' AND length(path) BETWEEN 1 AND {LONGEST_PATH} AND instr(path, x'00') = 0"
_FILE = f"typeof(size) = 'integer' AND size BETWEEN -1 AND {MOST} AND typeof(mtime_ns) = 'integer'"


def _number(column: str, least: int) -> str:
    return f"typeof({column}) = 'integer' AND {column} BETWEEN {least} AND {MOST}"


CONDITIONS = {
    "meta": f"typeof(key) = 'text' AND typeof(value) = 'text' AND key IN {_KEYS} AND instr(value, char(0)) = 0",
    "segments": (
        f"{_number('number', 1)} AND {_number('rows', 1)} AND {_number('bytes', 1)} AND typeof(sha256) = 'text' AND "
        "typeof(offsets) = 'text' AND typeof(sums) = 'text' AND typeof(retired) IN ('null', 'real')"
    ),
    "contents": (
        f"{_HASH.format('sha256')} AND {_number('segment', 1)} AND {_number('row', 0)} AND "
        f"(former_id IS NULL OR {_number('former_id', 1)})"
    ),
    "images": f"{_number('id', 1)} AND (path IS NULL OR {_PATH}) AND {_FILE} AND {_HASH.format('sha256')}",
    "skipped": f"{_PATH} AND {_FILE} AND typeof(reason) = 'text' AND typeof(decoder) = 'text'",
    "sqlite_sequence": f"name IN ('images', 'segments') AND {_number('seq', 0)}",
}
"""For each table, what holds for every row of it; never NULL."""


def read_segment(row: tuple[Any, ...]) -> Segment:
    """Return a segment as an entry of ``segments`` describes it.

    Parameters
    ----------
    row : tuple
        Number, rows, bytes, SHA-256, offsets and sums.

    Returns
    -------
    Segment

    Raises
    ------
    ValueError, TypeError, AttributeError, RecursionError
        If it describes no segment.
    """
    number, rows, size, sha256, offsets, sums = row
    if not all(type(value) is int and 0 < value < MOST for value in (number, rows, size)):
        raise ValueError("a number is out of range")
    if not re.fullmatch(r"[0-9a-f]{0,64}", sha256):
        raise ValueError("a digest is not hexadecimal")
    # Segments of one size have the same offsets, which are kept once.
    return Segment(
        number=number, rows=rows, bytes=size, sha256=sha256, offsets=_read_offsets(offsets), sums=_read_numbers(sums)
    )


@functools.lru_cache(maxsize=64)
def _read_offsets(text: str) -> dict[str, int]:
    return _read_numbers(text)


def _read_numbers(text: str) -> dict[str, int]:
    found = json.loads(text)
    if not all(type(value) is int and 0 <= value < 2**64 for value in found.values()):
        raise ValueError("it holds something else than numbers")
    return {sys.intern(str(key)): value for key, value in found.items()}
