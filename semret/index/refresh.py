"""Keeping what is derived for the shortlist up to date, at the end of every command that writes."""

from __future__ import annotations

from pathlib import Path

from semret.errors import IndexCorruptError
from semret.index.collection import Collection
from semret.index.region_words import refresh_words
from semret.index.shortlist.lists import LEAST_LISTED, InvertedLists, missing_in, open_lists
from semret.index.shortlist.training import write_trained, write_updated
from semret.index.store import durable
from semret.index.store.lists_file import LISTS_NAME
from semret.index.store.shortlist_file import SHORTLIST_NAME, read_shortlist, write_shortlist
from semret.progress import Progress, waiting_for

LONGEST_TAIL = 4096
"""Images that the lists may lack, or have too many, before they are written anew."""

_GROWTH = 2
"""How much a collection may grow, or shrink, before its lists are fitted to it again."""


def refresh(collection: Collection, progress: Progress | None = None) -> None:
    """Write the shortlist, words and the directory of an index anew where they do not belong to its present state.

    Parameters
    ----------
    collection : Collection
        The present state; its writer's lock is held.
    progress : callable, optional
        A `semret.progress.Display` is told what is fitted.

    Raises
    ------
    IndexCorruptError
        If pooled embeddings in the segments are damaged.
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    index = collection.path
    refresh_words(collection, progress)
    if collection.manifest.codec_file is None:
        path, shape = index / SHORTLIST_NAME, (len(collection), collection.manifest.pooled_length)
        if read_shortlist(path, shape, collection.mark) is None:
            write_shortlist(path, collection.features.unit_pooled(), collection.mark)
        collection.nearest.save_directory()
        return
    durable.discard(index / SHORTLIST_NAME)
    if len(collection) < LEAST_LISTED:
        durable.discard(index / LISTS_NAME)
        collection.nearest.save_directory()
    else:
        collection.nearest.save_directory(refreshed_lists(collection, index / LISTS_NAME, progress))


def refreshed_lists(collection: Collection, path: Path, progress: Progress | None = None) -> InvertedLists | None:
    """Bring inverted lists up to date: leave them, add what is new, or fit them again.

    Parameters
    ----------
    collection : Collection
    path : Path
        Their file; it need not exist.
    progress : callable, optional
        See `refresh`.

    Returns
    -------
    InvertedLists or None
        None where the system has no use for them.

    Raises
    ------
    IndexCorruptError, StorageError
        As `refresh`.
    """
    manifest, ids = collection.manifest, collection.ids
    length = manifest.pooled_length
    lists = open_lists(path, manifest, length, ids)
    if lists is not None and _is_updated(collection, path, lists):
        return open_lists(path, manifest, length, ids)
    with waiting_for("fitting the shortlist", progress):
        write_trained(path, manifest, ids, collection.nearest.unit_vectors)
    return open_lists(path, manifest, length, ids)


def _is_updated(collection: Collection, path: Path, lists: InvertedLists) -> bool:
    """Add to the lists what they lack, if it is much; return False if they have to be fitted again."""
    count = len(collection)
    if not lists.trained / _GROWTH <= count <= lists.trained * _GROWTH:
        return False
    try:
        missing = len(missing_in(lists, collection.ids))
        gone = lists.images - (count - missing)
        if missing + gone > LONGEST_TAIL:
            write_updated(path, collection.manifest, lists, collection.ids, collection.nearest.unit_vectors)
    except IndexCorruptError as error:
        if str(path) not in str(error):
            raise
        return False
    return True
