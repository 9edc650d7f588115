"""The tokens of a query as the compiled products of int8 want them, laid out once for many candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.retrieval.native.tiles import COLUMNS, GROUP, ROWS

LONGEST = 65_536
"""Numbers that a token may have: sums of so many products of unsigned and signed int8 stay within int32."""

_NUMBERS: type[np.signedinteger[Any]] = np.int8 if GROUP == 4 else np.int16


def byte_panels(tokens: NDArray[np.int8]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Lay out tokens as columns of the products of int8.

    Parameters
    ----------
    tokens : ndarray of shape (Sq, D), int8
        D at most `LONGEST`.

    Returns
    -------
    panels : ndarray of shape (panels, ceil(D / GROUP), COLUMNS, GROUP), int8 or int16
        Filled up with zeros.
    offsets : ndarray of shape (panels * COLUMNS,), int32
        What to add to the sums of each column, see `semret.retrieval.native.byte_products`.
    """
    positions, dimension = tokens.shape
    groups = -(-dimension // GROUP)
    padded = np.zeros((-(-positions // COLUMNS) * COLUMNS, groups * GROUP), dtype=_NUMBERS)
    padded[:positions, :dimension] = tokens
    panels = np.ascontiguousarray(padded.reshape(-1, COLUMNS, groups, GROUP).transpose(0, 2, 1, 3))
    offsets = -128 * padded.sum(axis=1, dtype=np.int32) if GROUP == 4 else np.zeros(len(padded), dtype=np.int32)
    return panels, offsets.astype(np.int32)


def byte_scratch(dimension: int) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Return room for a tile of sums, and for the rows that must be copied.

    Parameters
    ----------
    dimension : int
        D.

    Returns
    -------
    tile : ndarray of shape (ROWS, COLUMNS), int32
    rest : ndarray of shape (ROWS, D rounded up), int8 or int16, zero
    """
    width = -(-dimension // GROUP) * GROUP
    return np.empty((ROWS, COLUMNS), dtype=np.int32), np.zeros((ROWS, width), dtype=_NUMBERS)
