"""The file ``shortlist.ivf``: pooled embeddings in inverted lists, rounded to bytes.

It says which images lie near which of some hundred centres. What it gives are candidates, which are scored again from
the segments; so one that is missing, old or damaged costs time and no answer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from semret.index.store.layout import Column
from semret.index.store.paged_file import Kind

LISTS_NAME = "shortlist.ivf"

HEAD_BYTES = 16

MILLION = 10**6


def lists_columns(counts: Mapping[str, int]) -> dict[str, Column]:
    """Return the arrays of the inverted lists of n images, in the order of the file.

    ``centroids`` (lists, D) and ``ends`` (lists,), where each list ends; and one behind the other the ``records`` of
    the lists, see `record`. The counts are also where numbers about the lists are kept: how many of them are `probed`,
    how many images they were `trained` on, and the `recall` that was measured then, in millionths.

    Parameters
    ----------
    counts : mapping of str to int

    Returns
    -------
    dict of str to Column
    """
    images, lists, dimension = counts["images"], counts["lists"], counts["dimension"]
    return {
        "centroids": Column("<f4", (lists, dimension)),
        "ends": Column("<i8", (lists,)),
        "records": Column("u1", (images, HEAD_BYTES + dimension)),
    }


def record(dimension: int) -> np.dtype[np.void]:
    """Return what is kept of an image in a list.

    Parameters
    ----------
    dimension : int
        D.

    Returns
    -------
    dtype
        ``id``; ``codes`` (D,), and the ``unit`` by which they are multiplied to give about its vector; ``error``, the
        length of the difference.
    """
    return np.dtype([("id", "<i8"), ("unit", "<f4"), ("error", "<f4"), ("codes", "i1", (dimension,))])


LISTS_KIND = Kind(
    b"semret-lists-1\n",
    ("images", "lists", "dimension", "probed", "trained", "recall"),
    lists_columns,
    "lists",
)
