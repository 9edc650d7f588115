"""Words of any collection, however it came about: what they hold, and which candidates they give."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from semret.index.shortlist.word_recall import shares, unit_tokens
from semret.index.shortlist.word_training import differing_words, write_trained_words, write_updated_words
from semret.index.shortlist.words import WordIndex, open_words, score_holders
from semret.integer_tokens import IntegerTokens
from semret.retrieval.search.candidates import InMemoryTokens, Query
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.query_scored import rerank_by_query

MANIFEST = SimpleNamespace(as_bytes=lambda: b"a manifest", identity=SimpleNamespace(grid=(2, 3)))
POSITIONS, DIMENSION = 6, 4


def maps(rng, count):
    integers = rng.integers(-127, 128, (count, POSITIONS, DIMENSION)).astype(np.int8)
    integers[rng.random((count, POSITIONS)) < 0.1] = 0
    return IntegerTokens(integers=integers, scales=rng.choice([0.0, 0.5, 2.0], (count, POSITIONS)).astype(np.float32))


def store(path, ids, tokens, lists=None):
    def read(rows):
        return tokens[rows]

    if lists is None:
        write_trained_words(path, MANIFEST, ids, read, least_examined=1)
    else:
        write_updated_words(path, MANIFEST, lists, ids, read)
    found = open_words(path, MANIFEST, (POSITIONS, DIMENSION), ids)
    assert found is not None
    return found


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 60), changes=st.integers(0, 3))
def test_words_are_those_of_the_tokens_whatever_came_and_went(seed, count, changes):
    rng = np.random.default_rng(seed)
    every = maps(rng, 200)
    with tempfile.TemporaryDirectory() as folder:
        here = np.sort(rng.choice(200, count, replace=False))
        lists = store(Path(folder) / "0", here + 1, every[here])
        for number in range(changes):
            here = np.sort(rng.choice(200, int(rng.integers(1, 90)), replace=False))
            lists = store(Path(folder) / f"{number + 1}", here + 1, every[here], lists)
        assert lists.ids.tolist() == (here + 1).tolist()
        assert differing_words(lists, here + 1, lambda rows: every[here][rows]) == 0
        assert all((np.diff(lists.holders(word)) > 0).all() for word in range(lists.words))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 50),
    lacking=st.integers(0, 10),
    examined=st.integers(1, 60),
    k=st.integers(1, 6),
)
def test_the_answer_is_the_exhaustive_one_among_the_candidates(seed, count, lacking, examined, k):
    rng = np.random.default_rng(seed)
    tokens, ids = maps(rng, count), np.sort(rng.choice(300, count, replace=False)) + 1
    listed = np.sort(rng.choice(count, max(count - lacking, 1), replace=False))
    query = maps(rng, 1)
    cells = np.sort(rng.choice(POSITIONS, int(rng.integers(1, 5)), replace=False))
    part = IntegerTokens(integers=query.integers[:, cells], scales=query.scales[:, cells])
    unit, lengths = unit_tokens(part)
    with tempfile.TemporaryDirectory() as folder:
        lists = store(Path(folder) / "words", ids[listed], tokens[listed])
        found = WordIndex(lists).candidates(unit[0], shares(lengths[0]), ids, examined)
        estimates = score_holders(
            unit[0], shares(lengths[0]), lists.centroids, lists.holders, probed=lists.probed, images=lists.images
        )
    new = np.setdiff1d(ids, ids[listed])
    best = ids[listed][np.lexsort((listed, -estimates))[:examined]]
    assert found.tolist() == np.union1d(new, best).tolist()
    chosen = np.searchsorted(ids, found)
    everything = InMemoryTokens(tokens, ids=ids)
    full = rerank_by_query(Query(tokens=part), everything, RerankOptions(k=count))
    among = rerank_by_query(
        Query(tokens=part), InMemoryTokens(tokens[chosen], ids=found), RerankOptions(k=min(k, len(found)))
    )
    wanted = [
        (int(ids[row]), score)
        for row, score in zip(full.rows.tolist(), full.scores.tolist(), strict=True)
        if ids[row] in found
    ]
    assert list(zip(found[among.rows].tolist(), among.scores.tolist(), strict=True)) == wanted[: len(among.rows)]
    if examined >= len(listed):
        assert found.tolist() == ids.tolist()
