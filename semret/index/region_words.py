"""The words of an open collection: opened for a search, and brought up to date by a writer."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from semret.arrays import IndexVector
from semret.errors import IndexCorruptError
from semret.index.collection import Collection
from semret.index.shortlist.word_training import write_trained_words, write_updated_words
from semret.index.shortlist.words import LEAST_WORDED, WordIndex, WordLists, open_words, unworded
from semret.index.store import durable
from semret.index.store.words_file import WORDS_NAME
from semret.integer_tokens import IntegerTokens
from semret.progress import Progress, waiting_for

LONGEST_TAIL = 4096
"""Images that the words may lack, or have too many, before they are written anew."""

_GROWTH = 2
"""How much a collection may grow, or shrink, before its words are fitted to it again."""


def find_words(collection: Collection) -> WordIndex | None:
    """Open the words of a collection.

    Parameters
    ----------
    collection : Collection

    Returns
    -------
    WordIndex or None
        None where a region is compared with all images: in a small collection, one without a codec, and where the file
        is missing or cannot be used.
    """
    if not has_words(collection):
        return None
    lists = open_words(collection.path / WORDS_NAME, collection.manifest, collection.features.shape, collection.ids)
    return None if lists is None else WordIndex(lists)


def has_words(collection: Collection) -> bool:
    """Tell whether a collection is to have words.

    Parameters
    ----------
    collection : Collection

    Returns
    -------
    bool
    """
    return collection.manifest.codec_file is not None and len(collection) >= LEAST_WORDED


def refresh_words(collection: Collection, progress: Progress | None = None) -> None:
    """Bring the words of an index up to date: leave them, add what is new, fit them again, or take them away.

    Where tokens in the segments are damaged, which `semret verify` tells, there are none.

    Parameters
    ----------
    collection : Collection
        The present state; its writer's lock is held.
    progress : callable, optional
        A `semret.progress.Display` is told when words are fitted.

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    path = collection.path / WORDS_NAME
    if not has_words(collection):
        durable.discard(path)
        return
    lists = open_words(path, collection.manifest, collection.features.shape, collection.ids)
    try:
        if lists is None or not _is_updated(collection, path, lists):
            with waiting_for("fitting words for regions", progress):
                write_trained_words(path, collection.manifest, collection.ids, partial(stored_integers, collection))
    except IndexCorruptError:
        durable.discard(path)


def _is_updated(collection: Collection, path: Path, lists: WordLists) -> bool:
    """Add to the words what they lack, if it is much; return False if they have to be fitted again."""
    count = len(collection)
    if not lists.trained / _GROWTH <= count <= lists.trained * _GROWTH:
        return False
    missing = len(unworded(lists, collection.ids))
    gone = lists.images - (count - missing)
    if missing + gone <= LONGEST_TAIL:
        return True
    try:
        write_updated_words(path, collection.manifest, lists, collection.ids, partial(stored_integers, collection))
    except IndexCorruptError as error:
        if str(path) not in str(error):
            raise
        return False
    return True


def stored_integers(collection: Collection, rows: IndexVector) -> IntegerTokens:
    """Read the tokens of images of a collection with a codec.

    Parameters
    ----------
    collection : Collection
    rows : ndarray of shape (n,), integer
        Positions.

    Returns
    -------
    IntegerTokens

    Raises
    ------
    IndexCorruptError
        If what is read is damaged.
    TypeError
        If the collection has no codec.
    """
    found = collection.features.read_tokens(rows)
    if not isinstance(found, IntegerTokens):
        raise TypeError("tokens are stored without a codec")
    return found
