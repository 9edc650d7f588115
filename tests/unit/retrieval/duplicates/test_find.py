"""Groups of copies: by hand from maps of one's own, against brute force, and from files that come and go."""

import inspect
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import semret
from semret.commands.duplicates import duplicates as command
from semret.commands.eval_duplicates import duplicates as eval_command
from semret.errors import ArgumentError, IndexNotFoundError
from semret.eval.experiments.duplicates_report import DuplicateSettings
from semret.index.care.maintain import remove
from semret.index.collection import open_collection
from semret.index.sync.sync import sync
from semret.retrieval.duplicates.confirm import Confirmer
from semret.retrieval.duplicates.find import THRESHOLD, duplicates
from semret.retrieval.duplicates.neighbours import NEAREST, Neighbours
from semret.retrieval.similarity.arrangement import kept_arrangement
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw

GRID = (6, 6)


def maps(seed, count=1):
    return np.random.default_rng(seed).standard_normal((count, *GRID, 16)).astype(np.float32)


def noisy(one, strength, seed):
    return one + strength * np.random.default_rng(seed).standard_normal(one.shape).astype(np.float32)


def shuffled(one, seed=0):
    order = np.random.default_rng(seed).permutation(36)
    return one.reshape(36, 16)[order].reshape(one.shape)


def index_of(folder, features, pooled=None, **options):
    semret.build(features=np.stack(features), pooled=pooled, index=folder / "own", **options)
    return folder / "own"


def members(found):
    return [[(file.id, file.relation) for file in group] for group in found]


@pytest.fixture(params=[None, "pca8-int8"])
def codec(request):
    return request.param


def test_copies_mirrored_ones_and_no_rearranged_ones(tmp_path, codec):
    one, *others = maps(1, 9)
    features = [one, *others, noisy(one, 0.1, 2), one[:, ::-1], shuffled(one)]
    # By their pooled embeddings all are neighbours: what decides is the arrangement.
    pooled = np.ones((len(features), 4), dtype=np.float32)
    pooled[:, 3] += np.random.default_rng(0).uniform(2, 2.1, len(features))
    pooled[0] = -1
    pooled[[0, 9, 10, 11]] = pooled[1] * np.float32(3)
    found = duplicates(index_of(tmp_path, features, pooled, codec=codec))
    assert members(found) == [[(1, "kept"), (11, "mirrored"), (10, "near")]]
    (group,) = found
    assert [file.score for file in group] == pytest.approx([1.0, 1.0, 0.99], abs=0.03)
    assert group.bytes == 0
    assert (found.images, found.compared) == (12, 12)


def test_a_chain_of_copies_of_copies_does_not_grow_together(tmp_path):
    rng = np.random.default_rng(3)
    start, end = rng.standard_normal((2, *GRID, 16)).astype(np.float32)
    # From one picture to quite another in small steps, each a copy of the one before.
    steps = [np.cos(angle) * start + np.sin(angle) * end for angle in np.linspace(0, np.pi / 2, 9)]
    index = index_of(tmp_path, [*steps, *maps(7, 30)])
    found = duplicates(index, threshold=0.7)
    ids = [[file.id for file in group] for group in found]
    all_ids = [id_ for group in ids for id_ in group]
    assert len(all_ids) == len(set(all_ids))
    assert len(ids) >= 2
    assert next(group for group in ids if group[0] == 1)[:2] == [1, 2]
    with open_collection(index) as collection:
        confirmer = Confirmer(collection, 0.7)
        for group in ids:
            rows = collection.rows(group)
            assert len(confirmer.confirm(int(rows[0]), rows[1:])) == len(rows) - 1
        assert not len(confirmer.confirm(0, np.array([8])))


def brute(index, threshold):
    """Stars by comparing every pair without a bound, by another path through the code."""
    with semret.open_index(index) as engine:
        collection = engine.collection
        units = collection.unit_vectors(np.arange(len(collection))).astype(np.float64)
        free, groups = list(range(len(collection))), []
        while free:
            kept, *rest = free
            group = [kept]
            for row in rest:
                explained = engine.explain(int(collection.ids[kept]), int(collection.ids[row]))
                partners, worths = np.full(36, -1), np.zeros(36)
                for pair in explained.pairs:
                    partners[pair.query_cell], worths[pair.query_cell] = pair.image_cell, pair.share
                share = kept_arrangement(partners, worths, GRID).share
                if units[kept] @ units[row] >= NEAREST and explained.score * share >= threshold:
                    group.append(row)
            groups.append(group)
            free = [row for row in free if row not in group]
        return sorted([int(collection.ids[row]) for row in group] for group in groups if len(group) > 1)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1.2), st.booleans()), min_size=1, max_size=9),
    st.sampled_from([0.3, 0.5, 0.8, 1.0]),
    st.sampled_from([None, "pca8-int8"]),
)
def test_groups_are_those_of_comparing_every_pair(tmp_path_factory, drawn, threshold, codec):
    base = maps(11, 3)
    features = [
        noisy(base[which][:, ::-1] if mirrored else base[which], strength, seed)
        for seed, (which, strength, mirrored) in enumerate(drawn)
    ]
    index = index_of(tmp_path_factory.mktemp("brute"), features, codec=codec)
    found = duplicates(index, threshold=threshold)
    assert sorted(sorted(file.id for file in group) for group in found) == brute(index, threshold)
    assert all(file.score >= threshold for group in found for file in group)


def test_neighbours_are_all_later_ones_that_are_near_whatever_the_block(monkeypatch):
    vectors = np.random.default_rng(0).standard_normal((50, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    whole = dict(Neighbours(vectors))
    monkeypatch.setattr("semret.retrieval.duplicates.neighbours._BLOCK_BYTES", 4 * 50 * 3)
    for place, near in Neighbours(vectors):
        products = vectors @ vectors[place]
        assert sorted(near) == [row for row in range(place + 1, 50) if products[row] >= NEAREST]
        assert np.all(np.diff(products[near]) <= 1e-6)
        assert near.tolist() == whole[place].tolist()


def test_what_is_taken_is_nobodys_neighbour():
    neighbours = Neighbours(np.ones((5, 1), dtype=np.float32))
    seen = []
    for place, near in neighbours:
        seen.append((place, near.tolist()))
        neighbours.taken[near[:2]] = True
    assert seen == [(0, [1, 2, 3, 4]), (3, [4])]


def test_a_group_may_be_larger_than_what_is_compared_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("semret.retrieval.duplicates.find._AT_ONCE", 2)
    one, *others = maps(5, 9)
    index = index_of(tmp_path, [one, *others, *(noisy(one, 0.05, seed) for seed in range(7))])
    assert [len(group) for group in duplicates(index)] == [8]


# Files


@pytest.fixture
def folder(tmp_path):
    """Two pictures, each with copies: the larger of the first, and bytes of the second."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2, 8):
        draw(seed, (96, 72)).save(folder / f"{seed}.png")
    draw(1, (96, 72)).save(folder / "small.png")
    draw(1, (192, 144)).save(folder / "large.png")
    shutil.copy(folder / "2.png", folder / "copy of 2.png")
    for number, file in enumerate(sorted(folder.iterdir())):
        os.utime(file, (1e9 + number, 1e9 + number))
    return folder


@pytest.fixture
def index(tmp_path, folder):
    sync(tmp_path / ".semret", [folder], TinyBackbone)
    return tmp_path / ".semret"


def names(found):
    return [[(Path(file.path).name, file.relation) for file in group] for group in found]


LARGE = [("large.png", "kept"), ("small.png", "near")]
SECOND = [("2.png", "kept"), ("copy of 2.png", "same")]


def test_the_best_is_kept_and_groups_come_by_the_bytes_of_the_others(index, folder):
    found = duplicates(index, threshold=0.9)
    sizes = {name: (folder / name).stat().st_size for name in ("small.png", "copy of 2.png")}
    assert sorted(names(found)) == sorted([LARGE, SECOND])
    assert [group.bytes for group in found] == sorted(sizes.values(), reverse=True)
    assert found.bytes == sum(sizes.values())
    group = next(group for group in found if group.kept.path.endswith("large.png"))
    assert (group.kept.width, group.kept.height) == (192, 144)
    assert group.kept.modified == pytest.approx((folder / "large.png").stat().st_mtime)
    assert group.kept.bytes == (folder / "large.png").stat().st_size


def test_of_equal_files_the_oldest_is_kept(index, folder):
    os.utime(folder / "copy of 2.png", (5e8, 5e8))
    assert [("copy of 2.png", "kept"), ("2.png", "same")] in names(duplicates(index, threshold=0.9))


def test_only_groups_that_touch_a_picture_or_folder(index, folder, tmp_path):
    def found(*paths):
        return names(duplicates(index, touching=paths, threshold=0.9))

    assert found(folder / "small.png") == [LARGE]
    assert found(folder / "3.png") == []
    assert found(folder / "copy of 2.png") == [SECOND]
    assert len(found(folder)) == len(found(tmp_path)) == len(found(str(folder) + "/")) == 2
    with pytest.raises(ArgumentError, match=r"nowhere is no picture of the index .*, nor a folder with any; index it"):
        found(folder, folder / "nowhere")
    # A folder whose name begins as another's is another folder.
    (tmp_path / "pho").mkdir()
    with pytest.raises(ArgumentError, match="nor a folder with any"):
        found(tmp_path / "pho")


def test_files_that_are_gone_or_changed_are_left_out_and_counted(index, folder):
    (folder / "large.png").unlink()
    (folder / "copy of 2.png").write_bytes(b"something else")
    found = duplicates(index, threshold=0.9)
    assert names(found) == []
    assert (found.gone, found.changed) == (1, 1)
    assert found.notes == [
        "1 indexed file left out: not there any more; run semret index to bring the index up to date",
        "1 indexed file left out: changed since indexing; run semret index to bring the index up to date",
    ]


def test_a_change_that_keeps_the_size_is_seen_by_reading(index, folder):
    other = bytearray((folder / "copy of 2.png").read_bytes())
    other[-20] ^= 1
    (folder / "copy of 2.png").write_bytes(other)
    found = duplicates(index, threshold=0.9)
    assert names(found) == [LARGE]
    assert found.changed == 1


def test_files_with_other_times_but_the_same_content_count(index, folder):
    for file in folder.iterdir():
        os.utime(file)
    found = duplicates(index, threshold=0.9)
    assert len(found) == 2
    assert found.changed == 0


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_another_name_of_one_file_holds_nothing_and_links_are_not_kept(tmp_path, folder, link):
    link(folder / "3.png", folder / "0 link.png")
    sync(tmp_path / ".semret", [folder], TinyBackbone)
    found = duplicates(tmp_path / ".semret", touching=folder / "3.png", threshold=0.9)
    if not found.groups:
        pytest.skip("links are not indexed twice")
    (group,) = found
    assert group.bytes == 0
    if link is os.symlink:
        assert group.kept.path.endswith("3.png")


def test_nothing_is_written_or_deleted(index, folder):
    def state():
        return {
            path: (path.stat().st_mtime_ns, path.stat().st_size)
            for path in (*folder.rglob("*"), *index.rglob("*"))
            if path.is_file()
        }

    before = state()
    duplicates(index, threshold=0.1)
    assert state() == before


def test_an_empty_index_has_no_copies(index, folder):
    shutil.rmtree(folder)
    found = duplicates(index)
    assert (len(found), found.images, found.gone) == (0, 9, 9)
    remove(index, [folder])
    found = duplicates(index)
    assert (len(found), str(found), found.notes) == (0, "no copies among 0 images", [])


def test_one_picture_is_no_group(tmp_path):
    (tmp_path / "one").mkdir()
    draw(1).save(tmp_path / "one" / "1.png")
    sync(tmp_path / ".semret", [tmp_path / "one"], TinyBackbone)
    found = duplicates(tmp_path / ".semret")
    assert (len(found), str(found)) == (0, "no copies among 1 image")


@pytest.mark.parametrize("threshold", [0, -1, 1.01, float("nan"), "high", None])
def test_thresholds_out_of_range_are_refused(index, threshold):
    with pytest.raises(ArgumentError, match=r"threshold is .*, expected a number above 0, at most 1"):
        duplicates(index, threshold=threshold)


def test_the_threshold_is_one_everywhere():
    assert inspect.signature(command).parameters["threshold"].default == THRESHOLD
    assert inspect.signature(eval_command).parameters["threshold"].default == THRESHOLD
    assert DuplicateSettings().threshold == THRESHOLD


def test_a_missing_index_is_said(tmp_path):
    with pytest.raises(IndexNotFoundError):
        duplicates(tmp_path / "nothing")


def test_an_engine_stays_open_and_progress_is_told(index):
    told = []
    with semret.open_index(index) as engine:
        assert len(semret.duplicates(engine, threshold=0.9, progress=lambda *now: told.append(now))) == 2
        assert len(engine.query(1, k=1)) == 1
    assert told[0] == (0, 9)
    assert told[-1] == (8, 8)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
