"""A data set of an evaluation: its pictures, the objects in them, and which pictures may answer a query."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, IndexVector
from semret.errors import ArgumentError
from semret.eval.metrics import f1_scores, set_iou

Measure = Literal["f1", "iou"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Pictures with the number of objects of each class in each.

    Attributes
    ----------
    name : str
    paths : tuple of Path
        N pictures.
    classes : tuple of str
    counts : ndarray of shape (N, classes), int64
        Objects of each class; for measure ``iou`` 1 where a class is present.
    videos : ndarray of shape (N,), str
        Pictures of one video may not answer each other.
    scenes : ndarray of shape (N,), str
        Pictures of one scene are not independent: intervals resample them together.
    measure : {"f1", "iou"}
        How an answer is judged.
    left_out : dict
        Reason to number of pictures or annotations that were left out.
    is_papers : bool
        Whether these are the pictures that the paper drew from, so that its numbers may stand beside ours.
    """

    name: str
    paths: tuple[Path, ...]
    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    videos: NDArray[np.str_]
    scenes: NDArray[np.str_]
    measure: Measure
    left_out: dict[str, int] = field(default_factory=dict)
    is_papers: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    def judge(self, query: IndexVector, retrieved: IndexVector) -> Float64Array:
        """Judge answers by `measure`.

        Parameters
        ----------
        query, retrieved : ndarray of intp
            Pictures by index; they broadcast against each other.

        Returns
        -------
        ndarray, float64
            F1 or IoU, in 0..1.
        """
        compare = f1_scores if self.measure == "f1" else set_iou
        return compare(self.counts[query], self.counts[retrieved])

    def fingerprint(self) -> str:
        """Return a digest of file names, sizes and counts: equal data sets have equal fingerprints.

        Returns
        -------
        str
            SHA-256 in hexadecimal.
        """
        digest = hashlib.sha256()
        for path, counts in zip(self.paths, self.counts, strict=True):
            digest.update(f"{path.name}\0{path.stat().st_size}\0{counts.tolist()}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Split:
    """Queries and databases as indices into a data set; each database begins with the smaller ones.

    `notes` tells where it differs from what was asked for.
    """

    queries: IndexVector
    databases: dict[int, IndexVector]
    notes: tuple[str, ...] = ()

    @property
    def largest(self) -> IndexVector:
        """The largest database."""
        return self.databases[max(self.databases)]


def draw_split(dataset: Dataset, *, queries: int, databases: list[int], seed: int) -> Split:
    """Draw disjoint queries and databases at random, each database a part of the next larger one.

    A data set with fewer pictures than were asked for is divided in the proportions that were asked for, and queries
    that no picture of the smallest database may answer are left out; `Split.notes` says so.

    Parameters
    ----------
    dataset : Dataset
    queries : int
        Number of queries, at least 1.
    databases : list of int
        Sizes, at least 1 each.
    seed : int

    Returns
    -------
    Split

    Raises
    ------
    ArgumentError
        If a number is below 1, the data set has fewer than two pictures, or no query can be answered.
    """
    if queries < 1 or not databases or min(databases) < 1:
        raise ArgumentError(f"queries is {queries} and database {databases}, expected at least 1 each")
    if len(dataset) < 2:
        raise ArgumentError(f"{dataset.name} has {len(dataset)} usable picture, expected a query and a database")
    notes = []
    taken, sizes = queries, sorted(set(databases))
    if queries + max(sizes) > len(dataset):
        taken, sizes = _scale(len(dataset), queries, sizes)
        notes.append(
            f"{dataset.name} has {len(dataset)} usable pictures where {queries} queries and a database of "
            f"{max(databases)} need {queries + max(databases)}: divided into {taken} queries and a database of "
            f"{' or '.join(str(size) for size in sizes)}"
        )
    order = np.random.default_rng(seed).permutation(len(dataset))
    chosen, pool = order[:taken], order[taken:]
    smallest = set(dataset.videos[pool[: sizes[0]]].tolist())
    answerable = np.array([bool(smallest - {video}) for video in dataset.videos[chosen].tolist()])
    if not answerable.any():
        allowed_answers(dataset, chosen, pool[: sizes[0]])  # raises the error that says so
    if not answerable.all():
        notes.append(
            f"{(~answerable).sum()} of {taken} queries are left out: the database of {sizes[0]} has no picture of "
            "another video"
        )
    return Split(queries=chosen[answerable], databases={size: pool[:size] for size in sizes}, notes=tuple(notes))


def _scale(count: int, queries: int, sizes: list[int]) -> tuple[int, list[int]]:
    """Divide `count` pictures in the proportions of the queries and the largest database; at least one each."""
    taken = min(max(1, round(count * queries / (queries + sizes[-1]))), count - 1)
    left = count - taken
    return taken, sorted({max(1, left * size // sizes[-1]) for size in sizes})


def allowed_answers(dataset: Dataset, queries: IndexVector, database: IndexVector) -> NDArray[np.bool_]:
    """Tell which pictures may answer which query: those of other videos.

    Parameters
    ----------
    dataset : Dataset
    queries, database : ndarray of shape (Q,) and (N,), intp
        Pictures by index.

    Returns
    -------
    ndarray of shape (Q, N), bool

    Raises
    ------
    ArgumentError
        If a query is left without any picture to answer it.
    """
    allowed: NDArray[np.bool_] = np.asarray(dataset.videos[queries][:, None] != dataset.videos[database][None])
    barren = np.flatnonzero(~allowed.any(axis=1))
    if len(barren):
        raise ArgumentError(
            f"{len(barren)} of {len(queries)} queries have no picture of another video in the database, the first is "
            f"{dataset.paths[queries[barren[0]]].name}; enlarge --database or choose another --video-key"
        )
    return allowed


def reference_scores(
    dataset: Dataset, queries: IndexVector, database: IndexVector, allowed: NDArray[np.bool_]
) -> dict[str, Float64Array]:
    """Return what the best possible answer and a random one would score.

    Parameters
    ----------
    dataset : Dataset
    queries, database : ndarray of shape (Q,) and (N,), intp
    allowed : ndarray of shape (Q, N), bool
        At least one for each query.

    Returns
    -------
    dict
        ``oracle``: the score of each query's best allowed answer, ``chance``: the mean of all allowed ones, both (Q,).
    """
    oracle, chance = np.empty(len(queries)), np.empty(len(queries))
    for row, query in enumerate(queries):
        scores = dataset.judge(np.array([query]), database[allowed[row]])
        oracle[row], chance[row] = scores.max(), scores.mean()
    return {"oracle": oracle, "chance": chance}


def describe_left_out(left_out: dict[str, int]) -> dict[str, Any]:
    """Return the reasons why something was left out, those that apply, the most frequent first.

    Parameters
    ----------
    left_out : dict from reason to number

    Returns
    -------
    dict
    """
    return dict(sorted(((reason, count) for reason, count in left_out.items() if count), key=lambda item: -item[1]))
