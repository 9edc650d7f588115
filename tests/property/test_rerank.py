"""Pruned and unpruned reranking are the same: rows, scores, ties. And both are what SciPy says."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semret.centers import CENTERINGS, Center
from semret.retrieval.search import float_side
from semret.retrieval.search import rerank as module
from semret.retrieval.search.candidates import InMemoryTokens, Query
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.rerank import rerank, rerank_stream
from semret.retrieval.similarity.kernels import kernel_score
from semret.retrieval.similarity.names import KERNELS
from semret.retrieval.similarity.pairs import matched_similarity


@dataclass
class Middle:
    channel: np.ndarray | None = None
    position: np.ndarray | None = None
    pooled: np.ndarray | None = None


def middle_of(stored, mode):
    wide = stored.tokens.astype(np.float64)
    if mode == "channel":
        return Center(channel=wide.mean(axis=(0, 1)).astype(np.float32), pooled=stored.pooled.mean(axis=0))
    if mode == "position":
        return Center(position=wide.mean(axis=0).astype(np.float32), pooled=stored.pooled.mean(axis=0))
    return Center()


def scenes(generator, count, positions, channels):
    """Real-like maps: each a mixture of a few shared concepts with noise, so that many nearly agree."""
    concepts = np.abs(generator.normal(size=(5, channels))) * 2
    chosen = generator.integers(0, 5, size=(count, positions))
    return concepts[chosen] + 0.3 * generator.normal(size=(count, positions, channels))


def near_ties(generator, count, positions, channels):
    """One map again and again: exact copies, shuffled ones, and ones changed in the last bits."""
    base = np.float32(generator.normal(size=(positions, channels)))
    copies = np.stack([base[generator.permutation(positions)] for _ in range(count)])
    copies[::3] = base
    touched = copies[1::2]
    copies[1::2] = np.nextafter(touched, generator.choice(np.float32([-9, 9]), size=touched.shape))
    return copies


def integers(generator, count, positions, channels):
    """Small integers: scores tie without being copies."""
    return generator.integers(-1, 2, size=(count, positions, channels))


def constants(generator, count, positions, channels):
    return np.full((count, positions, channels), generator.normal())


TOKENWISE = ("permutation", "none", "maxsim")
MAKERS = (scenes, near_ties, integers, constants)


@st.composite
def searches(draw):
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, positions, channels = draw(st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(1, 9)))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    tokens = draw(st.sampled_from(MAKERS))(generator, count, positions, channels).astype(dtype)
    stored = InMemoryTokens(tokens, ids=np.sort(generator.choice(1000, size=count, replace=False)).astype(np.int64))
    other = scenes(generator, 1, positions, channels)[0].astype(dtype)
    picture = draw(st.sampled_from([other, tokens[generator.integers(count)]]))
    return stored, Query(tokens=picture, pooled=picture.astype(np.float32).mean(axis=0)), draw(st.integers(1, count))


def assert_same(one, other):
    assert one.rows.tolist() == other.rows.tolist()
    assert one.scores.tolist() == other.scores.tolist()


BANDWIDTHS = [None, 0.0, 1e-161, 0.03, 1e10, 1e200]
"""The default; and such that different scores become one number, 0 or 1, or that leave float64 when squared."""


@settings(deadline=None, max_examples=200)
@given(searches(), st.sampled_from(KERNELS), st.sampled_from(CENTERINGS), st.sampled_from(BANDWIDTHS))
def test_pruning_changes_nothing(search, kernel, centering, sigma):
    stored, query, k = search
    middle, options = middle_of(stored, centering), RerankOptions(k=k, kernel=kernel, threads=1)
    pruned, full = (
        rerank(query, stored, one, center=middle, sigma=sigma) for one in (options, replace(options, prune=False))
    )
    assert_same(pruned, full)
    assert pruned.solved + pruned.pruned == full.solved == len(stored.ids)
    assert full.pruned == 0
    assert pruned.exact
    assert len(pruned.rows) == k


@settings(deadline=None, max_examples=60)
@given(searches(), st.sampled_from(KERNELS), st.sampled_from(TOKENWISE), st.sampled_from(CENTERINGS))
def test_the_order_is_that_of_scores_then_ids(search, kernel, invariance, centering):
    stored, query, k = search
    middle = middle_of(stored, centering)
    found = rerank(
        query, stored, RerankOptions(k=k, kernel=kernel, invariance=invariance, threads=1), center=middle, sigma=2.0
    )
    center = middle.position if middle.position is not None else middle.channel
    scores = np.array(
        [
            float(
                matched_similarity(query.tokens, tokens, kernel=kernel, invariance=invariance, center=center, sigma=2.0)
            )
            for tokens in stored.tokens
        ]
    )
    order = np.lexsort((stored.ids, -scores))[:k]
    assert found.rows.tolist() == order.tolist()
    assert found.scores.tolist() == scores[order].tolist()


@settings(deadline=None, max_examples=40)
@given(searches(), st.sampled_from(KERNELS), st.sampled_from(CENTERINGS))
def test_pooled_scores_are_those_of_the_stored_embeddings(search, kernel, centering):
    stored, query, k = search
    middle = middle_of(stored, centering)
    found = rerank(query, stored, RerankOptions(k=k, kernel=kernel, invariance="pooled"), center=middle, sigma=2.0)
    shift = 0.0 if middle.pooled is None else middle.pooled.astype(np.float64)
    one, many = query.pooled.astype(np.float64) - shift, stored.pooled.astype(np.float64) - shift
    expected = kernel_score(kernel, many @ one, one @ one, (many**2).sum(axis=1), sigma=2.0)
    np.testing.assert_allclose(found.scores, np.sort(expected)[::-1][:k], rtol=1e-9, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(searches(), st.sampled_from(KERNELS), st.integers(1, 7))
def test_a_stream_in_any_pieces_gives_the_same(search, kernel, step):
    stored, query, k = search
    options = RerankOptions(k=k, kernel=kernel, threads=1)
    shared = {"options": options, "center": middle_of(stored, "channel"), "sigma": 1.5}
    pieces = [
        (stored.ids[start : start + step], stored.tokens[start : start + step])
        for start in range(0, len(stored.ids), step)
    ]
    excluded = stored.ids[::2]
    careful = Query(tokens=query.tokens, excluded=excluded)
    plain, careful_found = rerank_stream([query, careful], iter(pieces), **shared)
    assert_same(plain, rerank(query, stored, **shared))
    assert_same(careful_found, rerank(careful, stored, **shared))
    assert not np.isin(stored.ids[careful_found.rows], excluded).any()


@settings(deadline=None, max_examples=40)
@given(searches(), st.sampled_from(["greedy", "topk-greedy", "batch-optimal", "identity"]))
def test_pruning_changes_nothing_for_approximate_solvers(search, solver):
    stored, query, k = search
    middle, options = middle_of(stored, "channel"), RerankOptions(k=k, solver=solver, threads=1)
    pruned = rerank(query, stored, options, center=middle)
    assert_same(pruned, rerank(query, stored, replace(options, prune=False), center=middle))
    assert not pruned.exact


def test_chunks_of_any_size_give_the_same(monkeypatch):
    generator = np.random.default_rng(4)
    stored = InMemoryTokens(scenes(generator, 60, 9, 6).astype(np.float16))
    query = Query(tokens=stored.tokens[7])
    whole = rerank(query, stored, RerankOptions(k=5))
    monkeypatch.setattr(module, "CHUNK_BYTES", 4 * 9 * 9 * 7)
    pieces = []
    chunked = rerank(query, stored, RerankOptions(k=5), progress=lambda done, total: pieces.append((done, total)))
    assert_same(whole, chunked)
    assert pieces == [(min(7 * n, 60), 60) for n in range(10)]


def test_affinities_are_held_a_few_at_a_time(monkeypatch):
    generator = np.random.default_rng(6)
    stored = InMemoryTokens(scenes(generator, 50, 9, 6).astype(np.float16))
    queries = [Query(tokens=stored.tokens[n], excluded=np.array([n, 2 * n + 1])) for n in (3, 11)]
    whole = rerank_stream(queries, [(stored.ids, stored.tokens)], RerankOptions(k=4))
    monkeypatch.setattr(float_side, "AFFINITY_BYTES", 4 * 9 * 9 * 3)
    for one, other in zip(
        whole, rerank_stream(queries, [(stored.ids, stored.tokens)], RerankOptions(k=4)), strict=True
    ):
        assert_same(one, other)
        assert other.solved + other.pruned == 48


def test_real_likeness_is_pruned():
    generator = np.random.default_rng(8)
    things = generator.normal(size=(30, 16))
    contents = np.stack([generator.choice(30, size=4, replace=False) for _ in range(100)])
    placed = contents[np.arange(100)[:, None], generator.integers(0, 4, size=(100, 25))]
    stored = InMemoryTokens((things[placed] + 0.3 * generator.normal(size=(100, 25, 16))).astype(np.float16))
    found = rerank(Query(tokens=stored.tokens[3]), stored, RerankOptions(k=5))
    assert found.rows[0] == 3
    assert found.scores[0] == 1.0
    assert found.pruned > 50


@pytest.mark.parametrize("kernel", KERNELS)
def test_queries_of_another_size(kernel):
    generator = np.random.default_rng(9)
    stored = InMemoryTokens(scenes(generator, 30, 9, 6).astype(np.float32))
    for positions in (4, 15):
        query = Query(tokens=scenes(generator, 1, positions, 6)[0].astype(np.float32))
        middle = middle_of(stored, "channel")
        pruned = rerank(query, stored, RerankOptions(k=4, kernel=kernel), center=middle)
        assert_same(pruned, rerank(query, stored, RerankOptions(k=4, kernel=kernel, prune=False), center=middle))
