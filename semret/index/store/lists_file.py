"""The file ``shortlist.ivf``: pooled embeddings in inverted lists, rounded to bytes.

It says which images lie near which of some hundred centres. What it gives are candidates, which are scored again from
the segments; so one that is missing, old or damaged costs time and no answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from semret.index.store.layout import Column
from semret.index.store.paged_file import Kind

LISTS_NAME = "shortlist.ivf"

ENTRY = "<i8,<f4,<f4"
"""Of an image in a list: its id, the unit of its codes, and the length of what rounding took from its vector."""

MILLION = 10**6


def lists_columns(counts: Mapping[str, int]) -> dict[str, Column]:
    """Return the arrays of the inverted lists of n images, in the order of the file.

    ``centroids`` (lists, D) and ``ends`` (lists,), where each list ends; one behind the other the lists' ``entries``
    (n,), see `ENTRY`, and ``codes`` (n, D): a vector is about its codes times their unit. The counts are also where
    numbers about the lists are kept: how many of them are `probed`, how many images they were `trained` on, and the
    `recall` that was measured then, in millionths.

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
        "entries": Column(ENTRY, (images,)),
        "codes": Column("i1", (images, dimension)),
    }


LISTS_KIND = Kind(
    b"semret-lists-1\n",
    ("images", "lists", "dimension", "probed", "trained", "recall"),
    lists_columns,
    "lists",
)
