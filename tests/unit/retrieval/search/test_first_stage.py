"""The first stage of a region search in a large index: what it leaves is compared exactly, and the answer says so."""

import numpy as np
import pytest

import semret
from semret.errors import IndexCorruptError
from semret.index import region_words
from semret.index.care.maintain import remove
from semret.index.shortlist import word_training
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.retrieval.search import first_stage

REGION = "0%,0%,50%,100%"


@pytest.fixture
def least_examined(monkeypatch):
    """Have indexes of any size words, and few images examined."""
    monkeypatch.setattr(region_words, "LEAST_WORDED", 4)
    write = word_training.write_trained_words

    def few(*given):
        write(*given, least_examined=6)

    monkeypatch.setattr(region_words, "write_trained_words", few)


@pytest.fixture
def index(tmp_path, least_examined, draw_picture, tiny_backbone):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(30):
        draw_picture(number).save(folder / f"{number:02}.png")
    (folder / "copy of 03.png").write_bytes((folder / "03.png").read_bytes())
    sync(tmp_path / "index", [folder], tiny_backbone, options=SyncOptions(codec="pca6-int8", fit_from=4))
    return tmp_path / "index"


@pytest.fixture
def engine(index):
    return semret.open(index)


@pytest.fixture
def examining(engine, monkeypatch):
    """Set how many images are examined."""

    def examine(count):
        monkeypatch.setattr(engine._comparer._first_stage._words.lists, "examined", count)

    return examine


def hits(result):
    return [(hit.id, hit.score, hit.paths) for hit in result]


@pytest.mark.parametrize("invariance", ["permutation", "maxsim"])
def test_all_that_are_examined_give_the_exhaustive_answer(engine, examining, invariance):
    for count in (29, 30, 500):
        examining(count)
        for query in engine.collection.ids.tolist()[::7]:
            found = engine.query(query, region=REGION, k=8, invariance=invariance)
            everything = engine.query(query, region=REGION, k=8, invariance=invariance, exhaustive=True)
            if count >= 30:
                assert hits(found) == hits(everything)
                assert found.stats.candidates == "all"
            else:
                assert found.stats.candidates == "patches"


def test_the_answer_is_exact_among_the_candidates_and_says_that_there_are_more(engine, examining):
    examining(6)
    found = engine.query(1, region=REGION, k=5)
    stats = found.stats
    assert (stats.candidates, stats.shortlist, stats.database, stats.exact_among_candidates) == ("patches", 6, 31, True)
    assert stats.solved + stats.pruned == 6
    assert stats.expected_recall == engine._comparer._first_stage._words.lists.recall
    assert "6 candidates" in str(stats)
    assert "exact among the candidates of a first stage by patches" in str(stats)
    (note,) = found.notes
    assert note.startswith("the region was compared with 6 images that a first stage by patches found; of the ten best")
    assert note.endswith("an exhaustive search finds all")
    everything = {hit.id: hit.score for hit in engine.query(1, region=REGION, k=31, exhaustive=True)}
    assert all(everything[hit.id] == hit.score for hit in found)
    document = found.as_json()["stats"]
    assert (document["candidates"], document["expected_recall"]) == ("patches", stats.expected_recall)


def test_more_hits_need_more_candidates(engine, examining):
    examining(6)
    assert engine.query(1, region=REGION, k=20).stats.shortlist == 12


def test_an_exhaustive_search_tells_what_the_first_stage_would_have_missed(engine, examining):
    examining(6)
    short = engine.query(1, region=REGION, k=5)
    full = engine.query(1, region=REGION, k=5, exhaustive=True)
    assert (full.stats.candidates, full.stats.shortlist, full.stats.shortlist_tried) == ("all", 30, 6)
    assert [hit.in_shortlist for hit in full] == [hit.id in short.ids for hit in full]
    assert full.stats.expected_recall is None
    assert full.notes == []


def test_whatever_the_words_do_not_know_is_compared_with_all(engine, examining):
    examining(6)
    assert engine.query(1, region=REGION, center="none").stats.candidates == "all"
    assert engine.query(1, region=REGION, center="position").stats.candidates == "all"
    assert engine.query(1, region=REGION, shortlist=9).stats.candidates == "shortlist"
    assert engine.query(1, score="query").stats.candidates == "shortlist"
    assert engine.query(1).stats.candidates == "shortlist"


def test_copies_are_one_candidate_and_what_is_left_out_is_none(engine, examining):
    examining(6)
    stored = engine.collection.find_path(engine.collection.paths([1])[0])
    twins = [id_ for id_ in engine.collection.ids.tolist() if len(engine.collection.copies(id_)) == 2]
    found = engine.query(twins[1], region=REGION, k=5)
    assert found[0].ids == tuple(twins)
    assert found.stats.shortlist == 6
    without = engine.query(twins[1], region=REGION, k=5, exclude_self=True)
    assert not set(twins) & {id_ for hit in without for id_ in hit.ids}
    assert without.stats.shortlist == 6
    assert stored == 1


def test_only_those_that_are_allowed_are_candidates(engine, examining):
    from semret.retrieval.search.options import SearchOptions

    examining(6)
    options = SearchOptions(k=5, region=REGION)
    among = engine.collection.ids[::2]
    found = engine.search(1, options, among=among)
    assert (found.stats.candidates, found.stats.shortlist) == ("patches", 6)
    assert set(found.ids) <= set(among.tolist())
    few = engine.search(1, options, among=engine.collection.ids[:5])
    assert (few.stats.candidates, few.stats.shortlist) == ("all", 5)


def test_images_without_words_are_candidates(index, tmp_path, draw_picture, tiny_backbone):
    for number in range(30, 33):
        draw_picture(number).save(tmp_path / "photos" / f"{number}.png")
    sync(index, [tmp_path / "photos"], tiny_backbone)
    remove(index, [tmp_path / "photos" / "00.png"])
    engine = semret.open(index)
    engine._comparer._first_stage._words.lists.examined = 6
    found = engine.query(2, region=REGION, k=5)
    assert found.stats.shortlist == 9
    new = engine.collection.find_path(tmp_path / "photos" / "31.png")
    assert engine.query(new, region=REGION, k=1).ids == [new]


def test_words_that_turn_out_to_be_damaged_cost_no_answer(engine, examining, monkeypatch):
    examining(6)
    expected = engine.query(1, region=REGION, k=5, exhaustive=True)

    def part(*_):
        raise IndexCorruptError("a page does not have its checksum")

    monkeypatch.setattr(engine._comparer._first_stage._words.lists.file, "part", part)
    found = engine.query(1, region=REGION, k=5)
    assert (found.stats.candidates, hits(found)) == ("all", hits(expected))


def test_words_are_opened_once(engine, monkeypatch):
    opened = []
    find = first_stage.find_words
    monkeypatch.setattr(first_stage, "find_words", lambda collection: opened.append(1) or find(collection))
    for query in (1, 2):
        engine.query(query, region=REGION)
    assert opened == [1]
    assert np.isin(1, engine.collection.ids)
