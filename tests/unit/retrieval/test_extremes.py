"""Numbers at the ends of their range, and numbers that come in other libraries' types: right, or refused in a line."""

import math
import warnings

import numpy as np
import pytest

from semret import cka, matched_similarity, rsm
from semret.arrays import as_array
from semret.errors import ArgumentError, NonFiniteError, SemretError, ShapeError
from semret.retrieval.matching import match, match_batch
from semret.retrieval.search.candidates import InMemoryTokens, Query
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.rerank import rerank
from semret.retrieval.similarity.cka import hsic, minibatch_cka
from semret.retrieval.similarity.maps import prepare

INVARIANCES = "permutation", "none", "maxsim", "pooled"


@pytest.fixture
def pair():
    return np.random.default_rng(3).normal(size=(2, 6, 4))


@pytest.mark.parametrize("invariance", INVARIANCES)
@pytest.mark.parametrize(("one", "two"), [(1e-200, 1e-200), (1e200, 1e200), (1e-300, 1e300), (1e160, 1.0), (1e-165, 1)])
def test_the_cosine_does_not_depend_on_magnitude(pair, invariance, one, two):
    a, b = pair
    expected = matched_similarity(a, b, invariance=invariance)
    found = matched_similarity(a * one, b * two, invariance=invariance)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)
    assert found.bound >= found.score
    assert float(matched_similarity(a * one, a * one, invariance=invariance)) == pytest.approx(1, rel=1e-15)
    matrix = rsm(np.stack([a * one, b * one]), np.stack([a * two, b * two]), invariance=invariance)
    assert matrix[0, 1] == pytest.approx(float(expected), rel=1e-12)
    assert matrix.diagonal() == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize(("dtype", "small"), [("f8", 1e-200), ("f8", 1e-40), ("f4", 1e-33), ("f4", 1e-44)])
def test_a_token_beside_much_longer_ones_has_its_cosine(dtype, small):
    tokens = np.array([[3.0, 4.0, 0.0], [0.0, small, 0.0], [0.0, 0.0, small]], dtype=dtype)
    assert float(matched_similarity(tokens, tokens, invariance="maxsim")) == pytest.approx(1.0, rel=1e-7)
    other = tokens[:, ::-1].copy()
    expected = matched_similarity(np.sign(tokens) * [3, 4, 1], np.sign(other) * [1, 4, 3], invariance="maxsim")
    assert float(matched_similarity(tokens, other, invariance="maxsim")) == pytest.approx(float(expected), rel=1e-6)
    blank = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=dtype)
    assert float(matched_similarity(blank, blank, invariance="maxsim")) == 0.5


@pytest.mark.parametrize("invariance", INVARIANCES)
def test_other_kernels_give_what_float64_holds_and_refuse_the_rest(pair, invariance):
    a, b = pair
    inner = matched_similarity(a, b, kernel="linear", invariance=invariance).score
    found = matched_similarity(a * 2.0**700, b * 2.0**-700, kernel="linear", invariance=invariance)
    assert found.score == pytest.approx(inner, rel=1e-12)
    assert found.matched == pytest.approx(inner, rel=1e-12)
    with pytest.raises(NonFiniteError, match="linear score leaves float64; divide"):
        matched_similarity(a * 1e200, a * 1e200, kernel="linear", invariance=invariance)
    with pytest.raises(ArgumentError, match="squared distances leave float64; divide"):
        matched_similarity(a * 1e-200, b * 1e-200, kernel="rbf", invariance=invariance)
    with pytest.raises(SemretError, match="leave"):
        rsm(np.stack([a, b]) * 1e200, kernel=["linear", "cosine"], invariance=invariance)
    assert matched_similarity(a, b, kernel="rbf", sigma=1e200, invariance=invariance).score == 1.0
    assert matched_similarity(a, b, kernel="rbf", sigma=1e-200, invariance=invariance).score == 0.0


def test_centring_that_overflows_is_refused_by_name(pair):
    tokens = np.full((1, 2, 3), 3e38, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(NonFiniteError, match="tokens overflow float32 when the centre is subtracted"):
            prepare(tokens, np.full(3, -3e38))
        with pytest.raises(NonFiniteError, match="overflow float32"):
            matched_similarity(tokens[0], tokens[0], center=np.full(3, 1e39))
        with pytest.raises(NonFiniteError, match="tokens holds 1 NaN"):
            prepare(np.array([[[np.nan, 3e38]]], dtype=np.float32), np.full(2, -3e38))
        with pytest.raises(NonFiniteError, match="the mean of x overflows float64"):
            rsm(np.full((9, 2, 2), 1.7e308), center="channel")
        with pytest.raises(NonFiniteError, match="x holds 1 NaN"):
            rsm(np.array([[[np.nan]], [[1.0]]]), center="channel")


@pytest.mark.parametrize("prune", [True, False])
@pytest.mark.parametrize("invariance", INVARIANCES)
@pytest.mark.parametrize("scale", [1e-200, 1e-100, 1e100, 1e200])
def test_a_rerank_orders_maps_of_any_magnitude(invariance, scale, prune):
    rng = np.random.default_rng(1)
    query, tokens = rng.normal(size=(5, 4)), rng.normal(size=(8, 5, 4))
    options = RerankOptions(k=3, invariance=invariance)
    expected = rerank(Query(tokens=query, pooled=query.mean(0)), InMemoryTokens(tokens), options)
    large = Query(tokens=query * scale, pooled=query.mean(0))
    options = RerankOptions(k=3, invariance=invariance, prune=prune)
    found = rerank(large, InMemoryTokens(tokens * scale), options)
    if invariance == "pooled" and abs(math.log10(scale)) > 150:
        return
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.scores == pytest.approx(expected.scores, rel=1e-12)


def test_a_pooled_embedding_that_is_not_finite_is_refused():
    tokens = np.ones((4, 2, 3), dtype=np.float32)
    query = Query(tokens=tokens[0], pooled=np.array([np.nan, 0, 0]))
    with pytest.raises(NonFiniteError, match="the query's pooled embedding holds 1 NaN"):
        rerank(query, InMemoryTokens(tokens), RerankOptions(k=2, invariance="pooled"))


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e300])
def test_alignment_does_not_depend_on_magnitude(estimator, scale):
    x, y = np.random.default_rng(0).normal(size=(2, 7, 3))
    k, l = x @ x.T, y @ y.T  # noqa: E741
    assert cka(k, scale * k, estimator=estimator) == pytest.approx(1, rel=1e-12)
    expected = cka(k, l, estimator=estimator)
    assert cka(scale * k, l, estimator=estimator) == pytest.approx(expected, rel=1e-12)
    batches = [(k, l), (2 * l, k)]
    scaled = [(one * scale, other / scale) for one, other in batches]
    expected = minibatch_cka(batches, estimator=estimator)
    assert minibatch_cka(scaled, estimator=estimator) == pytest.approx(expected, rel=1e-12)
    assert hsic(scale * k, l / scale) == pytest.approx(hsic(k, l), rel=1e-12)


def test_an_hsic_beyond_float64_is_refused():
    k = np.diag([1e200, 2e200, 4e200])
    with pytest.raises(NonFiniteError, match="overflows float64"):
        hsic(k, k)


MASKED = np.ma.masked_array(np.ones((2, 3, 3)), mask=np.eye(3, dtype=bool)[None].repeat(2, axis=0))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: match(x[0]),
        lambda x: match_batch(x),
        lambda x: match(np.eye(3), row_norms=x[0][0], column_norms=[1, 2, 3], solver="greedy"),
        lambda x: matched_similarity(x[0], np.ones((3, 3))),
        lambda x: matched_similarity(np.ones((3, 3)), np.ones((3, 3)), center=x[0]),
        lambda x: rsm(x),
        lambda x: rsm(np.ones((2, 3, 3)), x),
        lambda x: cka(x[0], np.eye(3)),
        lambda x: rerank(Query(tokens=x[0]), InMemoryTokens(np.ones((2, 3, 3))), RerankOptions(k=1)),
    ],
)
def test_masked_ragged_and_wordy_input_is_refused(call):
    with pytest.raises(ArgumentError, match=r"(1|3|6) masked values"):
        call(MASKED)
    with pytest.raises(ArgumentError, match="masked values"):
        call(list(MASKED))
    with pytest.raises(ShapeError, match=r"expected rows of one length|expected \(3,\)"):
        call([[[1.0, 2.0], [3.0]]] * 2)
    with pytest.raises(ShapeError, match=r"dtype|axes|shape"):
        call([[["a", "b", "c"]] * 3] * 2)


def test_a_mask_that_hides_nothing_is_no_mask(pair):
    a, b = pair
    assert float(matched_similarity(np.ma.masked_array(a), b)) == float(matched_similarity(a, b))


def test_tensors_are_detached_and_cast(pair):
    torch = pytest.importorskip("torch")
    a, b = (torch.tensor(one, dtype=torch.float32) for one in pair)
    expected = matched_similarity(a.numpy(), b.numpy())
    grown = a.clone().requires_grad_()
    assert float(matched_similarity(grown, b)) == float(expected)
    assert match(grown @ b.T).assignment.tolist() == match(a.numpy() @ b.numpy().T).assignment.tolist()
    assert rsm([grown, b]).tolist() == rsm(np.stack([a.numpy(), b.numpy()])).tolist()
    assert rsm(torch.stack([grown, b])).tolist() == rsm(np.stack([a.numpy(), b.numpy()])).tolist()
    half = a.bfloat16()
    assert float(matched_similarity(half, half)) == 1.0
    assert as_array(half, "half").dtype == np.float32
    gram = (grown @ grown.T).detach().requires_grad_()
    assert cka(gram, gram) == pytest.approx(1.0)
    ranked = rerank(Query(tokens=grown), InMemoryTokens(torch.stack([b, a]).bfloat16().float()), RerankOptions(k=1))
    assert ranked.rows.tolist() == [1]
    for odd in (a.to_sparse(), torch.empty(2, 2, device="meta")):
        with pytest.raises(ShapeError, match=r"is a tensor of torch\.float32"):
            as_array(odd, "x")


def test_the_bound_of_a_huge_matching_is_no_warning():
    affinity = np.full((1, 40, 40), 1e306)
    found = match_batch(affinity, solver="identity")
    assert np.isfinite(found.values).all()
    assert found.gaps.tolist() == [0.0]
