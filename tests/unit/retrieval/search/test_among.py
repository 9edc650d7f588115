"""A search kept to some images of the index; an engine that follows what a writer adds."""

from __future__ import annotations

import numpy as np
import pytest

from semret.index.sync.sync import sync
from semret.retrieval.search.engine import open_index
from semret.retrieval.search.options import SearchOptions

ALL = 100


@pytest.fixture
def engine(tiny_index, tiny_backbone):
    found = open_index(tiny_index)
    found._backbone = tiny_backbone()
    return found


def pairs(result):
    return [(hit.id, hit.score) for hit in result]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"exhaustive": True},
        {"region": "0%,0%,50%,50%"},
        {"score": "query"},
        {"invariance": "pooled"},
        {"shortlist": 3},
    ],
    ids=str,
)
def test_among_some_images_the_order_and_scores_are_those_of_the_whole(engine, photos, options):
    everything = engine.query(
        photos / "2.png", k=ALL, **{**options, **({"shortlist": ALL} if "shortlist" in options else {})}
    )
    among = engine.collection.ids[[0, 2, 5]]
    found = engine.search(photos / "2.png", SearchOptions(k=3, **options), among=among)
    assert pairs(found) == [pair for pair in pairs(everything) if pair[0] in among]


def test_the_query_itself_and_copies_elsewhere_are_no_hits(tiny_index, tiny_backbone, photos):
    (photos / "copy.png").write_bytes((photos / "2.png").read_bytes())
    sync(tiny_index, [photos], tiny_backbone)
    engine = open_index(tiny_index)
    one, copy = engine.find(photos / "2.png"), engine.find(photos / "copy.png")
    found = engine.search(photos / "2.png", SearchOptions(k=ALL), among=np.array([copy]))
    assert [(hit.id, hit.ids) for hit in found] == [(copy, (copy,))]
    assert one not in found[0].ids
    assert (
        len(engine.search(photos / "2.png", SearchOptions(k=ALL, exclude_self=True), among=np.array([one, copy]))) == 0
    )


def test_among_no_images_there_are_no_hits(engine, photos):
    nobody = np.zeros(0, dtype=np.int64)
    for options in (SearchOptions(), SearchOptions(exhaustive=True), SearchOptions(region="0%,0%,50%,50%")):
        assert len(engine.search(photos / "2.png", options, among=nobody)) == 0


def test_an_engine_opened_again_sees_what_was_added_and_keeps_its_network(engine, photos, draw_picture, tiny_backbone):
    draw_picture(50).save(photos / "new.png")
    sync(engine.collection.path, [photos], tiny_backbone)
    fresh = engine.reopened()
    assert len(fresh) == len(engine) + 1
    assert fresh.backbone() is engine.backbone()
    assert pairs(engine.query(photos / "0.png", k=3)) == pairs(engine.query(photos / "0.png", k=3))
    assert fresh.query(photos / "new.png", k=1)[0].path.endswith("new.png")


def test_an_index_made_anew_with_another_network_does_not_keep_the_old_one(engine, photos, tiny_index, tiny_backbone):
    engine.backbone()
    for path in sorted(tiny_index.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    sync(tiny_index, [photos], lambda: tiny_backbone("other", seed=1))
    assert engine.reopened()._backbone is None
