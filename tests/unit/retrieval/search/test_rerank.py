"""Hand-made cases and refusals; that pruning changes nothing is in tests/property."""

from __future__ import annotations

import numpy as np
import pytest

from semret.centers import Center
from semret.errors import ArgumentError, NonFiniteError, ShapeError, UnknownNameError
from semret.retrieval.search.candidates import InMemoryTokens, Query
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.rerank import rerank, rerank_stream
from semret.retrieval.similarity.kernels import median_bandwidth


def stored(tokens):
    return InMemoryTokens(tokens, ids=np.arange(len(tokens)) + 10)


@pytest.fixture
def corners():
    """Three candidates of two tokens: the query turned round, a stranger, and the query's copy."""
    return np.array([[[0, 1], [1, 0]], [[-1, 0], [0, 1]], [[1, 0], [0, 1]]], dtype=np.float32)


def test_hand_computed_order_with_a_tie_decided_by_id(corners):
    found = rerank(Query(tokens=corners[2]), stored(corners), RerankOptions(k=3, kernel="linear"))
    assert found.rows.tolist() == [0, 2, 1]
    assert found.scores.tolist() == [2.0, 2.0, 1.0 - 1.0 + 0.0 + 0.0]
    assert (found.solved, found.pruned, found.exact) == (3, 0, True)
    assert set(found.seconds) == {"read", "match"}


def test_no_second_counts_for_two_stages(corners, ticks):
    begun = ticks()
    found = rerank(Query(tokens=corners[2]), stored(np.tile(corners, (4, 1, 1))), RerankOptions(k=2))
    assert found.pruned + found.solved == 12
    assert all(value > 0 for value in found.seconds.values())
    assert sum(found.seconds.values()) <= ticks() - begun


def test_same_positions_tell_the_turned_one_apart(corners):
    found = rerank(Query(tokens=corners[2]), stored(corners), RerankOptions(k=3, kernel="linear", invariance="none"))
    assert found.rows.tolist() == [2, 0, 1]
    assert found.scores.tolist() == [2.0, 0.0 + 0.0, -1.0 + 1.0]
    assert (found.solved, found.pruned) == (0, 0)


def test_default_bandwidth_is_the_median_over_the_candidates(corners):
    source, query = stored(corners), Query(tokens=corners[2])
    expected = 2 + source.norms**2 - 2 * 2 * (source.means.astype(np.float64) @ corners[2].mean(axis=0))
    sigma = median_bandwidth(expected)
    plain, given = (rerank(query, source, RerankOptions(k=3, kernel="rbf"), sigma=value) for value in (None, sigma))
    np.testing.assert_allclose(plain.scores, given.scores, rtol=1e-12)
    np.testing.assert_allclose(plain.scores[2], np.exp(-4 / (2 * sigma**2)), rtol=1e-12)


def test_excluded_candidates_never_return(corners):
    query = Query(tokens=corners[2], pooled=corners[2].mean(axis=0), excluded=np.array([10, 99]))
    for invariance in ("permutation", "pooled", "maxsim"):
        assert 0 not in rerank(query, stored(corners), RerankOptions(k=3, invariance=invariance)).rows


def test_fewer_candidates_than_k(corners):
    assert len(rerank(Query(tokens=corners[2]), stored(corners), RerankOptions(k=9)).rows) == 3
    everything = Query(tokens=corners[2], excluded=np.array([10, 11, 12]))
    assert len(rerank(everything, stored(corners), RerankOptions(k=2, kernel="rbf")).rows) == 0


def test_pooled_embeddings_are_compared_without_reading_tokens(corners):
    source = stored(corners)
    source.read = None
    middle = Center(pooled=np.array([0.5, 0.0], dtype=np.float32))
    query = Query(tokens=corners[2], pooled=np.array([0.5, 1.0], dtype=np.float32))
    found = rerank(query, source, RerankOptions(k=3, kernel="linear", invariance="pooled"), center=middle)
    assert found.scores.tolist() == [0.5, 0.5, 0.5]
    assert found.rows.tolist() == [0, 1, 2]


def test_an_empty_stream_finds_nothing(corners):
    (found,) = rerank_stream([Query(tokens=corners[0])], [], RerankOptions(k=3))
    assert len(found.rows) == found.solved == found.pruned == 0


def test_refusals(corners):
    source, query = stored(corners), Query(tokens=corners[2])
    with pytest.raises(ArgumentError, match="k is 0, expected at least 1"):
        rerank(query, source, RerankOptions(k=0))
    with pytest.raises(ShapeError, match="same number of channels"):
        rerank(Query(tokens=np.ones((2, 3))), source, RerankOptions(k=1))
    with pytest.raises(ArgumentError, match="query's pooled embedding"):
        rerank(query, source, RerankOptions(k=1, invariance="pooled"))
    with pytest.raises(UnknownNameError, match="did you mean auction"):
        rerank(query, source, RerankOptions(k=1, solver="auktion"))
    with pytest.raises(ArgumentError, match="pass sigma"):
        rerank_stream([query], [], RerankOptions(k=1, kernel="rbf"))
    with pytest.raises(ArgumentError, match="no pooled embeddings"):
        rerank_stream([query], [], RerankOptions(k=1, invariance="pooled"))
    with pytest.raises(ArgumentError, match="2 bandwidths for 1 queries"):
        rerank_stream([query], [], RerankOptions(k=1, kernel="rbf"), sigma=[1.0, 2.0])
    broken = corners.copy()
    broken[1, 0, 0] = np.inf
    for invariance in ("permutation", "none"):
        with pytest.raises(NonFiniteError):
            rerank(query, stored(broken), RerankOptions(k=1, invariance=invariance))
