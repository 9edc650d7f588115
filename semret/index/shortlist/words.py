"""Search of words: the images that hold tokens near those of a part of a picture, as candidates for a comparison."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray, IdVector, IndexVector
from semret.index.shortlist.opening import most_images, open_usable
from semret.index.store.lists_file import MILLION
from semret.index.store.manifest import Manifest
from semret.index.store.members import damaged
from semret.index.store.paged_file import PagedFile
from semret.index.store.words_file import BLOCK_IMAGES, WORDS_KIND, blocks_of

LEAST_WORDED = 50_000
"""Images from which a collection has words; in fewer a region is compared with all."""

MEASURED_HITS = 10
"""How many best images of a region are looked for when recall is measured."""

_LONGEST = 2.0
"""No entry of a direction is larger."""

Holders = Callable[[int], IndexVector]
"""Gives the places of the images that hold a word, ascending."""


class WordLists:
    """An open file of words.

    Parameters
    ----------
    file : PagedFile
        See `open_any_words`.
    dimension : int
        D, of tokens.

    Attributes
    ----------
    images, words, probed, trained : int
        Images in it, words, words that are looked at for each token of a query, images it was trained on.
    examined : int
        Images that have to be compared for `recall`, of as many as it was trained on.
    recall : float
        Share of the 10 best images of a region that were among these when it was trained.
    centroids : ndarray of shape (words, D), float32
    ids : ndarray of shape (images,), int64
        Ascending. An image's place is where its id is.

    Raises
    ------
    IndexCorruptError
        If it is not sound, or has tokens of another length.
    """

    def __init__(self, file: PagedFile, dimension: int) -> None:
        self.file = file
        counts = file.counts
        if counts["dimension"] != dimension:
            raise damaged(file.path, "its tokens have another length")
        self.images, self.words, self.probed = (counts[name] for name in ("images", "words", "probed"))
        self.examined: int = counts["examined"]
        self.trained: int = counts["trained"]
        self.recall = counts["recall"] / MILLION
        self.centroids: Float32Array = file.whole("centroids")
        self.ids: IdVector = file.whole("ids")
        ends: NDArray[np.int64] = file.whole("ends").ravel()
        self._edges = np.concatenate([[0], ends])
        if not self.words or not self.images or (np.diff(self._edges) < 0).any():
            raise damaged(file.path, "its postings do not follow one another")
        if self._edges[-1] != counts["postings"] or (np.diff(self.ids) <= 0).any():
            raise damaged(file.path, "its images do not follow one another")
        if not 1 <= self.probed <= self.words or not (np.abs(self.centroids) <= _LONGEST).all() or not self.examined:
            raise damaged(file.path, "its numbers are not valid")

    def holders(self, word: int) -> IndexVector:
        """Return the images that hold a word.

        Parameters
        ----------
        word : int

        Returns
        -------
        ndarray of shape (n,), intp
            Their places, ascending.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        blocks = blocks_of(self.images)
        edges = self._edges[word * blocks : (word + 1) * blocks + 1]
        within = self.file.part("postings", int(edges[0]), int(edges[-1]))
        places: IndexVector = np.repeat(np.arange(blocks, dtype=np.intp) * BLOCK_IMAGES, np.diff(edges)) + within
        if len(places) and places.max() >= self.images:
            raise damaged(self.file.path, "it names images that it does not have")
        return places


def score_holders(
    tokens: Float32Array, weights: FloatArray, centroids: Float32Array, holders: Holders, *, probed: int, images: int
) -> Float32Array:
    """Estimate how much of a query images show, by the words that they hold.

    A token counts with its product with the nearest word that an image holds, less that with the nearest word that is
    not looked at: an image that holds none of those looked at shows at most about as much.

    Parameters
    ----------
    tokens : ndarray of shape (n, D), float32
        Of the query, of length 1.
    weights : ndarray of shape (n,)
    centroids : ndarray of shape (words, D), float32
    holders : callable
        See `Holders`.
    probed : int
        Words that are looked at for each token.
    images : int
        How many places there are.

    Returns
    -------
    ndarray of shape (images,), float32
        Not negative.
    """
    near = tokens @ centroids.T
    total, one = np.zeros(images, dtype=np.float32), np.empty(images, dtype=np.float32)
    for products, weight in zip(near, weights.tolist(), strict=True):
        order = _first(products, probed + 1)
        floor = products[order[probed]] if len(order) > probed else np.float32(-1)
        one.fill(0)
        # The nearest last, so that it is what remains.
        for word in order[:probed][::-1].tolist():
            one[holders(word)] = (products[word] - floor) * weight
        total += one
    return total


def _first(values: Float32Array, count: int) -> IndexVector:
    """Return the places of the largest values, the largest first; equal ones in their order."""
    chosen = np.arange(len(values))
    if count < len(values):
        least = np.partition(values, len(values) - count)[len(values) - count]
        chosen = np.flatnonzero(values >= least)
    return chosen[np.argsort(-values[chosen], kind="stable")][:count]


class WordIndex:
    """Finds candidates for a part of a picture by words, and all images that have none.

    Safe for use from several threads.

    Parameters
    ----------
    lists : WordLists
    """

    def __init__(self, lists: WordLists) -> None:
        self.lists = lists

    def examined(self, hits: int) -> int:
        """Return how many images have to be compared for so many hits.

        Parameters
        ----------
        hits : int

        Returns
        -------
        int
            What was measured, in proportion to the images that there are now, and to hits beyond ten.
        """
        grown = max(1.0, self.lists.images / max(self.lists.trained, 1))
        wanted: int = math.ceil(self.lists.examined * grown * max(1.0, hits / MEASURED_HITS))
        return wanted

    def candidates(self, tokens: Float32Array, weights: Float64Array, allowed: IdVector, count: int) -> IdVector:
        """Find the images that may show most of a query.

        Parameters
        ----------
        tokens : ndarray of shape (n, D), float32
            Of the query, of length 1.
        weights : ndarray of shape (n,), float64
        allowed : ndarray of shape (N,), int64
            Ids that may be candidates, ascending.
        count : int
            How many are wanted of those that have words; those that have none are candidates in any case.

        Returns
        -------
        ndarray of int64
            Ids, ascending. Of images with equal estimates those of lower ids.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        lists = self.lists
        places = np.minimum(np.searchsorted(lists.ids, allowed), lists.images - 1)
        listed = lists.ids[places] == allowed
        known = np.flatnonzero(listed)
        if len(known) <= count:
            return allowed
        scores = score_holders(
            tokens, weights, lists.centroids, lists.holders, probed=lists.probed, images=lists.images
        )
        chosen = known[_first(scores[places[known]], count)]
        return np.asarray(allowed[np.sort(np.concatenate([chosen, np.flatnonzero(~listed)]))])


def words_mark(manifest: Manifest) -> bytes:
    """Return what the words of an index must carry, 32 bytes.

    Ids are never used twice, and an image's tokens never change; so words of any state of an index serve it.

    Parameters
    ----------
    manifest : Manifest

    Returns
    -------
    bytes
    """
    return hashlib.sha256(b"words " + manifest.as_bytes()).digest()


def open_words(path: Path, manifest: Manifest, shape: tuple[int, int], ids: IdVector) -> WordLists | None:
    """Open the words of an index.

    Parameters
    ----------
    path : Path
    manifest : Manifest
    shape : (int, int)
        ``(S, D)`` of the index's maps.
    ids : ndarray of shape (N,), int64
        Of the images there are, ascending.

    Returns
    -------
    WordLists or None
        None if there are none, or none that can be used.
    """
    if not len(ids):
        return None
    return open_usable(
        lambda: open_any_words(path, shape[0], ids), words_mark(manifest), lambda file: WordLists(file, shape[1])
    )


def open_any_words(path: Path, positions: int, ids: IdVector) -> PagedFile:
    """Open a file of words, of whatever index.

    Parameters
    ----------
    path : Path
    positions : int
        S of a map: an image has at most so many postings.
    ids : ndarray of shape (N,), int64
        Of the images there are, ascending: they bound how many there can have been.

    Returns
    -------
    PagedFile

    Raises
    ------
    IndexCorruptError
        If it is not one that semret wrote.
    OSError
        If it is missing, cannot be opened, or is no regular file.
    """
    most = most_images(ids)
    bounds = dict.fromkeys(("images", "words", "probed", "trained", "examined"), most)
    return PagedFile(
        path, WORDS_KIND, bounds | {"dimension": 2**20, "recall": MILLION, "postings": most * max(positions, 1)}
    )


def unworded(lists: WordLists, ids: IdVector) -> IndexVector:
    """Return the positions of the images that have no words.

    Parameters
    ----------
    lists : WordLists
    ids : ndarray of shape (N,), int64
        Of the images there are, ascending.

    Returns
    -------
    ndarray of intp
        Ascending.
    """
    places = np.minimum(np.searchsorted(lists.ids, ids), lists.images - 1)
    return np.flatnonzero(lists.ids[places] != ids)
