"""What a device leaves of an index holds the best k, and the search over it is that of the processor to the bit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from semret.centers import Center
from semret.integer_tokens import IntegerTokens
from semret.retrieval.search import device_maps
from semret.retrieval.search.candidates import InMemoryTokens, Query
from semret.retrieval.search.device_maps import MapsOnDevice
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.query_scored import rerank_by_query
from semret.retrieval.search.rerank import rerank, rerank_stream
from tests.support import interpreter  # noqa: F401 - makes it quicker

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def maps_of(rng, count, positions, channels, kind):
    integers = rng.integers(-127, 128, (count, positions, channels)).astype(np.int8)
    if kind == "few values":
        integers = rng.integers(-1, 2, (count, positions, channels)).astype(np.int8)
    if kind == "copies":
        integers[count // 2 :] = integers[: count - count // 2, ::-1]
    scales = rng.random((count, positions)).astype(np.float32)
    scales[rng.random((count, positions)) < 0.1] = 0.0
    return IntegerTokens(integers=integers, scales=scales)


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["dense", "few values", "copies"]),
    kernel=st.sampled_from(["cosine", "linear", "rbf"]),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    k=st.integers(1, 4),
    sigma=st.sampled_from([None, 0.0, 1e-161, 3.0, 1e10, 1e200]),
)
@example(seed=0, kind="dense", kernel="rbf", sizes=(4, 4), k=2, sigma=3.0)
@example(seed=0, kind="dense", kernel="rbf", sizes=(4, 4), k=2, sigma=1e10)
@example(seed=0, kind="dense", kernel="rbf", sizes=(4, 4), k=2, sigma=1e200)  # its square is beyond float64
def test_the_same_hits_and_scores(seed, kind, kernel, sizes, k, sigma):
    rng = np.random.default_rng(seed)
    source = InMemoryTokens(maps_of(rng, 9, sizes[1], 7, kind), ids=np.sort(rng.choice(99, 9, replace=False)))
    query = Query(tokens=maps_of(rng, 1, sizes[0], 7, "dense"), excluded=source.ids[2:3])
    options = RerankOptions(k=k, kernel=kernel, threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_maps, "_PROMISING", 2)
        maps = MapsOnDevice(source, DEVICE)
        found = rerank(query, source, options, sigma=sigma, narrow=maps.left)
        plain = rerank(query, source, options, sigma=sigma)
        assert found.rows.tolist() == plain.rows.tolist()
        assert found.scores.tolist() == plain.scores.tolist()
        assert found.solved + found.pruned == 8
        scored = rerank_by_query(query, source, options, narrow=partial(maps.left, levelled=True))
        expected = rerank_by_query(query, source, options)
        assert scored.rows.tolist() == expected.rows.tolist()
        assert scored.scores.tolist() == expected.scores.tolist()


@pytest.mark.parametrize(("room", "said"), [(0, "0 of 8"), (5, "5 of 8"), (8, "all")])
def test_what_does_not_fit_is_streamed(room, said, monkeypatch):
    rng = np.random.default_rng(0)
    source = InMemoryTokens(maps_of(rng, 8, 5, 9, "dense"))
    each = 5 * (9 + 4) + 8
    monkeypatch.setattr(device_maps, "CHUNK_BYTES", 3 * each)
    monkeypatch.setattr(device_maps, "_room", lambda _: room * each)
    maps = MapsOnDevice(source, DEVICE, share=1.0)
    assert str(maps) == f"{said} on {DEVICE}"
    query = Query(tokens=maps_of(rng, 1, 5, 9, "dense"))
    found, plain = (rerank(query, source, RerankOptions(k=2), narrow=each) for each in (maps.left, None))
    assert (found.rows.tolist(), found.scores.tolist()) == (plain.rows.tolist(), plain.scores.tolist())


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kernel=st.sampled_from(["cosine", "linear", "rbf"]),
    kind=st.sampled_from(["float16", "float32", "float64", "integers", "huge"]),
    k=st.integers(1, 3),
    sigma=st.sampled_from([0.0, 1e-161, 3.0, 200.0, 1e10, 1e200]),
)
@example(seed=0, kernel="rbf", kind="integers", k=1, sigma=3.0)  # all scores are 0, in float64
@example(seed=0, kernel="rbf", kind="integers", k=1, sigma=1e10)  # all scores are 1
def test_a_stream_gives_the_same_hits_and_scores(seed, kernel, kind, k, sigma):
    rng = np.random.default_rng(seed)
    if kind == "integers":
        tokens, asked = maps_of(rng, 8, 4, 6, "dense"), maps_of(rng, 2, 5, 6, "dense")
        queries = [Query(tokens=asked[i : i + 1]) for i in range(2)]
        center = None
    else:
        dtype = "float32" if kind == "huge" else kind
        tokens = (rng.standard_normal((8, 4, 6)) * (1e17 if kind == "huge" else 1)).astype(dtype)
        tokens[6] = tokens[1, ::-1]
        queries = [Query(tokens=rng.standard_normal((5, 6)).astype("float32")) for _ in range(2)]
        center = Center(mode="channel", channel=tokens.mean(axis=(0, 1), dtype=np.float64).astype(np.float32))
    queries[1] = replace(queries[1], excluded=np.array([0, 5]))
    options = RerankOptions(k=k, kernel=kernel, threads=1)
    ids = np.arange(8)

    def stream():
        yield ids[:5], tokens[:5]
        yield ids[5:5], tokens[5:5]
        yield ids[5:], tokens[5:]

    found, plain = (
        rerank_stream(queries, stream(), options, center=center, sigma=sigma, device=device)
        for device in (DEVICE, None)
    )
    for one, other in zip(found, plain, strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.scores.tolist() == other.scores.tolist()
        assert one.solved + one.pruned == other.solved + other.pruned


def test_bounds_rule_out_most_of_what_is_unlike():
    rng = np.random.default_rng(4)
    tokens = maps_of(rng, 40, 6, 16, "dense")
    near = rng.integers(0, 40)
    integers = np.clip(tokens.integers[[near], ::-1].astype(int) + rng.integers(-5, 6, (1, 6, 16)), -127, 127)
    query = IntegerTokens(integers=integers.astype(np.int8), scales=tokens.scales[[near], ::-1])
    source = InMemoryTokens(tokens)
    found = rerank(Query(tokens=query), source, RerankOptions(k=1), narrow=MapsOnDevice(source, DEVICE).left)
    assert found.rows.tolist() == [near]
    assert found.solved <= 3
