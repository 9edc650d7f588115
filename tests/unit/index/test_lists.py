"""Inverted lists: exact scores of what they find, images that come and go, and nothing believed that a file says."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from semret.errors import ArgumentError, IndexCorruptError, ShapeError
from semret.index import nearest as nearest_module
from semret.index import refresh as refresh_module
from semret.index.care.maintain import remove
from semret.index.care.repair import repair
from semret.index.care.verify import verify
from semret.index.collection import Collection
from semret.index.shortlist.list_index import ListIndex
from semret.index.shortlist.lists import missing_in, open_lists
from semret.index.shortlist.training import LEAST_RECALL, write_trained, write_updated
from semret.index.summary import summarise
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.index.vectors import VectorIndex, normalise
from tests.support.displays import Waits

MANIFEST = SimpleNamespace(as_bytes=lambda: b"a manifest")
NOBODY = np.zeros(0, dtype=np.intp)


def clustered(count, dimension=24, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(count // 20, 1), dimension))
    vectors = normalise(centres[rng.integers(0, len(centres), count)] + 0.3 * rng.standard_normal((count, dimension)),
                        np.zeros(dimension))  # fmt: skip
    vectors[count // 3] = 0
    vectors[count // 2 : count // 2 + 3] = vectors[0]
    return np.sort(rng.choice(3 * count, count, replace=False)) + 1, vectors


def trained(path, ids, vectors):
    write_trained(path, MANIFEST, ids, lambda rows: vectors[rows])
    found = open_lists(path, MANIFEST, vectors.shape[1], ids)
    assert found is not None
    return found


def index_of(lists, ids, vectors):
    return ListIndex(lists, ids, missing_in(lists, ids), lambda rows: vectors[rows])


def same(found, expected):
    assert found.ids.tolist() == expected.ids.tolist()
    assert found.scores.tolist() == expected.scores.tolist()


@pytest.mark.parametrize("count", [1, 2, 40, 900])
def test_what_the_searched_lists_hold_is_ranked_as_a_flat_search_ranks_it(count, tmp_path):
    ids, vectors = clustered(count)
    lists = trained(tmp_path / "lists", ids, vectors)
    assert lists.recall >= LEAST_RECALL
    queries = np.concatenate([vectors[:5], clustered(30, seed=7)[1], np.zeros((1, 24), "f4")])
    for probed in {1, lists.probed, lists.lists}:
        lists.probed = probed
        for length in {1, 7, count, count + 5}:
            for query in queries:
                found = index_of(lists, ids, vectors).search(query[None], length)
                last = probed
                while len(lists.near(query, 0, last)[0]) < min(length, count):
                    last = min(2 * last, lists.lists)
                rows = np.sort(np.searchsorted(ids, lists.near(query, 0, last)[0]))
                same(found, VectorIndex(ids[rows], vectors[rows]).search(query[None], length))


def test_new_images_are_found_and_removed_ones_are_not(tmp_path):
    ids, vectors = clustered(700)
    old = np.flatnonzero(np.arange(700) % 5 != 1)
    lists = trained(tmp_path / "lists", ids[old], vectors[old])
    now = np.flatnonzero(np.arange(700) % 7 != 2)
    index = index_of(lists, ids[now], vectors[now])
    lists.probed = lists.lists
    expected = VectorIndex(ids[now], vectors[now]).search(vectors[:60], 20)
    same(index.search(vectors[:60], 20), expected)
    write_updated(tmp_path / "new", MANIFEST, lists, ids[now], lambda rows: vectors[now][rows])
    updated = open_lists(tmp_path / "new", MANIFEST, 24, ids[now])
    assert sorted(updated.all_ids().tolist()) == ids[now].tolist()
    assert (updated.probed, updated.recall, updated.trained) == (lists.file.counts["probed"], lists.recall, len(old))
    updated.probed = updated.lists
    same(index_of(updated, ids[now], vectors[now]).search(vectors[:60], 20), expected)
    # An update is what lists with the same centres have of these images, however it came about.
    write_updated(tmp_path / "again", MANIFEST, updated, ids[now], lambda rows: vectors[now][rows])
    assert (tmp_path / "again").read_bytes() == (tmp_path / "new").read_bytes()


def test_the_same_collection_gives_the_same_file(tmp_path):
    ids, vectors = clustered(500)
    trained(tmp_path / "one", ids, vectors)
    trained(tmp_path / "two", ids, vectors)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_recall_that_is_told_is_the_recall_of_a_search(tmp_path):
    ids, vectors = clustered(3000, seed=3)
    lists = trained(tmp_path / "lists", ids, vectors)
    assert lists.probed < lists.lists
    found = index_of(lists, ids, vectors).search(vectors, 101).ids
    expected = VectorIndex(ids, vectors).search(vectors, 101).ids
    shares = [np.isin(one, other).mean() for one, other in zip(expected, found, strict=True)]
    assert np.mean(shares) >= lists.recall - 0.01


def test_wrong_arguments_are_refused(tmp_path):
    ids, vectors = clustered(50)
    index = index_of(trained(tmp_path / "lists", ids, vectors), ids, vectors)
    with pytest.raises(ArgumentError, match="a shortlist of 0"):
        index.search(vectors[:1], 0)
    with pytest.raises(ShapeError, match="the query has 5 dimensions, the index 24"):
        index.search(np.zeros((1, 5), "f4"), 1)
    assert index.search(np.zeros((0, 24), "f4"), 3).ids.shape == (0, 3)


def test_any_flipped_byte_is_noticed_before_it_is_believed(tmp_path):
    ids, vectors = clustered(300)
    path = tmp_path / "lists"
    trained(path, ids, vectors)
    whole = path.read_bytes()
    index = index_of(open_lists(path, MANIFEST, 24, ids), ids, vectors)
    expected, refused = index.search(vectors[:3], 10), 0
    for position in range(0, len(whole), 97):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 8]) + whole[position + 1 :])
        lists = open_lists(path, MANIFEST, 24, ids)
        if lists is None:
            refused += 1
            continue
        try:
            same(ListIndex(lists, ids, NOBODY, lambda rows: vectors[rows]).search(vectors[:3], 10), expected)
        except IndexCorruptError:
            refused += 1
    assert refused > 0


def test_lists_of_another_index_and_what_is_planted_are_passed_over(tmp_path):
    ids, vectors = clustered(60)
    path = tmp_path / "lists"
    trained(path, ids, vectors)
    assert open_lists(path, SimpleNamespace(as_bytes=lambda: b"another"), 24, ids) is None
    assert open_lists(path, MANIFEST, 25, ids) is None
    assert open_lists(path, MANIFEST, 24, NOBODY) is None
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "nothing", "."):
        assert open_lists(tmp_path / name, MANIFEST, 24, ids) is None


def test_crafted_lists_never_give_a_wrong_score(tmp_path):
    ids, vectors = clustered(200)
    lists = trained(tmp_path / "lists", ids, vectors)
    records = lists.records(0, lists.images).copy()
    lists.records(0, lists.images)
    for field, value in [
        ("unit", np.nan),
        ("unit", np.inf),
        ("error", np.nan),
        ("error", -np.inf),
        ("id", 5),
        ("id", -1),
    ]:
        changed = records.copy()
        changed[field][::2] = value
        lists.file.part = lambda _, start, stop, changed=changed: (
            changed[start:stop].view("u1").reshape(stop - start, -1)
        )
        try:
            found = ListIndex(lists, ids, NOBODY, lambda rows: vectors[rows]).search(vectors[:4], 15)
        except IndexCorruptError:
            continue
        for query, row in zip(vectors[:4], range(4), strict=True):
            places = np.searchsorted(ids, found.ids[row])
            assert np.allclose(vectors[places].astype("f8") @ query.astype("f8"), found.scores[row])


# -- in an index


@pytest.fixture
def listed(monkeypatch):
    """Have indexes of any size inverted lists."""
    for module in (nearest_module, refresh_module):
        monkeypatch.setattr(module, "LEAST_LISTED", 4)


@pytest.fixture
def index(tmp_path, listed, draw_picture, tiny_backbone):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        draw_picture(number).save(folder / f"{number:02}.png")
    sync(tmp_path / "index", [folder], tiny_backbone, options=SyncOptions(codec="pca6-int8", fit_from=4, commit_rows=6))
    return tmp_path / "index"


def test_a_bar_says_that_lists_are_fitted(tmp_path, listed, draw_picture, tiny_backbone):
    (tmp_path / "photos").mkdir()
    for number in range(8):
        draw_picture(number).save(tmp_path / "photos" / f"{number}.png")
    shown = Waits()
    options = SyncOptions(codec="pca6-int8", fit_from=4)
    sync(tmp_path / "index", [tmp_path / "photos"], tiny_backbone, options=options, progress=shown)
    assert "fitting the shortlist" in shown.waits
    assert shown.waits[-1] is None
    again = Waits()
    sync(tmp_path / "index", [tmp_path / "photos"], tiny_backbone, progress=again)
    assert "fitting the shortlist" not in again.waits


def agrees_with_flat(index):
    with Collection(index) as found:
        queries = np.asarray(found.features.pooled)
        assert found.nearest.lists is not None
        found.nearest.lists.lists.probed = found.nearest.lists.lists.lists
        same(
            found.shortlist(queries, 5),
            found.nearest.vectors.search(found.nearest.unit_vectors(np.arange(len(found))), 5),
        )


def test_an_index_keeps_its_lists_up_to_date(index, tmp_path, draw_picture, tiny_backbone, monkeypatch):
    agrees_with_flat(index)
    first = (index / "shortlist.ivf").read_bytes()
    for number in range(20, 24):
        draw_picture(number).save(tmp_path / "photos" / f"{number:02}.png")
    sync(index, [tmp_path / "photos"], tiny_backbone)
    remove(index, [tmp_path / "photos" / "03.png"])
    # What is few stays in the tail.
    assert (index / "shortlist.ivf").read_bytes() == first
    agrees_with_flat(index)
    assert verify(index).sound
    monkeypatch.setattr(refresh_module, "LONGEST_TAIL", 2)
    remove(index, [tmp_path / "photos" / "05.png"])
    assert (index / "shortlist.ivf").read_bytes() != first
    agrees_with_flat(index)
    with Collection(index) as found:
        assert sorted(found.nearest.lists.lists.all_ids().tolist()) == found.ids.tolist()
        assert summarise(found).shortlist == "lists"
    remove(index, [tmp_path / "photos" / f"{number:02}.png" for number in range(6, 24)])
    agrees_with_flat(index)
    with Collection(index) as found:
        assert found.nearest.lists.lists.trained == len(found) == 4
    remove(index, [tmp_path / "photos" / "00.png"])
    assert not (index / "shortlist.ivf").exists()
    assert verify(index).sound


def test_damaged_lists_cost_no_answer_and_are_found_and_made_anew(index):
    with Collection(index) as found:
        pooled = np.asarray(found.features.pooled)
        expected = found.nearest.vectors.search(found.nearest.unit_vectors(np.arange(len(found))), 3)
    path = index / "shortlist.ivf"
    whole = path.read_bytes()
    for position in range(0, len(whole), 611):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        with Collection(index) as found:
            if found.nearest.lists is not None:
                found.nearest.lists.lists.probed = found.nearest.lists.lists.lists
            same(found.shortlist(pooled, 3), expected)
        assert [defect.kind for defect in verify(index).defects] == ["lists"], position
    actions, report = repair(index)
    assert report.sound
    assert actions == ["rebuilt shortlist.ivf"]
    assert path.read_bytes() == whole
