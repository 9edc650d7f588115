"""An engine over shards, real Ray actors, answers as the engine of one machine: hits, scores, order, counts."""

from __future__ import annotations

import gc
import itertools
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import ray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import semret
from semret.errors import ArgumentError, IndexCorruptError, NonFiniteError, ShapeError
from semret.index import nearest as nearest_module
from semret.index import refresh as refresh_module
from semret.index.collection import open_collection
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.retrieval.search import rerank as rerank_module
from semret.retrieval.search.engine import SearchEngine
from semret.retrieval.search.options import SearchOptions
from tests.support.waiting import eventually

COUNTS = (1, 2, 3)
IMAGES = 24
COMBINED = ("permutation", "none", "maxsim", "pooled")


@pytest.fixture(scope="module")
def pools(ray_cluster):
    """Shards by how many there are."""
    from semret.cluster.shards import Shards

    made = {count: Shards(count, cpus=0, threads=1, replicas=2 if count == 2 else 1) for count in COUNTS}
    yield made
    for shards in made.values():
        shards.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, draw_picture):
    """Pictures in two folders, some of them copies."""
    top = tmp_path_factory.mktemp("sharded") / "photos"
    for number in range(IMAGES):
        place = top / ("a" if number % 3 else "b")
        place.mkdir(parents=True, exist_ok=True)
        draw_picture(number if number < IMAGES - 4 else number - 17).save(place / f"{number:02}.png")
    return top


@pytest.fixture(scope="module")
def indexes(folder, tmp_path_factory, tiny_backbone):
    """Indexes of many small segments: in floats, in integers, of near ties, and searched through inverted lists."""
    top = tmp_path_factory.mktemp("indexes")
    made = {name: top / name for name in ("floats", "integers", "ties", "lists")}
    sync(made["floats"], [folder], tiny_backbone, options=SyncOptions(codec="none", commit_rows=5))
    integers = SyncOptions(codec="pca6-int8", fit_from=4, commit_rows=5)
    sync(made["integers"], [folder], tiny_backbone, options=integers)
    semret.build(features=_near_ties(), index=made["ties"], codec="none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest_module, "LEAST_LISTED", 4)
        patch.setattr(refresh_module, "LEAST_LISTED", 4)
        sync(made["lists"], [folder], tiny_backbone, options=integers)
    return made


def _near_ties():
    generator = np.random.default_rng(3)
    base = generator.standard_normal((6, 5)).astype(np.float32)
    maps = np.stack([base[generator.permutation(6)] for _ in range(IMAGES)])
    maps[1::2] = np.nextafter(maps[1::2], generator.choice(np.float32([-9, 9]), size=maps[1::2].shape))
    maps[::5] = generator.integers(-1, 2, size=maps[::5].shape)
    return maps


def both(index, pools, owners=None, count=2):
    """Return the engine of one machine and one over shards, of one index."""
    from semret.cluster.search import ShardedEngine

    return SearchEngine(open_collection(index)), ShardedEngine(open_collection(index), pools[count], owners=owners)


def shown(result):
    """Return all that an answer says, but how long it took."""
    return json.dumps(replace(result, stats=replace(result.stats, seconds={})).as_json(), sort_keys=True)


def same(one, sharded, ask):
    """Hold that two engines answer alike; one refuses what the other refuses."""
    try:
        expected = ask(one)
    except (ArgumentError, ShapeError, NonFiniteError) as error:
        with pytest.raises(type(error)):
            ask(sharded)
        return None
    found = ask(sharded)
    assert shown(found) == shown(expected)
    assert (found.stats.solved, found.stats.pruned) == (expected.stats.solved, expected.stats.pruned)
    return expected


@st.composite
def questions(draw):
    owners = draw(st.integers(0, 2**32 - 1))
    options = {
        "k": draw(st.integers(1, 6)),
        "kernel": draw(st.sampled_from(["cosine", "linear", "rbf"])),
        "invariance": draw(st.sampled_from(COMBINED)),
        "center": draw(st.sampled_from(["channel", "position", "none"])),
        "solver": draw(st.sampled_from(["auction", "auction", "scipy", "greedy"])),
        "exhaustive": draw(st.booleans()),
        "shortlist": draw(st.sampled_from([None, 6, 12])),
        "score": draw(st.sampled_from([None, None, "query"])),
        "prune": draw(st.sampled_from([True, True, True, False])),
    }
    if options["score"] == "query":
        options |= {"kernel": "cosine", "invariance": draw(st.sampled_from(["permutation", "maxsim"]))}
    index = draw(st.sampled_from(["floats", "integers", "ties", "lists"]))
    return index, draw(st.sampled_from(COUNTS)), owners, draw(st.integers(0, IMAGES - 1)), draw(st.booleans()), options


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(questions())
def test_random_shardings_answer_as_one_machine(indexes, pools, question):
    index, count, seed, place, chunked, options = question
    owners = np.random.default_rng(seed).integers(0, count, size=IMAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest_module, "LEAST_LISTED", 4)
        if chunked:
            # Several chunks, and several in flight.
            patch.setattr(rerank_module, "CHUNK_BYTES", 4 * 9 * 13 * 5)
            patch.setattr(rerank_module, "INTEGER_CHUNK_BYTES", 9 * 6 * 5)
        one, sharded = both(indexes[index], pools, owners, count)
        assert (one.collection.nearest.lists is not None) == (index == "lists")
        id_ = int(one.ids[place])
        same(one, sharded, lambda engine: engine.search(id_, SearchOptions(**options)))


@pytest.mark.parametrize("name", ["floats", "integers"])
def test_filters_regions_copies_and_explanations(indexes, pools, folder, name):
    one, sharded = both(indexes[name], pools, count=3)
    picture = folder / "a" / "04.png"
    for options in (
        {"folder": str(folder / "b")},
        {"folder": "a", "k": 9, "exclude_self": True},
        {"since": "2000", "until": "2001"},
        {"exclude_self": 5},
        {"min_score": 0.5, "k": 20},
        {"region": (2, 2, 30, 20)},
        {"region": (2, 2, 30, 20), "shortlist": 7, "folder": "b"},
        {"explain": True, "k": 3},
        {"shortlist": 5, "k": 7},
        {"exhaustive": True, "exclude_self": True},
    ):
        expected = same(one, sharded, lambda engine, options=options: engine.query(picture, **options))
        assert expected is not None or options == {"shortlist": 5, "k": 7}
    assert any(len(hit.ids) > 1 for hit in one.query(picture, k=20))


def test_other_questions(indexes, pools, folder):
    one, sharded = both(indexes["integers"], pools, count=3)
    files = [folder / "a" / "01.png", folder / "b" / "06.png"]
    for combine in ("scores", "ranks"):
        same(
            one,
            sharded,
            lambda engine, how=combine: engine.query_all(files, avoid=[files[0].parent / "02.png"], combine=how),
        )
    same(one, sharded, lambda engine: engine.rerank(files[0], [1, 5, 9, 2, 17], exclude_self=True))
    same(one, sharded, lambda engine: engine.query(tokens=one.tokens([3])[0], k=9))
    expected, found = (engine.explain(files[0], 7).as_json() for engine in (one, sharded))
    assert found == expected


def test_every_number_of_shards_holds_only_its_own(indexes, pools):
    from semret.cluster.parts import deal, places_in

    collection = open_collection(indexes["integers"])
    numbers, rows = collection.table.numbers, collection.table.rows
    for count in (1, 2, 5, IMAGES, 3 * IMAGES):
        owners = deal(np.asarray(numbers), np.asarray(rows), count)
        parts = places_in(owners, count)
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(collection)))
        held = [{(int(numbers[place]), int(rows[place])) for place in part} for part in parts]
        assert all(not one & other for one, other in itertools.combinations(held, 2))
        sizes = sorted(len(one) for one in held)
        assert sizes[-1] - sizes[0] <= 1


def test_owners_that_are_none_are_refused(indexes, pools):
    from semret.cluster.search import ShardedEngine

    for owners in ([0, 1], np.full(IMAGES, 2), np.full(IMAGES, -1)):
        with pytest.raises(ShapeError, match="owners are not the numbers of one of 2 shards"):
            ShardedEngine(open_collection(indexes["floats"]), pools[2], owners=owners)


def test_what_a_shard_refuses_comes_back_as_it_was_said(tmp_path, pools, folder, tiny_backbone):
    sync(tmp_path / "index", [folder], tiny_backbone, options=SyncOptions(codec="none", commit_rows=5))
    _, sharded = both(tmp_path / "index", pools, count=3)
    for segment in (tmp_path / "index" / "segments").iterdir():
        segment.write_bytes(bytes(segment.stat().st_size))
    with pytest.raises(IndexCorruptError, match="segments"):
        sharded.query(tokens=np.ones((9, 12), dtype=np.float32), exhaustive=True)


def test_a_new_state_is_taken_over_and_the_old_one_still_answers(tmp_path, pools, folder, tiny_backbone, draw_picture):
    index = tmp_path / "index"
    sync(index, [folder / "a"], tiny_backbone, options=SyncOptions(codec="pca6-int8", fit_from=4, commit_rows=5))
    one, old = both(index, pools, count=3)
    before = shown(old.query(3))
    sync(index, [folder / "b"], tiny_backbone)
    new = old.reopened()
    assert len(new) == IMAGES
    assert shown(new.query(3)) == shown(one.reopened().query(3))
    assert shown(old.query(3)) == before == shown(one.query(3))


def test_shards_let_go_of_a_state_that_nobody_asks_for(indexes, pools):
    _, sharded = both(indexes["floats"], pools, np.arange(IMAGES) % 3, count=3)

    def held():
        return [ray.get(actor.__ray_call__.remote(_parts_of)) for (actor,) in pools[3].actors]

    keys = {key for _, key in sharded._comparer._spread.keys}
    assert all(keys & parts for parts in held())
    del sharded
    gc.collect()
    eventually(lambda: not any(keys & parts for parts in held()))


def _parts_of(shard):
    return set(shard._parts._values)


def test_lists_that_a_shard_cannot_have_are_done_without(indexes, pools, tmp_path, monkeypatch):
    monkeypatch.setattr(nearest_module, "LEAST_LISTED", 4)
    index = shutil.copytree(indexes["lists"], tmp_path / "index")
    (index / "shortlist.ivf").rename(tmp_path / "kept")
    flat = SearchEngine(open_collection(index))
    assert flat.collection.nearest.lists is None
    (tmp_path / "kept").rename(index / "shortlist.ivf")
    # Opened here while they were there, they are gone when the shards look for them.
    collection = open_collection(index)
    assert collection.nearest.lists is not None
    (index / "shortlist.ivf").unlink()
    from semret.cluster.search import ShardedEngine

    sharded = ShardedEngine(collection, pools[3])
    assert sharded.query(3, k=6, shortlist=8).hits == flat.query(3, k=6, shortlist=8).hits
