"""The file ``regions.ivf``: which images hold a token near which of some thousand directions, the words.

It gives candidates for a search with a part of a picture, which are compared again by the tokens in the segments; so
one that is missing, old or damaged costs time and no answer. Images are counted from 0 in the order of their ids, in
blocks of 65,536, so that two bytes say which image of a block is meant.
"""

from __future__ import annotations

from collections.abc import Mapping

from semret.index.store.layout import Column
from semret.index.store.paged_file import Kind

WORDS_NAME = "regions.ivf"

BLOCK_IMAGES = 1 << 16


def blocks_of(images: int) -> int:
    """Return in how many blocks so many images are counted.

    Parameters
    ----------
    images : int

    Returns
    -------
    int
    """
    return -(-images // BLOCK_IMAGES)


def words_columns(counts: Mapping[str, int]) -> dict[str, Column]:
    """Return the arrays of the words of n images, in the order of the file.

    ``centroids`` (words, D), of length 1; ``ids`` (n,) ascending; ``ends`` (words, blocks), where the images of each
    block that hold each word end among the ``postings``: those of a word follow one another, block by block. The counts
    are also where numbers about the words are kept: how many of them are `probed` for each token of a query, how many
    images are `examined`, how many the words were `trained` on, and the `recall` that was measured then, in millionths.

    Parameters
    ----------
    counts : mapping of str to int

    Returns
    -------
    dict of str to Column
    """
    images, words = counts["images"], counts["words"]
    return {
        "centroids": Column("<f4", (words, counts["dimension"])),
        "ids": Column("<i8", (images,)),
        "ends": Column("<i8", (words, blocks_of(images))),
        "postings": Column("<u2", (counts["postings"],)),
    }


WORDS_KIND = Kind(
    b"semret-words-1\n",
    ("images", "words", "dimension", "postings", "probed", "examined", "trained", "recall"),
    words_columns,
    "words",
)
