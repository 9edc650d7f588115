"""Making words: directions fitted to the tokens of a sample, and how many images have to be compared by tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, IdVector, IndexVector
from semret.forked import inherited
from semret.index.shortlist.word_recall import RegionJudge, unit_tokens
from semret.index.shortlist.words import WordLists, unworded, words_mark
from semret.index.store.lists_file import MILLION
from semret.index.store.manifest import Manifest
from semret.index.store.paged_file import write_paged
from semret.index.store.words_file import BLOCK_IMAGES, WORDS_KIND, blocks_of
from semret.integer_tokens import IntegerTokens

ReadTokens = Callable[[IndexVector], IntegerTokens]
"""Gives the stored tokens of images at positions."""

PROBED = 16
"""Words that are looked at for each token of a query; more find hardly anything more."""

LEAST_RECALL = 0.99

_MOST_WORDS = 4096
_WORDS = 16.0
_SAMPLE = 40
_ROUNDS = 8
_AT_ONCE = 128
_MERGED = 1 << 14
_FLAT = 256
_COARSE_PROBED = 4
_LEAST_EXAMINED = 1000
_COMPARED = 512
_SEED = 20


def write_trained_words(
    path: Path, manifest: Manifest, ids: IdVector, tokens: ReadTokens, *, least_examined: int = _LEAST_EXAMINED
) -> None:
    """Fit words to a collection, measure their recall, and write which images hold which.

    The same collection gives the same words.

    Parameters
    ----------
    path : Path
    manifest : Manifest
    ids : ndarray of shape (N,), int64
        Ascending; at least one.
    tokens : callable
        See `ReadTokens`.
    least_examined : int
        How many images are compared though fewer would give the recall.

    Raises
    ------
    IndexCorruptError
        If tokens cannot be read.
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    chance = np.random.default_rng(_SEED)
    centroids = _fit(tokens, len(ids), chance)
    assign = Assigner(centroids)
    judge = RegionJudge(len(ids), tokens, manifest.identity.grid, chance)
    postings = Postings(len(centroids))
    for rows, found in _chunks(np.arange(len(ids)), tokens):
        unit = unit_tokens(found)[0]
        postings.add(rows, assign(unit))
        judge.see(rows, unit)
    postings.merge()
    probed = min(PROBED, len(centroids))
    needed, recall = judge.examined(centroids, postings.holders, probed, LEAST_RECALL, least_examined)
    numbers = {"probed": probed, "examined": needed, "trained": len(ids), "recall": round(recall * MILLION)}
    _write(path, manifest, centroids, ids, postings, numbers)


def write_updated_words(path: Path, manifest: Manifest, lists: WordLists, ids: IdVector, tokens: ReadTokens) -> None:
    """Write words anew with the images that there are now; only the new ones' tokens are read from the segments.

    Parameters
    ----------
    path : Path
    manifest : Manifest
    lists : WordLists
        Of an earlier state.
    ids, tokens
        As for `write_trained_words`.

    Raises
    ------
    IndexCorruptError
        If the earlier words are damaged, or tokens cannot be read.
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    postings = Postings(lists.words)
    now = np.minimum(np.searchsorted(ids, lists.ids), len(ids) - 1)
    there = ids[now] == lists.ids
    kept = []
    for word in range(lists.words):
        old = lists.holders(word)
        kept.append(now[old[there[old]]].astype(np.uint32))
    postings.add_sorted(kept)
    assign = Assigner(lists.centroids)
    for rows, found in _chunks(unworded(lists, ids), tokens):
        postings.add(rows, assign(unit_tokens(found)[0]))
    postings.merge()
    numbers = {name: lists.file.counts[name] for name in ("probed", "examined", "trained", "recall")}
    _write(path, manifest, lists.centroids, ids, postings, numbers)


def differing_words(lists: WordLists, ids: IdVector, tokens: ReadTokens) -> float:
    """Compare the words of some images, spread over a collection, with those that their tokens have.

    Parameters
    ----------
    lists : WordLists
    ids, tokens
        As for `write_trained_words`.

    Returns
    -------
    float
        Share of the pairs of an image and a word that only one side has, of all; 0 where there are none.

    Raises
    ------
    IndexCorruptError
        If the words are damaged, or tokens cannot be read.
    """
    shared = np.intersect1d(lists.ids, ids, assume_unique=True)
    chosen = (
        shared[np.linspace(0, len(shared) - 1, min(len(shared), _COMPARED)).astype(np.intp)] if len(shared) else shared
    )
    places = np.searchsorted(lists.ids, chosen)
    postings, assign = Postings(lists.words), Assigner(lists.centroids)
    for rows, found in _chunks(np.searchsorted(ids, chosen), tokens):
        at = np.searchsorted(chosen, ids[rows])
        postings.add(at, assign(unit_tokens(found)[0]))
    postings.merge()
    differing = total = 0
    for word in range(lists.words):
        told = np.flatnonzero(np.isin(places, lists.holders(word), assume_unique=True))
        right = postings.holders(word)
        differing += len(np.setxor1d(told, right, assume_unique=True))
        total += len(right)
    return differing / max(total, 1)


def _chunks(rows: IndexVector, tokens: ReadTokens) -> Iterator[tuple[IndexVector, IntegerTokens]]:
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        yield part, tokens(part)


def _fit(tokens: ReadTokens, images: int, chance: np.random.Generator) -> Float32Array:
    """Return directions of tokens by k-means."""
    # Collections of ordinary size have no words, and need not wait for it.
    import faiss

    count = min(_MOST_WORDS, max(1, round(_WORDS * math.sqrt(images))))
    positions = tokens(np.zeros(1, dtype=np.intp)).shape[1]
    chosen = np.sort(chance.choice(images, min(images, -(-_SAMPLE * count // positions)), replace=False))
    sample = np.concatenate([_directions(found) for _, found in _chunks(chosen, tokens)])
    if not len(sample):
        return np.eye(1, sample.shape[1], dtype=np.float32)
    if inherited("faiss"):
        faiss.omp_set_num_threads(1)
    means = faiss.Kmeans(
        sample.shape[1], min(count, len(sample)), niter=_ROUNDS, seed=_SEED, spherical=True, min_points_per_centroid=1,
        max_points_per_centroid=len(sample),
    )  # fmt: skip
    means.train(sample)
    return np.ascontiguousarray(means.centroids, dtype=np.float32)


def _directions(found: IntegerTokens) -> Float32Array:
    """Return the tokens that are not zero, at length 1, (n, D)."""
    unit, lengths = unit_tokens(found)
    return unit[lengths > 0]


class Assigner:
    """Finds the word of tokens: the nearest, or one that is about as near.

    Of many words those are looked at that lie around the few nearest of some coarse directions.

    Parameters
    ----------
    centroids : ndarray of shape (words, D), float32
    """

    def __init__(self, centroids: Float32Array) -> None:
        self._centroids = centroids
        self._coarse: Any = None
        if len(centroids) > _FLAT:
            import faiss

            if inherited("faiss"):
                faiss.omp_set_num_threads(1)
            dimension, lists = centroids.shape[1], round(math.sqrt(len(centroids)))
            # Held here, for FAISS holds no reference to it.
            self._quantiser = faiss.IndexFlatIP(dimension)
            self._coarse = faiss.IndexIVFFlat(self._quantiser, dimension, lists, faiss.METRIC_INNER_PRODUCT)
            self._coarse.cp.min_points_per_centroid = 1
            self._coarse.train(centroids)
            self._coarse.add(centroids)
            self._coarse.nprobe = _COARSE_PROBED

    def __call__(self, unit: Float32Array) -> NDArray[np.int64]:
        """Find words.

        Parameters
        ----------
        unit : ndarray of shape (n, S, D), float32
            Of length 1, or zero.

        Returns
        -------
        ndarray of shape (n, S), int64
            -1 for a token of zeros.
        """
        flat = np.ascontiguousarray(unit.reshape(-1, unit.shape[2]))
        if self._coarse is None:
            words: NDArray[np.int64] = np.argmax(flat @ self._centroids.T, axis=1)
        else:
            words = self._coarse.search(flat, 1)[1][:, 0]
            lost = np.flatnonzero(words < 0)
            words[lost] = np.argmax(flat[lost] @ self._centroids.T, axis=1)
        words[~flat.any(axis=1)] = -1
        return words.reshape(unit.shape[:2])


class Postings:
    """Gathers which images hold which words.

    Parameters
    ----------
    words : int
        How many there are.
    """

    def __init__(self, words: int) -> None:
        self._words = words
        self._pieces: list[tuple[NDArray[np.uint32], NDArray[np.int64]]] = []
        self._loose: list[NDArray[np.int64]] = []
        self._loose_rows = 0

    def add(self, rows: IndexVector, words: NDArray[np.int64]) -> None:
        """Add images and the words of their tokens.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            Positions, ascending, behind those that were added before.
        words : ndarray of shape (n, S), int64
            -1 for none.
        """
        pairs = words + np.asarray(rows, dtype=np.int64)[:, None] * self._words
        self._loose.append(np.unique(pairs[words >= 0]))
        self._loose_rows += len(rows)
        if self._loose_rows >= _MERGED:
            self.merge()

    def merge(self) -> None:
        """Sort what was added by words; to be called before anything is asked for."""
        keys = np.concatenate(self._loose) if self._loose else np.zeros(0, dtype=np.int64)
        places, words = np.divmod(keys, self._words)
        order = np.argsort(words.astype(np.uint16), kind="stable")
        ends = np.cumsum(np.bincount(words, minlength=self._words))
        self._pieces.append((places[order].astype(np.uint32), ends))
        self._loose, self._loose_rows = [], 0

    def add_sorted(self, holders: list[NDArray[np.uint32]]) -> None:
        """Add the images that hold each word.

        Parameters
        ----------
        holders : list of ndarray
            One for each word: positions, ascending.
        """
        ends = np.cumsum([len(places) for places in holders])
        self._pieces.append((np.concatenate(holders), ends))

    def holders(self, word: int) -> IndexVector:
        """Return the positions of the images that hold a word.

        Parameters
        ----------
        word : int

        Returns
        -------
        ndarray of shape (n,), intp
            Ascending.
        """
        parts = [places[ends[word - 1] if word else 0 : ends[word]] for places, ends in self._pieces]
        found = np.concatenate(parts).astype(np.intp)
        # Pieces that were added one behind the other are in order.
        return found if (np.diff(found) > 0).all() else np.sort(found)


def _write(
    path: Path, manifest: Manifest, centroids: Float32Array, ids: IdVector, postings: Postings, numbers: dict[str, int]
) -> None:
    edges = np.arange(1, blocks_of(len(ids)) + 1) * BLOCK_IMAGES
    sizes = np.array([np.searchsorted(postings.holders(word), edges) for word in range(len(centroids))])
    starts = np.cumsum(sizes[:, -1]) - sizes[:, -1]
    ends = sizes + starts[:, None]
    counts = {
        "images": len(ids),
        "words": len(centroids),
        "dimension": centroids.shape[1],
        "postings": int(ends[-1, -1]),
        **numbers,
    }
    within = ((postings.holders(word) % BLOCK_IMAGES).astype("<u2") for word in range(len(centroids)))
    arrays: dict[str, Iterable[NDArray[Any]]] = {
        "centroids": [centroids],
        "ids": [ids],
        "ends": [ends],
        "postings": within,
    }
    write_paged(path, WORDS_KIND, words_mark(manifest), counts, arrays)
