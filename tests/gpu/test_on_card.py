"""What only a card can show: sizes that no interpreter reaches, against SciPy and the processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import semret
from semret.integer_tokens import IntegerTokens
from semret.retrieval.matching.cuda import match_on_device
from semret.retrieval.matching.cuda_tokens import DeviceMaps, match_pairs
from semret.retrieval.search.candidates import InMemoryTokens, Query
from semret.retrieval.search.device_maps import MapsOnDevice
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.rerank import rerank
from semret.retrieval.similarity.integer_maps import match_integers, prepare_integers

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="gpu: torch finds no CUDA device"),
]


def affinities_of(kind, count, shape):
    rng = np.random.default_rng(0)
    if kind == "ties":
        return rng.integers(0, 100, (count, *shape)).astype(np.float32)
    if kind == "features":
        base = rng.standard_normal((count, max(shape), 24))
        other = base + 0.7 * rng.standard_normal(base.shape)
        return (base[:, : shape[0]] @ other[:, rng.permutation(max(shape))].transpose(0, 2, 1)).astype(np.float32)
    return rng.random((count, *shape)).astype(np.float32)


@pytest.mark.parametrize("kind", ["uniform", "ties", "features"])
@pytest.mark.parametrize("shape", [(49, 49), (144, 144), (10, 144), (256, 256), (300, 512), (1024, 1024), (4096, 4096)])
def test_optimal_and_proven(shape, kind):
    count = 1 if max(shape) > 1024 else 4
    affinities = affinities_of(kind, count, shape)
    found = match_on_device(torch.from_numpy(affinities).cuda())
    for one, value in zip(affinities.astype(np.float64), found.values.tolist(), strict=True):
        rows, columns = linear_sum_assignment(one, maximize=True)
        assert value == pytest.approx(one[rows, columns].sum(), rel=1e-12)
    assert found.gaps.tolist() == [0.0] * count


def test_the_same_on_every_run():
    affinities = torch.from_numpy(affinities_of("features", 512, (256, 256))).cuda()
    first, second = match_on_device(affinities), match_on_device(affinities)
    for name in ("assignments", "values", "bounds"):
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_integer_tokens_as_on_the_processor_to_the_bit():
    rng = np.random.default_rng(1)
    integers = rng.integers(-127, 128, (40, 144, 64)).astype(np.int8)
    tokens = IntegerTokens(integers=integers, scales=rng.random((40, 144)).astype(np.float32))
    maps = DeviceMaps(tokens=torch.from_numpy(integers).cuda(), scales=torch.from_numpy(tokens.scales).cuda())
    first, second = np.divmod(np.arange(1600), 40)
    found, _ = match_pairs(maps, maps, torch.from_numpy(first).cuda(), torch.from_numpy(second).cuda())
    prepared = prepare_integers(tokens)
    expected = [match_integers(prepared[i : i + 1], prepared).matched for i in range(40)]
    assert found.values.cpu().tolist() == np.concatenate(expected).tolist()


def test_a_search_on_the_card_is_that_of_the_processor():
    rng = np.random.default_rng(2)
    base = rng.integers(-100, 101, (1, 144, 64))
    integers = np.clip(base + rng.integers(-60, 61, (3000, 144, 64)), -127, 127).astype(np.int8)
    source = InMemoryTokens(IntegerTokens(integers=integers, scales=rng.random((3000, 144)).astype(np.float32)))
    query = Query(tokens=source.tokens[7:8], excluded=np.array([7]))
    for kernel in ("cosine", "linear", "rbf"):
        options = RerankOptions(k=10, kernel=kernel)
        found = rerank(query, source, options, narrow=MapsOnDevice(source, "cuda").left)
        plain = rerank(query, source, options)
        assert found.rows.tolist() == plain.rows.tolist()
        assert found.scores.tolist() == plain.scores.tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_matrix_on_the_card(dtype):
    maps = np.random.default_rng(3).standard_normal((30, 144, 320)).astype(dtype)
    found = semret.rsm(maps, kernel=["cosine", "linear", "rbf"], device="cuda")
    plain = semret.rsm(maps, kernel=["cosine", "linear", "rbf"])
    for kernel, matrix in plain.items():
        np.testing.assert_allclose(found[kernel], matrix, rtol=1e-6, atol=1e-9)


def test_tensors_stay_on_their_device():
    costs = torch.rand((8, 100, 17), device="cuda")
    found = semret.match_batch(costs, cost=True)
    assert found.assignments.is_cuda
    assert found.exact
    for k in range(8):
        rows, columns = linear_sum_assignment(costs[k].cpu().numpy())
        assert [side.tolist() for side in found.pairs(k)] == [rows.tolist(), columns.tolist()]
