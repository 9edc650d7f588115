"""Candidates in memory: what is computed of them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from semret.errors import ArgumentError, NonFiniteError, ShapeError
from semret.retrieval.search.candidates import InMemoryTokens, Query
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.rerank import rerank

TOKENS = np.array([[[3.0, 0.0], [0.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i8"])
def test_norms_and_means_are_those_of_the_tokens(dtype):
    source = InMemoryTokens(TOKENS.astype(dtype))
    assert source.shape == (2, 2)
    assert source.norms.tolist() == [5.0, 2.0]
    assert source.means.tolist() == [[1.5, 2.0], [1.0, 1.0]]
    assert source.means.dtype == (np.float64 if dtype == "f8" else np.float32)
    assert source.pooled is source.means
    assert source.ids.tolist() == [0, 1]
    assert source.read(np.array([1])).tolist() == TOKENS[1:].tolist()


def test_an_array_is_not_copied():
    tokens = TOKENS.astype(np.float16)
    assert InMemoryTokens(tokens).tokens is tokens


def test_half_precision_is_summed_in_double():
    source = InMemoryTokens(np.full((1, 300, 300), 256.0, dtype=np.float16))
    assert source.norms.tolist() == [256.0 * 300]
    assert source.means[0, 0] == 256.0


def test_ids_decide_ties_and_pooled_embeddings_may_be_given():
    source = InMemoryTokens(np.stack([TOKENS[0]] * 3), ids=[30, 10, 20], pooled=[[1.0], [2.0], [-1.0]])
    assert rerank(Query(tokens=TOKENS[0]), source, RerankOptions(k=3)).rows.tolist() == [1, 2, 0]
    query = Query(tokens=TOKENS[0], pooled=np.array([1.0]))
    assert rerank(query, source, RerankOptions(k=3, kernel="linear", invariance="pooled")).rows.tolist() == [1, 0, 2]


def test_no_candidates_have_no_best():
    assert rerank(Query(tokens=TOKENS[0]), InMemoryTokens(TOKENS[:0]), RerankOptions(k=3)).rows.tolist() == []


def test_what_is_no_set_of_maps_is_refused():
    with pytest.raises(ShapeError, match=r"has shape \(2, 2\), expected 3 axes \(K, S, C\)"):
        InMemoryTokens(TOKENS[0])
    with pytest.raises(ShapeError, match=r"shape \(2, 0, 2\) and dtype float64, expected numbers, with at least"):
        InMemoryTokens(TOKENS[:, :0])
    with pytest.raises(ShapeError, match="dtype complex128"):
        InMemoryTokens(TOKENS.astype(complex))
    with pytest.raises(ShapeError, match=r"ids has shape \(1,\), expected 1 axes, the first of length 2"):
        InMemoryTokens(TOKENS, ids=[1])
    with pytest.raises(ShapeError, match=r"pooled has shape \(2,\), expected 2 axes"):
        InMemoryTokens(TOKENS, pooled=[1.0, 2.0])
    with pytest.raises(ArgumentError, match="masked"):
        InMemoryTokens(np.ma.masked_equal(TOKENS, 3.0))


def test_values_that_are_not_finite_are_refused_by_the_rerank_that_reads_them():
    source = InMemoryTokens(np.array([[[np.nan, 1.0]], [[np.inf, 1.0]]]))
    with pytest.raises(NonFiniteError, match="the candidates' tokens"):
        rerank(Query(tokens=np.ones((1, 2))), source, RerankOptions(k=2))
