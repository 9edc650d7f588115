"""The best answers of many queries under every kernel and invariance, computing no more than they need."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, FloatArray, IdVector, IndexVector
from semret.centers import Center
from semret.errors import ArgumentError
from semret.eval.database import BLOCK_BYTES, CHUNK_BYTES, Tokens, chunks, measure_center
from semret.eval.ranking import rank_rows
from semret.progress import Progress
from semret.retrieval.search.candidates import Query, TokenSource
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.rerank import rerank_stream
from semret.retrieval.similarity.kernels import kernel_score, median_bandwidth, rbf
from semret.retrieval.similarity.maps import Maps, prepare
from semret.retrieval.similarity.maxsim import maxsim_scores
from semret.retrieval.similarity.names import check_modes
from semret.retrieval.similarity.rsm import rsm


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The `k` best database images of each query.

    Attributes
    ----------
    rows : ndarray of shape (Q, k), intp
        Rows of the database, best first; -1 where fewer than k were allowed. Equal scores in the order of the rows.
    scores : ndarray of shape (Q, k), float64
        NaN where there is no row.
    solved, pruned : int
        Pairs matched and pairs ruled out by a bound; both 0 where nothing is matched.
    sigma : float or None
        RBF bandwidth of the scores.
    seconds : float
        Wall time; shared equally by kernels that were computed together.
    """

    rows: IndexVector
    scores: Float64Array
    solved: int = 0
    pruned: int = 0
    sigma: float | None = None
    seconds: float = 0.0


def find_answers(
    queries: TokenSource,
    database: TokenSource,
    allowed: NDArray[np.bool_],
    *,
    k: int = 1,
    kernels: Sequence[str] = ("cosine",),
    invariances: Sequence[str] = ("permutation",),
    center: str = "position",
    solver: str = "auction",
    full_matrix: bool = False,
    prune: bool = True,
    threads: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> dict[tuple[str, str], Answers]:
    r"""Find the best allowed database images of every query, under every kernel and invariance asked for.

    Matchings (invariance ``permutation``) are solved only where an upper bound does not rule a pair out; the answers
    are those of solving every pair. Other invariances cost one product per pair and are computed in full.

    Parameters
    ----------
    queries, database : TokenSource
        Q and N images of one shape (S, C).
    allowed : ndarray of shape (Q, N), bool
        Which image may answer which query.
    k : int
        Answers per query, at least 1.
    kernels, invariances : sequence of str
    center : {"position", "channel", "none"}
        Which mean of the database is subtracted from all.
    solver : str
        See `semret.retrieval.matching.SOLVERS`.
    full_matrix : bool
        Solve every pair; then the bandwidth of the rbf kernel is that of the squared distances of the matched maps.
        Otherwise, for matchings, it is that of the mean squared distances over all matchings,
        :math:`\|a\|^2 + \|b\|^2 - 2 S \langle \bar a, \bar b \rangle`, which need none. The order of answers does not
        depend on it.
    prune : bool
        False solves every pair without keeping the matrix: for measurements.
    threads : int or None
        Threads of bounds and solver; None takes all.
    device : str or None
        ``cuda`` or ``cuda:N`` matches there, with solver auction. Certified answers are those of the processor; a full
        matrix agrees with its within 1e-6.
    progress : callable or None
        Called with pairs done and their total, over all invariances.

    Returns
    -------
    dict from (kernel, invariance) to Answers

    Raises
    ------
    ArgumentError, UnknownNameError, ShapeError, NonFiniteError
        See `semret.retrieval.search.rerank.rerank`.
    """
    for kernel in kernels:
        for invariance in invariances:
            check_modes(kernel, invariance, center, solver)
    if k < 1:
        raise ArgumentError(f"k is {k}, expected at least 1")
    middle = measure_center(database, center)
    on = device if solver == "auction" else None
    search = _Search(queries, database, allowed, k, list(kernels), middle, threads, on)
    runs: dict[str, Callable[[], dict[str, Answers]]] = {
        "pooled": search.compare_pooled,
        "none": search.compare_positions,
        "maxsim": search.compare_maxsim,
        "permutation": lambda: search.match(solver, full_matrix=full_matrix, prune=prune),
    }
    search.expect(list(invariances), full_matrix, progress)
    found: dict[tuple[str, str], Answers] = {}
    for invariance in invariances:
        for kernel, answers in runs[invariance]().items():
            found[kernel, invariance] = answers
    return found


class _Search:
    """Queries against a database, one method per invariance; each returns answers by kernel."""

    def __init__(
        self,
        queries: TokenSource,
        database: TokenSource,
        allowed: NDArray[np.bool_],
        k: int,
        kernels: list[str],
        center: Center,
        threads: int | None,
        device: str | None,
    ) -> None:
        self.queries, self.database, self.allowed = queries, database, allowed
        self.k, self.kernels, self.center, self.threads, self.device = k, kernels, center, threads, device
        self.done = self.total = 0
        self.progress: Progress | None = None

    def expect(self, invariances: list[str], full_matrix: bool, progress: Progress | None) -> None:
        """Prepare to report progress."""
        passes = sum(len(self.kernels) if i == "permutation" and not full_matrix else 1 for i in invariances)
        self.total, self.progress = passes * self.allowed.size, progress

    def compare_pooled(self) -> dict[str, Answers]:
        start = time.perf_counter()
        middle = 0.0 if self.center.pooled is None else self.center.pooled.astype(np.float64)
        one, many = (np.asarray(s.pooled, dtype=np.float64) - middle for s in (self.queries, self.database))
        products = one @ many.T
        self._advance(products.size)
        return self._from_products(products, (one**2).sum(axis=1), (many**2).sum(axis=1), start)

    def compare_positions(self) -> dict[str, Answers]:
        start = time.perf_counter()
        products = np.empty(self.allowed.shape)
        norms = np.zeros(self.allowed.shape[0]), np.zeros(self.allowed.shape[1])
        for block, ones in self._blocks():
            norms[0][block] = ones.squared_norms
            flat = ones.tokens.reshape(len(ones), -1)
            for rows, manys in self._database_maps():
                norms[1][rows] = manys.squared_norms
                products[np.ix_(block, rows)] = flat @ manys.tokens.reshape(len(manys), -1).T
                self._advance(len(block) * len(rows))
        return self._from_products(products, *norms, start)

    def compare_maxsim(self) -> dict[str, Answers]:
        start = time.perf_counter()
        scores = {kernel: np.empty(self.allowed.shape) for kernel in self.kernels}
        for block, ones in self._blocks():
            for rows, manys in self._database_maps():
                for offset, query in enumerate(block):
                    for kernel, row in maxsim_scores(ones[offset : offset + 1], manys, self.kernels).items():
                        scores[kernel][query, rows] = row
                self._advance(len(block) * len(rows))
        if "rbf" not in scores:
            return self._rank(scores, start, None)
        distances = scores["rbf"]
        sigma = median_bandwidth(distances)
        scores["rbf"] = rbf(distances, sigma)
        return self._rank(scores, start, sigma, order={"rbf": -distances})

    def match(self, solver: str, *, full_matrix: bool, prune: bool) -> dict[str, Answers]:
        if full_matrix:
            return self._match_all(solver)
        found = {}
        for kernel in self.kernels:
            start = time.perf_counter()
            sigma = self._closed_form_sigma() if kernel == "rbf" else None
            found[kernel] = self._match_certified(kernel, solver, sigma, prune, start)
        return found

    def _match_certified(self, kernel: str, solver: str, sigma: float | None, prune: bool, start: float) -> Answers:
        rows = np.full((len(self.allowed), self.k), -1, dtype=np.intp)
        scores = np.full(rows.shape, np.nan)
        solved = pruned = 0
        for block in chunks(len(self.allowed), self.queries.shape, BLOCK_BYTES):
            questions = [
                Query(tokens=tokens, excluded=np.flatnonzero(~self.allowed[query]).astype(np.int64))
                for query, tokens in zip(block, self.queries.read(block), strict=True)
            ]
            options = RerankOptions(k=self.k, kernel=kernel, solver=solver, threads=self.threads, prune=prune)
            progress = self._advance_by(len(block))
            ranked = rerank_stream(
                questions,
                self._stream(),
                options,
                center=self.center,
                sigma=sigma,
                progress=progress,
                device=self.device,
            )
            for query, answer in zip(block, ranked, strict=True):
                rows[query, : len(answer.rows)] = answer.rows
                scores[query, : len(answer.rows)] = answer.scores
                solved, pruned = solved + answer.solved, pruned + answer.pruned
        seconds = time.perf_counter() - start
        return Answers(rows=rows, scores=scores, solved=solved, pruned=pruned, sigma=sigma, seconds=seconds)

    def _match_all(self, solver: str) -> dict[str, Answers]:
        start = time.perf_counter()
        products = rsm(
            Tokens(self.queries),
            Tokens(self.database),
            kernel="linear",
            solver=solver,
            center="none" if self.center.tokens is None else self.center.tokens,
            threads=self.threads,
            device=self.device,
            progress=self._advance_by(1),
        )
        norms = self._statistics(self.queries)[0], self._statistics(self.database)[0]
        found = self._from_products(products, *norms, start)
        return {kernel: replace(answers, solved=self.allowed.size) for kernel, answers in found.items()}

    def _closed_form_sigma(self) -> float:
        """Return the bandwidth from norms and mean tokens, centred exactly, of all pairs."""
        (norms, means), (other_norms, other_means) = self._statistics(self.queries), self._statistics(self.database)
        inner = self.queries.shape[0] * (means @ other_means.T)
        return median_bandwidth(np.maximum(norms[:, None] + other_norms - 2 * inner, 0.0))

    def _statistics(self, source: TokenSource) -> tuple[Float64Array, Float64Array]:
        norms, means = np.empty(len(source.ids)), np.empty((len(source.ids), source.shape[1]))
        for rows in chunks(len(source.ids), source.shape, CHUNK_BYTES):
            maps = prepare(source.read(rows), self.center.tokens)
            norms[rows], means[rows] = maps.squared_norms, maps.means
        return norms, means

    def _blocks(self) -> Iterator[tuple[IndexVector, Maps]]:
        for rows in chunks(len(self.allowed), self.queries.shape, BLOCK_BYTES):
            yield rows, prepare(self.queries.read(rows), self.center.tokens)

    def _database_maps(self) -> Iterator[tuple[IndexVector, Maps]]:
        for rows in chunks(self.allowed.shape[1], self.database.shape, CHUNK_BYTES):
            yield rows, prepare(self.database.read(rows), self.center.tokens)

    def _stream(self) -> Iterator[tuple[IdVector, FloatArray]]:
        for rows in chunks(self.allowed.shape[1], self.database.shape, CHUNK_BYTES):
            yield rows.astype(np.int64), self.database.read(rows)

    def _from_products(
        self, products: Float64Array, norms_x: Float64Array, norms_y: Float64Array, start: float
    ) -> dict[str, Answers]:
        """Apply the kernels to inner products (Q, N) and rank."""
        norms = norms_x[:, None], norms_y[None]
        distances = np.maximum(norms[0] + norms[1] - 2 * products, 0.0)
        sigma = median_bandwidth(distances) if "rbf" in self.kernels else None
        scores = {kernel: kernel_score(kernel, products, *norms, sigma=sigma) for kernel in self.kernels}
        return self._rank(scores, start, sigma, order={"rbf": -distances})

    def _rank(
        self,
        scores: dict[str, Float64Array],
        start: float,
        sigma: float | None,
        order: dict[str, Float64Array] | None = None,
    ) -> dict[str, Answers]:
        """Take the best of each row; `order` replaces scores that may underflow."""
        ranked = {k: rank_rows((order or {}).get(k, matrix), self.allowed, self.k) for k, matrix in scores.items()}
        share = (time.perf_counter() - start) / max(len(scores), 1)
        answers = {}
        for kernel, rows in ranked.items():
            found = np.take_along_axis(scores[kernel], np.maximum(rows, 0), axis=1)
            found[rows < 0] = np.nan
            width = sigma if kernel == "rbf" else None
            answers[kernel] = Answers(rows=rows, scores=found, sigma=width, seconds=share)
        return answers

    def _advance_by(self, factor: int) -> Progress:
        """Return a callback that takes the number of database images that `factor` queries have seen."""
        before = self.done
        return lambda seen, _: self._advance(before + factor * seen - self.done)

    def _advance(self, pairs: int) -> None:
        self.done += pairs
        if self.progress is not None:
            self.progress(self.done, self.total)
