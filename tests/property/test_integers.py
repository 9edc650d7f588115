"""Integer tokens: scores are one float64 formula of two maps, and a certified top k is that of solving everything."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from semret.centers import Center
from semret.errors import ArgumentError
from semret.integer_tokens import IntegerTokens
from semret.retrieval.search import rerank as module
from semret.retrieval.search.candidates import InMemoryTokens, Query
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.rerank import rerank, rerank_stream
from semret.retrieval.similarity.integer_bounds import StepBounds, level
from semret.retrieval.similarity.integer_maps import exact_affinities, match_integers, prepare_integers
from semret.retrieval.similarity.integer_pairs import integer_similarity
from semret.retrieval.similarity.names import KERNELS

SIGMA = 2.0


def scenes(generator, count, positions, dimension):
    """Maps of a few shared things with noise."""
    things = generator.integers(-90, 91, size=(5, dimension))
    chosen = things[generator.integers(0, 5, size=(count, positions))]
    return np.clip(chosen + generator.integers(-20, 21, size=chosen.shape), -127, 127)


def copies(generator, count, positions, dimension):
    """One map again and again, its tokens exchanged, now and then one number changed: ties and near-ties."""
    base = generator.integers(-127, 128, size=(positions, dimension))
    found = np.stack([base[generator.permutation(positions)] for _ in range(count)])
    found[::2, 0, 0] = np.clip(found[::2, 0, 0] + 1, -127, 127)
    return found


def extremes(generator, count, positions, dimension):
    return generator.choice([-127, 127], size=(count, positions, dimension))


def zeros(generator, count, positions, dimension):
    found = extremes(generator, count, positions, dimension)
    found[generator.random(count) < 0.5] = 0
    return found


@st.composite
def searches(draw):
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, positions, own = draw(st.tuples(st.integers(1, 30), st.integers(1, 14), st.integers(1, 20)))
    dimension = draw(st.sampled_from([1, 2, 3, 5, 8, 33, 64]))
    make = draw(st.sampled_from([scenes, copies, extremes, zeros]))
    integers = make(generator, count + 1, max(positions, own), dimension).astype(np.int8)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    size = draw(st.sampled_from([1.0, 1.0, 1e30, 1e-30]))
    scales = draw(st.sampled_from(["one", "each", "some 0"]))
    factors = np.full(integers.shape[:2], size)
    if scales != "one":
        factors *= generator.uniform(0.1, 3, size=factors.shape)
    if scales == "some 0":
        factors[generator.random(factors.shape) < 0.3] = 0
    tokens = IntegerTokens(integers=integers[:-1, :positions], scales=factors[:-1, :positions].astype(dtype))
    query = IntegerTokens(integers=integers[-1:, :own], scales=factors[-1:, :own].astype(dtype))
    return query, tokens, draw(st.integers(1, count))


def affinity(query, tokens, row):
    """The definition: exact inner products times the product of the two scales, in float64."""
    dots = query.integers[0].astype(np.int64) @ tokens.integers[row].astype(np.int64).T
    scales = query.scales[0].astype(np.float64)[:, None] * tokens.scales[row].astype(np.float64)[None, :]
    return dots.astype(np.float64) * scales


def norm(tokens, row):
    squares = (tokens.integers[row].astype(np.int64) ** 2).sum(axis=1).astype(np.float64)
    return math.fsum((squares * tokens.scales[row].astype(np.float64) ** 2).tolist())


def kernel_of(kernel, matched, own, other):
    if kernel == "linear":
        return matched
    if kernel == "cosine":
        return 0.0 if own == 0 or other == 0 else matched / math.sqrt(own) / math.sqrt(other)
    return math.exp(-max(own + other - 2 * matched, 0.0) / (2 * SIGMA * SIGMA))


def assert_same(one, other):
    assert one.rows.tolist() == other.rows.tolist()
    assert one.scores.tolist() == other.scores.tolist()


@settings(deadline=None, max_examples=150)
@given(searches(), st.sampled_from(KERNELS))
def test_the_certified_top_k_is_that_of_solving_everything(search, kernel):
    query, tokens, k = search
    options = RerankOptions(k=k, kernel=kernel, threads=1)
    shared = {"source": InMemoryTokens(tokens), "sigma": SIGMA}
    pruned = rerank(Query(tokens=query), options=options, **shared)
    full = rerank(Query(tokens=query), options=replace(options, prune=False), **shared)
    assert_same(pruned, full)
    assert pruned.exact
    assert pruned.solved + pruned.pruned == full.solved == len(tokens)
    expected = []
    for row in range(len(tokens)):
        values = affinity(query, tokens, row)
        rows, columns = linear_sum_assignment(values, maximize=True)
        matched = math.fsum(values[rows, columns].tolist())
        expected.append(kernel_of(kernel, matched, norm(query, 0), norm(tokens, row)))
    expected = np.array(expected)
    largest = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(
        pruned.scores, np.sort(expected)[::-1][:k], rtol=1e-12, atol=1e-12 * largest if kernel != "rbf" else 1e-9
    )
    np.testing.assert_allclose(
        pruned.scores, expected[pruned.rows], rtol=1e-12, atol=1e-12 * largest if kernel != "rbf" else 1e-9
    )


@settings(deadline=None, max_examples=80)
@given(searches())
def test_numbers_are_those_of_the_formula_to_the_last_bit(search):
    query, tokens, _ = search
    maps, own = prepare_integers(tokens), prepare_integers(query)
    found = match_integers(own, maps, threads=1)
    products = exact_affinities(own, maps, threads=1)
    assert own.squared_norms[0] == norm(query, 0)
    for row in range(len(tokens)):
        values = affinity(query, tokens, row)
        assert (products[row] == values).all()
        assert maps.squared_norms[row] == norm(tokens, row)
        partners = found.assignments[row]
        pairs = [(here, there) for here, there in enumerate(partners) if there >= 0]
        assert len({there for _, there in pairs}) == len(pairs) == min(values.shape)
        assert found.matched[row] == math.fsum(values[pair] for pair in pairs)
        best = values[linear_sum_assignment(values, maximize=True)].sum()
        assert found.matched[row] == pytest.approx(best, rel=1e-12, abs=1e-13 * np.abs(values).sum())
        assert found.bounds[row] >= found.matched[row]


@settings(deadline=None, max_examples=80)
@given(searches(), st.integers(0, 2))
def test_bounds_in_steps_hold_the_optimum(search, phases):
    query, tokens, _ = search
    maps, own = prepare_integers(tokens), prepare_integers(query)
    everything = np.arange(len(tokens))
    bounds = StepBounds(level(own), level(maps), threads=1)
    bounds.tighten(everything, phases)
    uppers, lowers = bounds.values(everything)
    matched = match_integers(own, maps, threads=1).matched
    slack = 1e-12 * np.sqrt(own.squared_norms * maps.squared_norms)
    assert (uppers + slack >= matched).all()
    assert (lowers - slack <= matched).all()


@settings(deadline=None, max_examples=60)
@given(searches(), st.sampled_from([None, 0.0, 1e-161, 0.03, 1e10, 1e200]))
def test_the_certified_top_k_where_different_distances_have_one_score(search, sigma):
    query, tokens, k = search
    options = RerankOptions(k=k, kernel="rbf", threads=1)
    shared = {"source": InMemoryTokens(tokens), "sigma": sigma}
    pruned = rerank(Query(tokens=query), options=options, **shared)
    assert_same(pruned, rerank(Query(tokens=query), options=replace(options, prune=False), **shared))


@settings(deadline=None, max_examples=40)
@given(searches(), st.sampled_from(KERNELS), st.sampled_from(["none", "maxsim"]))
def test_scores_that_match_nothing_are_those_of_the_formula(search, kernel, invariance):
    query, tokens, k = search
    if invariance == "none" and query.shape[1] != tokens.shape[1]:
        return
    options = RerankOptions(k=k, kernel=kernel, invariance=invariance, threads=1)
    found = rerank(Query(tokens=query), InMemoryTokens(tokens), options, sigma=SIGMA)
    expected = np.array([_unmatched(query, tokens, row, kernel, invariance) for row in range(len(tokens))])
    np.testing.assert_allclose(found.scores, expected[found.rows], rtol=1e-12, atol=1e-9 if kernel == "rbf" else 0)
    assert found.rows.tolist() == np.lexsort((np.arange(len(tokens)), -expected))[:k].tolist() or kernel != "linear"


def _unmatched(query, tokens, row, kernel, invariance):
    values = affinity(query, tokens, row)
    if invariance == "none":
        return kernel_of(kernel, math.fsum(np.diag(values).tolist()), norm(query, 0), norm(tokens, row))
    lengths = [np.sqrt((one.astype(np.float64) ** 2).sum(axis=-1)) for one in (query.integers[0], tokens.integers[row])]
    present = [one > 0 for one in (query.scales[0], tokens.scales[row])]
    if kernel == "cosine":
        dots = query.integers[0].astype(np.int64) @ tokens.integers[row].astype(np.int64).T
        sizes = np.outer(lengths[0] * present[0], lengths[1] * present[1])
        cosines = np.divide(dots, sizes, out=np.zeros(dots.shape), where=sizes > 0)
        return math.fsum(cosines.max(axis=1).tolist()) / len(values)
    if kernel == "linear":
        return math.fsum(values.max(axis=1).tolist())
    squares = [(length * one.astype(np.float64)) ** 2 for length, one in
               zip(lengths, (query.scales[0], tokens.scales[row]), strict=True)]  # fmt: skip
    apart = np.maximum(squares[0][:, None] + squares[1] - 2 * values, 0.0).min(axis=1).sum()
    return math.exp(-apart / (2 * SIGMA * SIGMA))


@settings(deadline=None, max_examples=30)
@given(searches(), st.sampled_from(KERNELS))
def test_threads_change_no_bit(search, kernel):
    query, tokens, k = search
    options = RerankOptions(k=k, kernel=kernel, threads=1)
    one, *others = (
        rerank(Query(tokens=query), InMemoryTokens(tokens), replace(options, threads=threads), sigma=SIGMA)
        for threads in (1, 2, 8)
    )
    for other in others:
        assert_same(one, other)
        assert (one.solved, one.pruned) == (other.solved, other.pruned)


@settings(deadline=None, max_examples=40)
@given(searches(), st.sampled_from(KERNELS), st.integers(1, 7))
def test_a_stream_in_any_pieces_gives_the_same(search, kernel, step):
    query, tokens, k = search
    options = RerankOptions(k=k, kernel=kernel, threads=1)
    ids = np.arange(len(tokens)) * 3
    pieces = [(ids[at : at + step], tokens[at : at + step]) for at in range(0, len(tokens), step)]
    careful = Query(tokens=query, excluded=ids[::2])
    plain, excluding = rerank_stream([Query(tokens=query), careful], iter(pieces), options, sigma=SIGMA)
    source = InMemoryTokens(tokens, ids=ids)
    assert_same(plain, rerank(Query(tokens=query), source, options, sigma=SIGMA))
    assert_same(excluding, rerank(careful, source, options, sigma=SIGMA))


@settings(deadline=None, max_examples=30)
@given(searches(), st.sampled_from(["greedy", "topk-greedy", "batch-optimal", "identity", "scipy"]))
def test_pruning_changes_nothing_for_other_solvers(search, solver):
    query, tokens, k = search
    options = RerankOptions(k=k, solver=solver, threads=1)
    pruned = rerank(Query(tokens=query), InMemoryTokens(tokens), options)
    assert_same(pruned, rerank(Query(tokens=query), InMemoryTokens(tokens), replace(options, prune=False)))


@settings(deadline=None, max_examples=40)
@given(searches(), st.sampled_from(KERNELS))
def test_the_shares_of_a_pair_sum_to_its_score(search, kernel):
    query, tokens, _ = search
    found = integer_similarity(query, tokens[:1], kernel=kernel, sigma=SIGMA)
    ranked = rerank(Query(tokens=query), InMemoryTokens(tokens[:1]), RerankOptions(k=1, kernel=kernel), sigma=SIGMA)
    assert found.score == ranked.scores[0]
    assert math.fsum(found.contributions.tolist()) == found.matched
    assert ((found.assignment >= 0) | (found.contributions == 0)).all()
    assert found.bound >= found.score
    assert found.exact


def test_chunks_of_any_size_give_the_same(monkeypatch):
    generator = np.random.default_rng(4)
    tokens = IntegerTokens(integers=scenes(generator, 60, 9, 6).astype(np.int8), scales=np.ones((60, 9)))
    options = RerankOptions(k=5)
    whole = rerank(Query(tokens=tokens[[7]]), InMemoryTokens(tokens), options)
    monkeypatch.setattr(module, "INTEGER_CHUNK_BYTES", 9 * 6 * 7)
    done = []
    chunked = rerank(Query(tokens=tokens[[7]]), InMemoryTokens(tokens), options, progress=lambda n, _: done.append(n))
    assert_same(whole, chunked)
    assert done == [min(7 * n, 60) for n in range(10)]
    assert whole.rows[0] == 7
    assert whole.scores[0] == 1.0


def test_real_likeness_is_pruned():
    generator = np.random.default_rng(8)
    things = generator.integers(-90, 91, size=(30, 16))
    contents = np.stack([generator.choice(30, size=4, replace=False) for _ in range(100)])
    placed = things[contents[np.arange(100)[:, None], generator.integers(0, 4, size=(100, 25))]]
    noisy = np.clip(placed + generator.normal(scale=15, size=placed.shape), -127, 127).astype(np.int8)
    tokens = IntegerTokens(integers=noisy, scales=generator.uniform(0.5, 1, size=(100, 25)).astype(np.float32))
    found = rerank(Query(tokens=tokens[[3]]), InMemoryTokens(tokens), RerankOptions(k=5))
    assert found.rows[0] == 3
    assert found.scores[0] == 1.0
    assert found.pruned > 80


@pytest.mark.parametrize("size", [1e-300, 1e300])
@pytest.mark.parametrize("invariance", ["permutation", "none", "maxsim"])
def test_scales_at_the_ends_of_float64_change_no_cosine(size, invariance):
    generator = np.random.default_rng(2)
    integers, scales = scenes(generator, 20, 6, 5).astype(np.int8), generator.uniform(0.5, 1, size=(20, 6))
    options = RerankOptions(k=4, invariance=invariance)
    usual, scaled = (IntegerTokens(integers=integers, scales=scales * factor) for factor in (1.0, size))
    one, other = (
        rerank(Query(tokens=tokens[[3]]), InMemoryTokens(tokens, pooled=np.zeros((20, 1))), options)
        for tokens in (usual, scaled)
    )
    assert one.rows.tolist() == other.rows.tolist()
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-12)


def test_with_a_centre_integer_tokens_count_as_floats():
    generator = np.random.default_rng(5)
    tokens = IntegerTokens(integers=scenes(generator, 20, 6, 5).astype(np.int8), scales=np.ones((20, 6), np.float32))
    center = Center(mode="channel", channel=tokens.as_floats().mean(axis=(0, 1)))
    found = rerank(Query(tokens=tokens[[2]]), InMemoryTokens(tokens), RerankOptions(k=4), center=center)
    floats = tokens.as_floats()
    expected = rerank(Query(tokens=floats[2]), InMemoryTokens(floats), RerankOptions(k=4), center=center)
    assert_same(found, expected)


def test_integers_and_floats_are_not_mixed():
    tokens = IntegerTokens(integers=np.ones((3, 2, 4), np.int8), scales=np.ones((3, 2)))
    floats = tokens.as_floats()
    with pytest.raises(ArgumentError, match="the query has integer tokens and the candidates have float tokens"):
        rerank(Query(tokens=tokens[[0]]), InMemoryTokens(floats), RerankOptions(k=1))
    with pytest.raises(ArgumentError, match="the query has float tokens and the candidates have integer tokens"):
        rerank(Query(tokens=floats[0]), InMemoryTokens(tokens), RerankOptions(k=1))
