"""Certified answers with copies and exclusions: what is pruned is what solving every content would rule out."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from semret.centers import Center
from semret.index.vectors import VectorIndex, normalise, products
from semret.retrieval.search.candidates import InMemoryTokens
from semret.retrieval.search.engine import SearchEngine
from semret.retrieval.search.options import SearchOptions
from semret.retrieval.search.query_pictures import Seen
from semret.retrieval.similarity.pairs import matched_similarity


class Kept:
    """A collection in memory, some of whose images have the same content."""

    def __init__(self, tokens: np.ndarray, content: np.ndarray, ids: np.ndarray) -> None:
        self._tokens, self._content, self.ids = tokens, content, ids
        self.pooled = tokens.astype(np.float32).mean(axis=1)[content]
        self._mean = self.pooled.mean(axis=0, dtype=np.float64)
        self.vectors = VectorIndex(ids, normalise(self.pooled, self._mean))

    def __len__(self):
        return len(self.ids)

    def rows(self, ids):
        return np.searchsorted(self.ids, np.asarray(ids, dtype=np.int64))

    def paths(self, ids):
        return [f"{id_}.png" for id_ in ids]

    def hash_of(self, id_):
        return f"{self._content[self.rows([id_])[0]]:064x}"

    def hashes(self, ids):
        return [self.hash_of(id_) for id_ in ids]

    def find_hash(self, sha256):
        return next((int(id_) for id_ in self.ids if self.hash_of(id_) == sha256), None)

    def find_path(self, path):  # noqa: ARG002 - no query comes from a file
        return None

    def shortlist(self, pooled, length):
        return self.vectors.search(normalise(pooled, self._mean), length)

    def pooled_scores(self, pooled, ids):
        return products(normalise(pooled[None], self._mean)[0], self.vectors.vectors[self.rows(ids)])

    @property
    def features(self):
        return self

    def center(self, mode):
        return Center(mode=mode, channel=self.all_tokens.mean(axis=(0, 1), dtype=np.float64).astype(np.float32))

    @property
    def all_tokens(self):
        return self._tokens[self._content]

    def firsts(self, rows):
        return np.array([np.flatnonzero(self._content == self._content[row])[0] for row in rows], dtype=np.intp)

    def copies(self, id_):
        return self.ids[self._content == self._content[self.rows([id_])[0]]]

    def source(self, ids, center):
        assert center != "none"
        rows = self.rows(ids)
        return InMemoryTokens(self.all_tokens[rows], ids=ids, pooled=self.pooled[rows])


class Searched(SearchEngine):
    """An engine whose queries are images of the collection, given by id."""

    def _seen(self, image, region):
        assert region is None
        row = self.collection.rows([int(image)])[0]
        return Seen(
            self.collection.all_tokens[row],
            self.collection.pooled[row],
            image,
            content=self.collection.hash_of(int(image)),
        )


@st.composite
def collections(draw):
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    contents, images = draw(st.integers(1, 12)), draw(st.integers(1, 40))
    tokens = generator.integers(-1, 2, size=(contents, 4, 3)) + draw(st.sampled_from([0, 0.2])) * generator.normal(
        size=(contents, 4, 3)
    )
    content = generator.integers(0, contents, size=images)
    ids = np.sort(generator.choice(500, size=images, replace=False)).astype(np.int64)
    return Kept(tokens.astype(np.float32), content, ids)


def by_hand(kept, query, excluded):
    """Return ``(score, id, copies)`` of every content, best first, each solved."""
    center = kept.center("channel").channel
    groups = {}
    for id_ in kept.ids.tolist():
        if id_ not in excluded:
            groups.setdefault(kept.hash_of(id_), []).append(id_)
    tokens = {id_: kept.all_tokens[kept.rows([id_])[0]] for id_ in kept.ids.tolist()}
    found = [
        (float(matched_similarity(tokens[query], tokens[group[0]], center=center)), group[0], tuple(group))
        for group in groups.values()
    ]
    return sorted(found, key=lambda one: (-one[0], one[1]))


@settings(deadline=None, max_examples=120)
@given(collections(), st.data())
def test_exhaustive_answers_are_those_of_solving_every_content(kept, data):
    query = data.draw(st.sampled_from(kept.ids.tolist()))
    excluding, k = data.draw(st.booleans()), data.draw(st.integers(1, 15))
    same = {id_ for id_ in kept.ids.tolist() if kept.hash_of(id_) == kept.hash_of(query)} if excluding else set()
    options = SearchOptions(k=k, exhaustive=True, exclude_self=excluding)
    result = Searched(kept).search(str(query), options)
    expected = by_hand(kept, query, same)[:k]
    assert [(hit.score, hit.id, hit.ids) for hit in result] == expected
    assert result.stats.solved + result.stats.pruned == result.stats.shortlist
    assert Searched(kept).search(str(query), SearchOptions(k=k, exclude_self=excluding)).hits == tuple(
        _without_mark(hit) for hit in result
    )


@settings(deadline=None, max_examples=120)
@given(collections(), st.data())
def test_a_shortlist_holds_the_nearest_contents(kept, data):
    query, length = data.draw(st.sampled_from(kept.ids.tolist())), data.draw(st.integers(1, 15))
    excluding = data.draw(st.booleans())
    same = {id_ for id_ in kept.ids.tolist() if kept.hash_of(id_) == kept.hash_of(query)} if excluding else set()
    firsts = [one[1] for one in by_hand(kept, query, same)]
    scores = kept.pooled_scores(kept.pooled[kept.rows([query])[0]], np.array(firsts, dtype=np.int64))
    nearest = {id_ for _, id_ in sorted(zip((-scores).tolist(), firsts, strict=True))[:length]}
    options = SearchOptions(k=length, shortlist=length, exclude_self=excluding)
    result = Searched(kept).search(str(query), options)
    assert {hit.id for hit in result} == nearest
    assert [(hit.score, hit.id, hit.ids) for hit in result] == [
        one for one in by_hand(kept, query, same) if one[1] in nearest
    ]


def _without_mark(hit):
    return type(hit)(hit.rank, hit.id, hit.path, hit.score, hit.pooled_score, hit.ids, hit.paths)
