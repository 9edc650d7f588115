"""Making words: which images of a collection hold which, and how many images have to be compared for what recall."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, IdVector
from semret.index.shortlist.postings import Postings
from semret.index.shortlist.word_directions import Assigner, ReadTokens, chunks, fit_directions
from semret.index.shortlist.word_recall import RegionJudge, unit_tokens
from semret.index.shortlist.words import WordLists, unworded, words_mark
from semret.index.store.lists_file import MILLION
from semret.index.store.manifest import Manifest
from semret.index.store.paged_file import write_paged
from semret.index.store.words_file import BLOCK_IMAGES, WORDS_KIND, blocks_of

PROBED = 16
"""Words that are looked at for each token of a query; more find hardly anything more."""

LEAST_RECALL = 0.99

_LEAST_EXAMINED = 2000
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
    centroids = fit_directions(tokens, len(ids), chance)
    assign = Assigner(centroids)
    judge = RegionJudge(len(ids), tokens, manifest.identity.grid, chance)
    postings = Postings(len(centroids))
    for rows, found in chunks(np.arange(len(ids)), tokens):
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
    for rows, found in chunks(unworded(lists, ids), tokens):
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
    for rows, found in chunks(np.searchsorted(ids, chosen), tokens):
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
