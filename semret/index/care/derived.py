"""Whether the files that are derived from the catalog and the segments are what these give."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array
from semret.errors import IndexCorruptError, StorageError
from semret.foreign import UnfitFileError
from semret.index.care.soundness import Defect, finding
from semret.index.collection import Collection
from semret.index.region_words import stored_integers
from semret.index.shortlist.lists import InvertedLists, mark_of, missing_in, open_any_lists, open_lists
from semret.index.shortlist.word_training import differing_words
from semret.index.shortlist.words import WordLists, open_any_words, words_mark
from semret.index.store.catalog import Catalog
from semret.index.store.directory_file import (
    DIRECTORY_NAME,
    Arrays,
    directory_columns,
    lists_of,
    open_directory,
    state_of,
)
from semret.index.store.lists_file import LISTS_NAME
from semret.index.store.members import REPAIR, damaged
from semret.index.store.paged_file import PagedFile
from semret.index.store.words_file import WORDS_NAME
from semret.index.vectors import normalise

_MEANS = ("pooled_mean", "channel_mean")
_ELSEWHERE = ("tail", *_MEANS)
_TOLERANCE = 1e-9
_BLOCK = 2**14
_COMPARED = 2**11
_PART = 2**12
_ROUNDING = 1e-6
_WORDS_DIFFERING = 0.02
"""Another processor rounds otherwise, and a token that lies between two words may have the other one."""


def check_directory(index: Path) -> list[Defect]:
    """Check the directory: intact of whatever state, and for the present state what the catalog gives.

    Parameters
    ----------
    index : Path
        Index directory, whose catalog and segments are sound.

    Returns
    -------
    list of Defect
        One at most.

    Raises
    ------
    StorageError
        If it may not be read.
    """
    path = index / DIRECTORY_NAME
    if not os.path.lexists(path):
        return []
    with Collection(index, derived=False) as collection, Catalog(index) as catalog, catalog.reading():
        identity = collection.manifest.identity
        defects: list[Defect] = []
        with _noted("directory", path, defects):
            file = open_directory(path, catalog.size, max(identity.pooled_dim, identity.channels))
            file.require_sound()
        if defects:
            return defects
        if state_of(file) != catalog.state or catalog.state != collection.state:
            return []
        wrong = [
            *_differences(file, collection.table.arrays),
            *_wrong_means(file, collection),
            *_wrong_tail(file, collection),
        ]
    what = f"its {', '.join(wrong)} are not those of the catalog and the segments"
    return [Defect("directory", str(path), what, REPAIR)] if wrong else []


def _differences(file: PagedFile, arrays: Arrays) -> Iterator[str]:
    """Give the names of the arrays that are not what the catalog gives."""
    for name, column in directory_columns(file.counts).items():
        if name not in _ELSEWHERE and not _is_same(file, arrays, name, column.shape):
            yield name


def _is_same(file: PagedFile, arrays: Arrays, name: str, shape: tuple[int, ...]) -> bool:
    if arrays.whole(name).shape != shape:
        return False
    parts = [(start, min(start + _PART, shape[0])) for start in range(0, shape[0], _PART)]
    return all(np.array_equal(file.part(name, *part), arrays.part(name, *part)) for part in parts)


def _wrong_means(file: PagedFile, collection: Collection) -> Iterator[str]:
    """Give the names of the means that are not those of the images, but for the order of summation."""
    if collection.manifest.codec_file is not None:
        return
    means = (collection.features.pooled_mean, collection.features.channel_mean)
    for name, mean in zip(_MEANS, means, strict=True):
        found = file.whole(name)
        scale = float(np.abs(mean).max(initial=0.0))
        if found.shape != mean.shape or not (np.abs(found - mean) <= _TOLERANCE * scale).all():
            yield name


def _wrong_tail(file: PagedFile, collection: Collection) -> Iterator[str]:
    """Give the name of the tail if it is not what the inverted lists lack."""
    manifest, ids = collection.manifest, collection.ids
    lists = open_lists(collection.path / LISTS_NAME, manifest, manifest.pooled_length, ids)
    if lists is None or lists.token != lists_of(file):
        return
    try:
        missing = missing_in(lists, ids)
    except IndexCorruptError:
        # That is said of the lists themselves.
        return
    if not np.array_equal(file.whole("tail"), missing):
        yield "tail"


def check_lists(index: Path, *, derived: bool) -> list[Defect]:
    """Check the inverted lists: intact, and where they are of this index, made of its pooled embeddings.

    Parameters
    ----------
    index : Path
        Index directory, whose catalog and segments are sound.
    derived : bool
        Whether the directory is sound, too.

    Returns
    -------
    list of Defect
        One at most.

    Raises
    ------
    StorageError
        If they may not be read.
    """
    path = index / LISTS_NAME
    if not os.path.lexists(path):
        return []
    defects: list[Defect] = []
    with Collection(index, derived=derived) as collection, _noted("lists", path, defects):
        file = open_any_lists(path, collection.ids)
        file.require_sound()
        if file.mark == mark_of(collection.manifest):
            _require_right(InvertedLists(file, collection.manifest.pooled_length), collection)
    return defects


def check_words(index: Path) -> list[Defect]:
    """Check the words: intact, and where they are of this index, made of its tokens.

    Parameters
    ----------
    index : Path
        Index directory, whose catalog and segments are sound.

    Returns
    -------
    list of Defect
        One at most.

    Raises
    ------
    StorageError
        If they may not be read.
    """
    path = index / WORDS_NAME
    if not os.path.lexists(path):
        return []
    defects: list[Defect] = []
    with Collection(index, derived=False) as collection, _noted("words", path, defects):
        file = open_any_words(path, collection.features.shape[0], collection.ids)
        file.require_sound()
        if file.mark == words_mark(collection.manifest):
            lists = WordLists(file, collection.features.shape[1])
            if differing_words(lists, collection.ids, partial(stored_integers, collection)) > _WORDS_DIFFERING:
                raise damaged(path, "it is not made of the tokens in the segments")
    return defects


@contextlib.contextmanager
def _noted(kind: str, path: Path, defects: list[Defect]) -> Iterator[None]:
    """Note what is found wrong with a file inside a ``with`` block as a defect; a file that may not be read is none."""
    try:
        yield
    except UnfitFileError as error:
        defects.append(Defect(kind, str(path), f"it {error.strerror}", REPAIR))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; give access") from error
    except IndexCorruptError as error:
        defects.append(Defect(kind, str(path), finding(error).removeprefix(f"{path} is damaged: "), REPAIR))


def _require_right(lists: InvertedLists, collection: Collection) -> None:
    """Refuse lists that have an image twice, or whose vectors are further from the stored ones than they say."""
    ids = lists.all_ids()
    if len(np.unique(ids)) != len(ids):
        raise damaged(lists.file.path, "an image is in it twice")
    for start in range(0, lists.images, _BLOCK):
        part = lists.records(start, min(start + _BLOCK, lists.images))
        rows = np.minimum(np.searchsorted(collection.ids, part["id"]), len(collection) - 1)
        there = np.flatnonzero(collection.ids[rows] == part["id"])
        pooled, mean = collection.features.read("pooled", rows[there]), collection.features.pooled_mean
        for few in range(0, len(there), _COMPARED):
            piece = slice(few, few + _COMPARED)
            _require_near(part[there[piece]], normalise(pooled[piece], mean), lists)


def _require_near(records: NDArray[np.void], vectors: Float32Array, lists: InvertedLists) -> None:
    rounded = records["codes"].astype(np.float64) * records["unit"][:, None].astype(np.float64)
    lost = vectors - rounded
    if not (np.sqrt(np.einsum("nd,nd->n", lost, lost)) <= records["error"] + _ROUNDING).all():
        raise damaged(lists.file.path, "it is not made of the pooled embeddings in the segments")
