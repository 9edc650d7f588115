"""A shard's process or node dies while a query is answered: the answer comes later, and is the right one."""

from __future__ import annotations

import os
import signal

import pytest
import ray
from ray.exceptions import RayActorError

from semret.errors import ClusterError
from semret.index.collection import open_collection
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.retrieval.search import rerank as rerank_module
from semret.retrieval.search.engine import SearchEngine
from semret.retrieval.search.options import SearchOptions
from tests.cluster.conftest import node_arguments
from tests.support.waiting import eventually

EVERYTHING = SearchOptions(k=3, exhaustive=True)


@pytest.fixture(scope="module")
def indexes(tmp_path_factory, draw_picture, tiny_backbone):
    """Indexes of the same pictures, by their codecs."""
    top = tmp_path_factory.mktemp("lost")
    folder = top / "photos"
    folder.mkdir()
    for number in range(18):
        draw_picture(number).save(folder / f"{number:02}.png")
    for codec in ("none", "pca6-int8"):
        options = SyncOptions(codec=codec, fit_from=4, commit_rows=4)
        sync(top / codec, [folder], tiny_backbone, options=options)
    return {codec: top / codec for codec in ("none", "pca6-int8")}


@pytest.fixture
def start(ray_cluster, monkeypatch):
    """Open an index in new shards; searches of everything go in several chunks."""
    from semret.cluster.search import ShardedEngine
    from semret.cluster.shards import Shards

    monkeypatch.setattr(rerank_module, "CHUNK_BYTES", 4 * 9 * 12 * 4)
    monkeypatch.setattr(rerank_module, "INTEGER_CHUNK_BYTES", 9 * 6 * 4)
    pools = []

    def open_(index, **settings):
        pools.append(Shards(3, threads=1, **settings))
        return SearchEngine(open_collection(index)), ShardedEngine(open_collection(index), pools[-1])

    yield open_
    for pool in pools:
        pool.close()


def answered(one, sharded, lose):
    """Hold that a search during which something is lost answers as if nothing was."""
    calls = []

    def progress(done, total):
        calls.append(done)
        if len(calls) == 2:
            lose()

    expected = one.search(2, EVERYTHING)
    found = sharded.search(2, EVERYTHING, progress=progress)
    assert len(calls) > 3
    assert found.hits == expected.hits
    assert (found.stats.solved, found.stats.pruned) == (expected.stats.solved, expected.stats.pruned)


def process_of(actor):
    return ray.get(actor.alive.remote())[0]


def is_gone(actor):
    try:
        process_of(actor)
    except RayActorError:
        return True
    return False


def node_of(actor):
    return ray.get(actor.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id()))


@pytest.mark.parametrize(("codec", "replicas"), [("none", 1), ("pca6-int8", 2)])
def test_an_actor_that_is_killed_is_replaced(indexes, start, codec, replicas):
    one, sharded = start(indexes[codec], cpus=0, replicas=replicas)
    before = [process_of(actor) for actors in sharded.shards.actors for actor in actors]
    answered(one, sharded, lambda: [os.kill(process, signal.SIGKILL) for process in before[:replicas]])
    again = sharded.search(2, EVERYTHING)
    assert again.hits == one.search(2, EVERYTHING).hits
    after = [process_of(actor) for actors in sharded.shards.actors for actor in actors]
    assert set(before[replicas:]) <= set(after)
    assert not set(before[:replicas]) & set(after)


def test_a_node_that_goes_is_done_without(indexes, start, ray_cluster):
    one, sharded = start(indexes["pca6-int8"], cpus=0.5)
    held = {node_of(actors[0]) for actors in sharded.shards.actors}
    lost = next(node for node in ray_cluster.worker_nodes if node.node_id in held)
    try:
        answered(one, sharded, lambda: ray_cluster.remove_node(lost))
    finally:
        ray_cluster.add_node(**node_arguments())
    assert lost.node_id not in {node_of(actors[0]) for actors in sharded.shards.actors}


def test_a_shard_that_is_gone_for_good_is_one_line(indexes, start):
    _, sharded = start(indexes["none"], cpus=0)
    for actors in sharded.shards.actors:
        ray.kill(actors[0])
    # Ray does it later; until then a shard answers, and the next one is the first that is missed.
    eventually(lambda: all(is_gone(actors[0]) for actors in sharded.shards.actors))
    with pytest.raises(ClusterError, match="shard 0 is lost"):
        sharded.search(2, EVERYTHING)
