"""Copies of a picture are one hit, the query can be left out, and an empty index says so."""

import shutil

import numpy as np
import pytest
from PIL import Image

import semret
from semret.errors import ArgumentError, IndexEmptyError
from semret.index.care.maintain import remove
from semret.index.sync.sync import sync
from semret.retrieval.search.engine import SearchEngine
from semret.retrieval.search.query_pictures import EncodedImage


@pytest.fixture
def copied(tmp_path, photos, tiny_backbone):
    """An index of six pictures: three copies of 0.png, two of 1.png, one of each other."""
    shutil.copy(photos / "0.png", photos / "0 copy.png")
    shutil.copy(photos / "0.png", photos / "zero.png")
    shutil.copy(photos / "1.png", photos / "1 copy.png")
    sync(tmp_path / ".semret", [photos], tiny_backbone)
    return tmp_path / ".semret"


@pytest.fixture
def engine(copied):
    return semret.open(copied)


def names(result):
    return [[path.rsplit("/", 1)[-1] for path in hit.paths] for hit in result]


def test_copies_are_one_hit_with_all_paths(engine, photos):
    result = engine.query(photos / "0.png", k=9)
    assert len(result) == 6
    assert sorted(names(result)[0]) == ["0 copy.png", "0.png", "zero.png"]
    assert sorted(map(len, names(result))) == [1, 1, 1, 1, 2, 3]
    for hit in result:
        assert (hit.id, hit.path) == (hit.ids[0], hit.paths[0])
        assert list(hit.ids) == sorted(hit.ids)
    assert result.notes == ["9 hits were asked for, there are 6 (copies of a picture count once)"]
    assert result.stats.database == 9
    assert result.stats.shortlist == 6


@pytest.mark.parametrize("options", [{}, {"shortlist": 3}, {"exhaustive": True}, {"invariance": "pooled"}])
def test_k_counts_pictures_of_different_content(engine, photos, options):
    result = engine.query(photos / "0.png", k=3, **options)
    assert len(result) == 3
    assert len(names(result)[0]) == 3


@pytest.mark.parametrize("options", [{}, {"shortlist": 5}, {"exhaustive": True}])
def test_the_query_and_its_copies_are_left_out(engine, photos, options):
    everything = engine.query(photos / "0.png", k=6)
    found = engine.query(photos / "0.png", k=5, exclude_self=True, **options)
    assert names(found) == names(everything)[1:]
    assert [hit.score for hit in found] == [hit.score for hit in everything][1:]
    assert [hit.rank for hit in found] == [1, 2, 3, 4, 5]
    assert found.stats.shortlist == 5


def test_a_picture_can_be_left_out_by_its_id(engine, photos, tiny_backbone):
    with Image.open(photos / "0.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    first, *others = engine.query(photos / "0.png", k=6)
    engine._backbone = tiny_backbone()
    assert names(engine.query(pixels, k=5, exclude_self=first.ids[1])) == [names([hit])[0] for hit in others]
    with pytest.raises(ArgumentError, match="the query is pixels"):
        engine.query(pixels, exclude_self=True)


@pytest.mark.parametrize("which", [99, "0.png", 2**70, -1, 1.5])
def test_what_cannot_be_left_out_is_named(engine, photos, which):
    with pytest.raises(ArgumentError, match="exclude_self is"):
        engine.query(photos / "0.png", exclude_self=which)


def test_a_changed_file_is_still_itself(engine, photos, draw_picture, tiny_backbone):
    draw_picture(77).save(photos / "5.png")
    engine._backbone = tiny_backbone()
    assert ["5.png"] in names(engine.query(photos / "5.png", k=6))
    assert ["5.png"] not in names(engine.query(photos / "5.png", k=6, exclude_self=True))


def test_content_from_elsewhere_is_found_and_left_out(engine, photos):
    sent = EncodedImage((photos / "0.png").read_bytes(), "https://example.org/0.png")
    result = engine.query(sent, k=6)
    assert result.query == "https://example.org/0.png"
    assert names(result) == names(engine.query(photos / "0.png", k=6))
    assert names(engine.query(sent, k=5, exclude_self=True)) == names(result)[1:]
    assert result.picture == sent.data


def test_candidates_fold_and_show_only_what_was_given(engine, photos):
    ids = {name: engine.find(photos / name) for name in ("0.png", "0 copy.png", "zero.png", "3.png")}
    result = engine.rerank(photos / "0.png", [ids["zero.png"], ids["0 copy.png"], ids["3.png"]])
    assert [sorted(group) for group in names(result)] == [["0 copy.png", "zero.png"], ["3.png"]]
    assert result.notes == []
    assert names(engine.rerank(photos / "0.png", list(ids.values()), exclude_self=True)) == [["3.png"]]
    nothing = engine.rerank(photos / "0.png", [ids["0.png"]], exclude_self=True, kernel="rbf")
    assert (len(nothing), nothing.stats.shortlist) == (0, 0)


def test_everything_left_out_is_no_error(tmp_path, tiny_backbone, draw_picture):
    draw_picture(1).save(tmp_path / "only.png")
    sync(tmp_path / ".semret", [tmp_path / "only.png"], tiny_backbone)
    engine = semret.open(tmp_path / ".semret")
    for options in ({}, {"exhaustive": True}, {"invariance": "pooled"}, {"kernel": "rbf"}, {"center": "none"}):
        result = engine.query(tmp_path / "only.png", exclude_self=True, **options)
        assert result.hits == ()
        assert result.notes == ["5 hits were asked for, there are 0"]


def test_exhaustive_search_marks_what_the_shortlist_misses(engine, photos):
    for picture in sorted(photos.iterdir()):
        full = engine.query(picture, k=4, shortlist=4, exhaustive=True)
        short = engine.query(picture, k=4, shortlist=4)
        seen = {hit.id for hit in short}
        assert [hit.in_shortlist for hit in full] == [hit.id in seen for hit in full]
        assert full.stats.shortlist_recall == sum(hit.in_shortlist for hit in full) / 4
        assert (full.stats.candidates, full.stats.shortlist_tried) == ("all", 4)
        missed = [str(hit.rank) for hit in full if not hit.in_shortlist]
        assert full.missed.endswith(f"rank {', '.join(missed)}" if missed else "none of the 4 hits")
        assert [hit.in_shortlist for hit in short] == [None] * 4
        assert short.missed is None


def test_exact_is_said_of_candidates(engine, photos):
    short = engine.query(photos / "0.png", k=2, shortlist=2)
    assert short.stats.exact is short.stats.exact_among_candidates is True
    assert str(short.stats).endswith("exact among the shortlist's candidates")
    assert str(engine.query(photos / "0.png", exhaustive=True).stats).endswith("exact over the whole index")
    assert str(engine.rerank(photos / "0.png", [1, 2]).stats).endswith("exact among the given candidates")
    greedy = engine.query(photos / "0.png", solver="greedy").stats
    assert str(greedy).endswith("not exact among the shortlist's candidates: approximate solver")
    stats = short.as_json()["stats"]
    assert (stats["exact"], stats["exact_among_candidates"], stats["candidates"]) == (True, True, "shortlist")


def test_sentences_fold_copies_too(engine, photos):
    row = engine.collection.rows([engine.find(photos / "0.png")])[0]

    class Reader:
        def embed_text(self, sentences):
            return np.stack([engine.collection.features.pooled[row] for _ in sentences])

    engine._backbone = Reader()
    result = engine.query_text("zero", k=7)
    assert [len(hit.paths) for hit in result] == [len(hit.paths) for hit in engine.query_text("zero", k=6)]
    assert sorted(names(result)[0]) == ["0 copy.png", "0.png", "zero.png"]
    assert result[0].score == result[0].pooled_score == pytest.approx(1)
    assert all(-1 <= hit.score <= 1 for hit in result)
    assert result.stats.candidates == "all"
    assert result.notes == ["7 hits were asked for, there are 6 (copies of a picture count once)"]


def test_pooled_scores_stay_within_a_cosine(engine, photos):
    class Beyond:
        def __getattr__(self, name):
            return getattr(engine.collection, name)

        def __len__(self):
            return len(engine.collection)

        def shortlist(self, pooled, length):
            found = engine.collection.shortlist(pooled, length)
            return type(found)(found.ids, found.scores * (1 + 1e-8) + np.sign(found.scores) * 3e-8)

    result = SearchEngine(Beyond()).query(photos / "0.png", k=6)
    assert result[0].pooled_score == 1.0
    assert all(-1 <= hit.pooled_score <= 1 for hit in result)


def test_an_empty_index_says_so(tiny_index, photos):
    remove(tiny_index, [photos])
    engine = semret.open(tiny_index)
    for call in (
        lambda: engine.query(photos / "0.png"),
        lambda: engine.query(photos / "0.png", exhaustive=True, exclude_self=1),
        lambda: engine.rerank(photos / "0.png", [1]),
        lambda: engine.query_text("a mug"),
    ):
        with pytest.raises(IndexEmptyError, match=r"is empty; run semret index PATH"):
            call()
