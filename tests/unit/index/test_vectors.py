"""The shortlist: exact, the same whoever scans, and nothing believed that a file says."""

import faiss
import numpy as np
import pytest

from semret.errors import ArgumentError, ShapeError
from semret.index import vectors
from semret.index.store.shortlist_file import read_shortlist, write_shortlist
from semret.index.vectors import VectorIndex, normalise

MARK = bytes(range(32))


def unit(rng, *shape):
    return normalise(rng.standard_normal(shape), np.zeros(shape[-1]))


def brute_force(queries, ids, database, length):
    found = []
    for query in queries.astype("f8"):
        scores = database.astype("f8") @ query
        found.append([ids[row] for row in sorted(range(len(ids)), key=lambda row: (-scores[row], ids[row]))[:length]])
    return found


@pytest.mark.parametrize("scanner", ["products", "faiss"])
@pytest.mark.parametrize(("count", "length"), [(1, 1), (50, 1), (50, 7), (50, 50), (50, 80), (400, 20)])
def test_search_is_brute_force_with_ties_by_id(scanner, count, length, monkeypatch):
    monkeypatch.setattr(vectors, "FAISS_PRODUCTS", 1 if scanner == "faiss" else 10**12)
    rng = np.random.default_rng(count + length)
    database = unit(rng, count, 8)
    database[rng.integers(0, count, count // 2)] = database[0]
    database[count // 3] = 0
    ids = np.sort(rng.choice(10_000, count, replace=False))
    queries = np.concatenate([unit(rng, 4, 8), database[:1], np.zeros((1, 8), "f4")])
    index = VectorIndex(ids, database)
    found = index.search(queries, length)
    assert found.ids.tolist() == brute_force(queries, ids, database, length)
    assert found.ids.shape == found.scores.shape == (6, min(length, count))
    assert np.all(np.diff(found.scores, axis=1) <= 0)
    assert (index._faiss is not None) == (scanner == "faiss")


def test_nearly_equal_scores_are_told_apart(monkeypatch):
    base = np.zeros((300, 600))
    base[:, 0] = 1.0
    base[:, 1] = np.linspace(0, 3e-6, 300)
    database = base.astype("f4")
    query = np.zeros((1, 600), "f4")
    query[0, :2] = 1.0, 1.0
    expected = brute_force(query, np.arange(300), database, 10)
    for threshold in (1, 10**12):
        monkeypatch.setattr(vectors, "FAISS_PRODUCTS", threshold)
        assert VectorIndex(np.arange(300), database).search(query, 10).ids.tolist() == expected


def test_an_empty_index_answers_with_nothing():
    found = VectorIndex(np.zeros(0, "i8"), np.zeros((0, 5), "f4")).search(np.ones((2, 5), "f4"), 3)
    assert found.ids.shape == (2, 0)


def test_unfit_arguments_are_named():
    index = VectorIndex(np.arange(3), np.eye(3, dtype="f4"))
    with pytest.raises(ArgumentError, match="a shortlist of 0 was asked for"):
        index.search(np.ones((1, 3), "f4"), 0)
    with pytest.raises(ShapeError, match="the query has 4 dimensions, the index 3"):
        index.search(np.ones((1, 4), "f4"), 1)
    with pytest.raises(ShapeError, match="there are 2 ids but 3 vectors"):
        VectorIndex(np.arange(2), np.eye(3, dtype="f4"))


def test_normalise_subtracts_then_scales_and_keeps_zero():
    found = normalise(np.array([[4.0, 4.0], [1.0, 0.0]]), np.array([1.0, 0.0]))
    assert found == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0]]))


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (17, 5)])
def test_the_file_is_one_that_faiss_reads(shape, tmp_path):
    database = np.random.default_rng(0).standard_normal(shape).astype("f4")
    path = tmp_path / "shortlist.faiss"
    write_shortlist(path, database, MARK)
    read = faiss.read_index(str(path))
    assert isinstance(read, faiss.IndexFlatIP)
    assert (read.ntotal, read.d) == shape
    if shape[0]:
        assert np.array_equal(read.reconstruct_n(0, shape[0]), database)
    assert np.array_equal(read_shortlist(path, shape, MARK), database)


def test_a_file_of_another_state_shape_or_none_is_not_used(tmp_path):
    path = tmp_path / "shortlist.faiss"
    assert read_shortlist(path, (4, 6), MARK) is None
    write_shortlist(path, np.ones((4, 6), "f4"), MARK)
    assert read_shortlist(path, (4, 6), MARK[::-1]) is None
    assert read_shortlist(path, (6, 4), MARK) is None
    assert read_shortlist(path, (2, 6), MARK) is None


def test_any_flipped_or_missing_byte_makes_the_file_unused(tmp_path):
    path = tmp_path / "shortlist.faiss"
    write_shortlist(path, np.random.default_rng(0).standard_normal((4, 6)).astype("f4"), MARK)
    raw = path.read_bytes()
    for position in range(len(raw)):
        path.write_bytes(raw[:position] + bytes([raw[position] ^ 0x41]) + raw[position + 1 :])
        assert read_shortlist(path, (4, 6), MARK) is None, position
        path.write_bytes(raw[:position])
        assert read_shortlist(path, (4, 6), MARK) is None, position
