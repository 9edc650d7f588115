"""The shares of an explanation sum to the score of a search, bit for bit."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from semret.integer_tokens import IntegerTokens
from semret.retrieval.search.candidates import InMemoryTokens, Query
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.rerank import rerank
from semret.retrieval.similarity.integer_maps import prepare_integers
from semret.retrieval.similarity.maps import prepare
from semret.retrieval.similarity.shares import share_out


@st.composite
def comparisons(draw):
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, positions, channels = draw(st.tuples(st.integers(1, 12), st.integers(1, 20), st.integers(1, 9)))
    invariance = draw(st.sampled_from(["permutation", "none", "maxsim"]))
    own = positions if invariance == "none" else draw(st.integers(1, 20))
    maps = [generator.normal(size=shape) for shape in ((1, own, channels), (count, positions, channels))]
    if draw(st.booleans()):
        maps = [np.abs(one) for one in maps]
    kind = draw(st.sampled_from(["float16", "float32", "float64", "integers"]))
    if kind == "integers":
        made = [
            IntegerTokens(
                integers=np.clip(40 * one, -127, 127).astype(np.int8),
                scales=np.abs(generator.normal(size=one.shape[:2])).astype(np.float32),
            )
            for one in maps
        ]
        return made[0], made[1], prepare_integers, invariance
    made = [one.astype(kind) for one in maps]
    return made[0], made[1], prepare, invariance


@given(comparisons(), st.sampled_from(["cosine", "linear"]), st.sampled_from(["auction", "scipy", "greedy"]))
@settings(max_examples=150, deadline=None)
def test_shares_sum_to_the_score_of_a_search(comparison, kernel, solver):
    query, tokens, ready, invariance = comparison
    modes = {"kernel": kernel, "invariance": invariance, "solver": solver}
    asked = Query(tokens=query if isinstance(query, IntegerTokens) else query[0])
    ranked = rerank(asked, InMemoryTokens(tokens), RerankOptions(k=len(tokens), **modes))
    for row, score in zip(ranked.rows, ranked.scores, strict=True):
        found = share_out(ready(query), ready(tokens[row : row + 1]), **modes)
        assert found.score == score
        assert (found.shares[found.partners < 0] == 0).all()
        largest = np.abs(found.shares).max()
        # Shares that cancel each other may be too coarse for their sum.
        assert math.fsum(found.shares) == score or abs(math.fsum(found.shares) - score) <= np.spacing(largest)
        if (found.shares >= 0).all():
            assert math.fsum(found.shares) == score
        if invariance == "permutation":
            matched = found.partners[found.partners >= 0]
            assert len(set(matched.tolist())) == len(matched) == min(len(found.partners), tokens.shape[1])
