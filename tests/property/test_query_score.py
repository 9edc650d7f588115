"""A search for parts of a picture: pruned and unpruned are the same, and both are what SciPy and the formula say."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from semret.centers import Center
from semret.retrieval.search import float_side, rerank
from semret.retrieval.search.candidates import InMemoryTokens, Query
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.query_scored import rerank_by_query


def mixtures(generator, count, positions, channels):
    """Real-like maps: each a mixture of a few shared concepts with noise, so that many nearly agree."""
    concepts = np.abs(generator.normal(size=(5, channels))) * 2
    chosen = generator.integers(0, 5, size=(count, positions))
    return concepts[chosen] + 0.3 * generator.normal(size=(count, positions, channels))


def shuffled_copies(generator, count, positions, channels):
    """One map again and again, its tokens in other places and of other lengths: every score ties."""
    base = np.float32(generator.normal(size=(positions, channels)))
    copies = np.stack([base[generator.permutation(positions)] for _ in range(count)])
    return copies * np.exp2(generator.integers(-2, 3, size=(count, positions, 1)))


def small_integers(generator, count, positions, channels):
    """Scores tie without being copies, and tokens are zero."""
    return generator.integers(-1, 2, size=(count, positions, channels))


@st.composite
def searches(draw):
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, positions, channels = draw(st.tuples(st.integers(1, 30), st.integers(1, 20), st.integers(1, 9)))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    maker = draw(st.sampled_from([mixtures, shuffled_copies, small_integers]))
    tokens = maker(generator, count, positions, channels).astype(dtype)
    stored = InMemoryTokens(tokens, ids=np.sort(generator.choice(1000, size=count, replace=False)).astype(np.int64))
    cells = np.sort(generator.choice(positions, size=draw(st.integers(1, positions)), replace=False))
    picture = draw(st.sampled_from([tokens[0], mixtures(generator, 1, positions, channels)[0].astype(dtype)]))
    return stored, Query(tokens=picture[cells]), cells, draw(st.integers(1, count))


def middle_of(stored, mode):
    wide = stored.tokens.astype(np.float64)
    if mode == "channel":
        return Center(mode=mode, channel=wide.mean(axis=(0, 1)).astype(np.float32))
    return Center(mode=mode, position=wide.mean(axis=0).astype(np.float32)) if mode == "position" else Center()


def score(query, tokens):
    """The definition, in float64: the best matching of cosines weighted by the energy of the query's tokens."""
    squared = (query**2).sum(axis=1)
    weights = squared / squared.sum() if squared.sum() else squared
    lengths = np.sqrt(squared)[:, None] * np.sqrt((tokens**2).sum(axis=1))[None]
    cosines = np.divide(query @ tokens.T, lengths, out=np.zeros(lengths.shape), where=lengths > 0)
    rows, columns = linear_sum_assignment(weights[:, None] * cosines, maximize=True)
    return (weights[:, None] * cosines)[rows, columns].sum()


MODES = st.sampled_from(["none", "channel", "position"])


@settings(deadline=None, max_examples=200)
@given(searches(), MODES, st.sampled_from([None, 3]))
def test_pruning_changes_nothing_on_rectangles_and_ties(search, mode, maps_at_once):
    stored, query, cells, k = search
    small = 4 * stored.shape[0] * max(stored.shape[1], len(cells)) * (maps_at_once or 10**6)
    limits = rerank.CHUNK_BYTES, float_side.AFFINITY_BYTES
    rerank.CHUNK_BYTES = float_side.AFFINITY_BYTES = small
    try:
        pruned, full = (
            rerank_by_query(
                query, stored, RerankOptions(k=k, threads=1, prune=prune), middle_of(stored, mode), cells=cells
            )
            for prune in (True, False)
        )
    finally:
        rerank.CHUNK_BYTES, float_side.AFFINITY_BYTES = limits
    assert pruned.rows.tolist() == full.rows.tolist()
    assert pruned.scores.tolist() == full.scores.tolist()
    assert pruned.exact
    assert pruned.solved + pruned.pruned == full.solved == len(stored.ids)


@settings(deadline=None, max_examples=80)
@given(searches(), MODES)
def test_scores_are_those_of_the_definition(search, mode):
    stored, query, cells, _ = search
    middle = middle_of(stored, mode)
    found = rerank_by_query(query, stored, RerankOptions(k=len(stored.ids), threads=1), middle, cells=cells)
    # Centred in the precision of the tokens, as they are: where all cancels, rounding decides what is left.
    single = np.float64 if stored.tokens.dtype == np.float64 else np.float32
    center = np.zeros(1, dtype=single) if middle.tokens is None else middle.tokens.astype(single)
    own = center[cells] if center.ndim == 2 else center
    expected = [
        score(
            (query.tokens.astype(single) - own).astype(np.float64), (tokens.astype(single) - center).astype(np.float64)
        )
        for tokens in stored.tokens
    ]
    np.testing.assert_allclose(found.scores, np.array(expected)[found.rows], atol=2e-5)
    assert (found.scores <= 1 + 1e-5).all()


@settings(deadline=None, max_examples=60)
@given(searches())
def test_a_picture_shows_all_of_its_own_parts_and_row_maxima_bound_the_matching(search):
    stored, _, cells, _ = search
    query = Query(tokens=stored.tokens[0][cells].astype(np.float64))
    everything = RerankOptions(k=len(stored.ids), threads=1)
    matched = rerank_by_query(query, stored, everything)
    loose = rerank_by_query(query, stored, RerankOptions(k=len(stored.ids), invariance="maxsim", threads=1))
    scores, bounds = (dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True)) for found in (matched, loose))
    assert abs(scores[0] - (1.0 if query.tokens.any() else 0.0)) < 1e-5
    assert all(scores[row] <= bounds[row] + 1e-6 for row in scores)
