"""Words: candidates for a region, images that come and go, and nothing believed that a file says."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from semret.errors import IndexCorruptError
from semret.index import region_words
from semret.index.care.maintain import compact, remove
from semret.index.care.repair import repair
from semret.index.care.transfer import export_index, import_index
from semret.index.care.verify import verify
from semret.index.collection import Collection
from semret.index.region_words import find_words
from semret.index.shortlist import postings, word_training
from semret.index.shortlist.postings import Postings
from semret.index.shortlist.word_directions import Assigner
from semret.index.shortlist.word_recall import shares, unit_tokens
from semret.index.shortlist.word_training import (
    LEAST_RECALL,
    differing_words,
    write_trained_words,
    write_updated_words,
)
from semret.index.shortlist.words import WordIndex, open_words, score_holders, unworded
from semret.index.store.paged_file import write_paged
from semret.index.store.words_file import WORDS_KIND
from semret.index.summary import summarise
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.integer_tokens import IntegerTokens
from tests.support.displays import Waits

MANIFEST = SimpleNamespace(as_bytes=lambda: b"a manifest", identity=SimpleNamespace(grid=(3, 4)))
SHAPE = 12, 8


def things(count, seed=0):
    """Maps whose tokens recur: some hundred directions, each in many images, and two tokens of zeros."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(5).standard_normal((max(count // 4, 6), SHAPE[1]))
    tokens = directions[rng.integers(0, len(directions), (count, SHAPE[0]))]
    tokens = tokens + 0.15 * rng.standard_normal(tokens.shape)
    scales = np.abs(tokens).max(axis=2) / 127 * rng.uniform(0.5, 2, tokens.shape[:2])
    integers = np.rint(tokens / np.abs(tokens).max(axis=2, keepdims=True) * 127).astype(np.int8)
    integers[count // 3, 0] = 0
    scales[count // 2, 1] = 0
    ids = np.sort(rng.choice(3 * count, count, replace=False)) + 1
    return ids, IntegerTokens(integers=integers, scales=scales.astype(np.float32))


def trained(path, ids, tokens, **options):
    write_trained_words(path, MANIFEST, ids, lambda rows: tokens[rows], **options)
    found = open_words(path, MANIFEST, SHAPE, ids)
    assert found is not None
    return found


def region(tokens, row, cells):
    unit, lengths = unit_tokens(tokens[np.array([row])])
    return unit[0, cells], shares(lengths[0, cells])


def row_maxima(tokens, query, weights):
    unit = unit_tokens(tokens)[0]
    return (unit @ query.T).max(axis=1) @ weights


def pairs_in(lists, among=None):
    return {
        (int(lists.ids[place]), word)
        for word in range(lists.words)
        for place in lists.holders(word)
        if among is None or lists.ids[place] in among
    }


@pytest.mark.parametrize("count", [1, 2, 40, 300])
def test_each_image_has_the_words_of_its_tokens_once(count, tmp_path):
    ids, tokens = things(count)
    lists = trained(tmp_path / "words", ids, tokens)
    unit, lengths = unit_tokens(tokens)
    expected = set()
    for row in range(count):
        for one in unit[row][lengths[row] > 0]:
            expected.add((int(ids[row]), int(np.argmax(lists.centroids @ one))))
    assert pairs_in(lists) == expected
    assert differing_words(lists, ids, lambda rows: tokens[rows]) == 0


def test_of_many_words_one_is_found_that_is_about_the_nearest(monkeypatch):
    unit = unit_tokens(things(900)[1])[0]
    centroids = np.unique(unit[:60].reshape(-1, SHAPE[1]), axis=0)[1:]
    assert len(centroids) > 256
    near = np.einsum("nsd,nsd->ns", unit, centroids[np.maximum(Assigner(centroids)(unit), 0)])
    nearest = (unit @ centroids.T).max(axis=2)
    there = unit.any(axis=2)
    assert ((nearest - near)[there] < 1e-6).mean() > 0.97
    assert (Assigner(centroids)(unit)[~there] == -1).all()


def test_an_image_is_worth_what_the_nearest_words_that_it_holds_are_worth():
    rng = np.random.default_rng(1)
    centroids = rng.standard_normal((9, 4)).astype("f4")
    query = rng.standard_normal((3, 4)).astype("f4")
    weights = np.array([0.5, 0.3, 0.2])
    held = [np.flatnonzero(rng.random(20) < 0.4) for _ in range(9)]
    for probed in (1, 4, 9):
        expected = np.zeros(20)
        for one, weight in zip(query @ centroids.T, weights, strict=True):
            order = np.argsort(-one)
            floor = one[order[probed]] if probed < 9 else -1
            for image in range(20):
                products = [one[word] - floor for word in order[:probed] if image in held[word]]
                expected[image] += weight * max(products, default=0)
        found = score_holders(query, weights, centroids, held.__getitem__, probed=probed, images=20)
        assert np.allclose(found, expected, atol=1e-6)


def test_whoever_examines_all_images_leaves_none_out(tmp_path):
    ids, tokens = things(200)
    index = WordIndex(trained(tmp_path / "words", ids, tokens))
    query, weights = region(tokens, 3, [0, 1, 4, 5])
    for count in (200, 500):
        assert index.candidates(query, weights, ids, count).tolist() == ids.tolist()
    some = ids[::3]
    assert index.candidates(query, weights, some, len(some)).tolist() == some.tolist()


def test_candidates_are_those_of_the_largest_estimates_among_what_is_allowed(tmp_path):
    ids, tokens = things(400)
    lists = trained(tmp_path / "words", ids, tokens)
    index = WordIndex(lists)
    query, weights = region(tokens, 7, [2, 3])
    scores = score_holders(query, weights, lists.centroids, lists.holders, probed=lists.probed, images=400)
    for allowed in (np.arange(400), np.arange(1, 400, 3)):
        found = index.candidates(query, weights, ids[allowed], 25)
        best = allowed[np.lexsort((allowed, -scores[allowed]))[:25]]
        assert found.tolist() == ids[np.sort(best)].tolist()


def test_the_recall_that_is_told_is_the_recall_of_regions(tmp_path):
    ids, tokens = things(2500, seed=3)
    lists = trained(tmp_path / "words", ids, tokens, least_examined=1)
    assert lists.recall >= LEAST_RECALL
    assert lists.examined < 2500 / 2
    index, found = WordIndex(lists), []
    for row in range(0, 2500, 40):
        query, weights = region(tokens, row, [1, 2, 5, 6])
        scores = row_maxima(tokens, query, weights)
        scores[row] = -1
        candidates = index.candidates(query, weights, ids, lists.examined)
        found.append(np.isin(ids[np.argsort(-scores)[:10]], candidates).mean())
    assert np.mean(found) >= lists.recall - 0.02


def test_more_images_are_examined_for_more_hits_and_of_a_collection_that_has_grown(tmp_path):
    ids, tokens = things(50)
    lists = trained(tmp_path / "words", ids, tokens, least_examined=30)
    assert lists.examined == 30
    assert [WordIndex(lists).examined(hits) for hits in (1, 10, 25)] == [30, 30, 75]
    lists.trained = 25
    assert WordIndex(lists).examined(5) == 60


def test_new_images_are_candidates_and_removed_ones_are_not(tmp_path):
    ids, tokens = things(300)
    old, now = np.flatnonzero(np.arange(300) % 5 != 1), np.flatnonzero(np.arange(300) % 7 != 2)
    lists = trained(tmp_path / "words", ids[old], tokens[old])
    new = np.setdiff1d(now, old)
    assert ids[now][unworded(lists, ids[now])].tolist() == ids[new].tolist()
    query, weights = region(tokens, 3, [0, 1, 4])
    found = WordIndex(lists).candidates(query, weights, ids[now], 10)
    assert np.isin(ids[new], found).all()
    assert np.isin(found, ids[now]).all()
    assert len(found) == len(new) + 10
    write_updated_words(tmp_path / "new", MANIFEST, lists, ids[now], lambda rows: tokens[now][rows])
    updated = open_words(tmp_path / "new", MANIFEST, SHAPE, ids[now])
    assert updated.ids.tolist() == ids[now].tolist()
    assert (updated.trained, updated.recall, updated.examined) == (len(old), lists.recall, lists.examined)
    both = set(ids[np.intersect1d(old, now)].tolist())
    assert pairs_in(updated, both) == pairs_in(lists, both)
    assert differing_words(updated, ids[now], lambda rows: tokens[now][rows]) == 0
    # An update is what words with the same directions have of these images, however it came about.
    write_updated_words(tmp_path / "again", MANIFEST, updated, ids[now], lambda rows: tokens[now][rows])
    assert (tmp_path / "again").read_bytes() == (tmp_path / "new").read_bytes()


def test_images_of_several_blocks_are_told_apart(tmp_path, monkeypatch):
    ids, tokens = things(300)
    whole = pairs_in(trained(tmp_path / "one", ids, tokens))
    from semret.index.shortlist import words
    from semret.index.store import words_file

    for module in (words, word_training, words_file):
        monkeypatch.setattr(module, "BLOCK_IMAGES", 128)
    monkeypatch.setattr(postings, "_MERGED", 64)
    lists = trained(tmp_path / "two", ids, tokens)
    assert pairs_in(lists) == whole
    assert lists.file.whole("ends").shape == (lists.words, 3)


def test_postings_come_in_the_order_of_images_however_they_were_gathered():
    gathered = Postings(3)
    gathered.add(np.array([5, 9]), np.array([[0, 2, 2], [-1, 0, 0]]))
    gathered.merge()
    gathered.add_sorted([np.array([1, 7], "u4"), np.array([], "u4"), np.array([6], "u4")])
    assert [gathered.holders(word).tolist() for word in range(3)] == [[1, 5, 7, 9], [], [5, 6]]


def test_the_same_collection_gives_the_same_file(tmp_path):
    ids, tokens = things(400)
    trained(tmp_path / "one", ids, tokens)
    trained(tmp_path / "two", ids, tokens)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_maps_of_zeros_have_no_words_and_are_no_obstacle(tmp_path):
    tokens = IntegerTokens(integers=np.zeros((5, *SHAPE), "i1"), scales=np.zeros((5, SHAPE[0]), "f4"))
    ids = np.arange(1, 6)
    lists = trained(tmp_path / "words", ids, tokens)
    assert pairs_in(lists) == set()
    query, weights = region(tokens, 0, [0, 1])
    assert WordIndex(lists).candidates(query, weights, ids, 2).tolist() == [1, 2]


def test_any_flipped_byte_is_noticed_before_it_is_believed(tmp_path):
    ids, tokens = things(300)
    path = tmp_path / "words"
    lists = trained(path, ids, tokens)
    query, weights = region(tokens, 3, [0, 1, 4, 5])
    expected, whole, refused = WordIndex(lists).candidates(query, weights, ids, 20), path.read_bytes(), 0
    for position in range(0, len(whole), 53):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 8]) + whole[position + 1 :])
        changed = open_words(path, MANIFEST, SHAPE, ids)
        if changed is None:
            refused += 1
            continue
        try:
            assert WordIndex(changed).candidates(query, weights, ids, 20).tolist() == expected.tolist()
        except IndexCorruptError:
            refused += 1
    assert refused > 0


def test_words_of_another_index_and_what_is_planted_are_passed_over(tmp_path):
    ids, tokens = things(60)
    path = tmp_path / "words"
    trained(path, ids, tokens)
    assert open_words(path, SimpleNamespace(as_bytes=lambda: b"another"), SHAPE, ids) is None
    assert open_words(path, MANIFEST, (12, 9), ids) is None
    assert open_words(path, MANIFEST, SHAPE, ids[:0]) is None
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "nothing", "."):
        assert open_words(tmp_path / name, MANIFEST, SHAPE, ids) is None


def test_crafted_words_name_no_image_that_there_is_not(tmp_path):
    ids, tokens = things(60)
    lists = trained(tmp_path / "words", ids, tokens)
    query, weights = region(tokens, 3, [0, 1])
    lists.file.part = lambda _, start, stop: np.full(stop - start, 60, "<u2")
    with pytest.raises(IndexCorruptError, match="names images that it does not have"):
        WordIndex(lists).candidates(query, weights, ids, 5)
    for centroids in (np.full((lists.words, SHAPE[1]), np.nan, "f4"), np.full((lists.words, SHAPE[1]), 3e38, "f4")):
        arrays = {name: lists.file.whole(name) for name in ("ids", "ends", "postings")} | {"centroids": centroids}
        crafted = {name: (array,) for name, array in arrays.items()}
        write_paged(tmp_path / "crafted", WORDS_KIND, lists.file.mark, lists.file.counts, crafted)
        assert open_words(tmp_path / "crafted", MANIFEST, SHAPE, ids) is None


# -- in an index


@pytest.fixture
def worded(monkeypatch):
    """Have indexes of any size words."""
    monkeypatch.setattr(region_words, "LEAST_WORDED", 4)


@pytest.fixture
def index(tmp_path, worded, draw_picture, tiny_backbone):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        draw_picture(number).save(folder / f"{number:02}.png")
    sync(tmp_path / "index", [folder], tiny_backbone, options=SyncOptions(codec="pca6-int8", fit_from=4, commit_rows=6))
    return tmp_path / "index"


def test_a_bar_says_that_words_are_fitted(tmp_path, worded, draw_picture, tiny_backbone):
    (tmp_path / "photos").mkdir()
    for number in range(8):
        draw_picture(number).save(tmp_path / "photos" / f"{number}.png")
    shown = Waits()
    options = SyncOptions(codec="pca6-int8", fit_from=4)
    sync(tmp_path / "index", [tmp_path / "photos"], tiny_backbone, options=options, progress=shown)
    assert "fitting words for regions" in shown.waits
    assert shown.waits[-1] is None
    again = Waits()
    sync(tmp_path / "index", [tmp_path / "photos"], tiny_backbone, progress=again)
    assert "fitting words for regions" not in again.waits


def test_an_index_keeps_its_words_up_to_date(index, tmp_path, draw_picture, tiny_backbone, monkeypatch):
    first = (index / "regions.ivf").read_bytes()
    for number in range(20, 24):
        draw_picture(number).save(tmp_path / "photos" / f"{number:02}.png")
    sync(index, [tmp_path / "photos"], tiny_backbone)
    remove(index, [tmp_path / "photos" / "03.png"])
    # What is few stays without words.
    assert (index / "regions.ivf").read_bytes() == first
    assert verify(index).sound
    monkeypatch.setattr(region_words, "LONGEST_TAIL", 2)
    remove(index, [tmp_path / "photos" / "05.png"])
    with Collection(index) as found:
        words = find_words(found)
        assert words.lists.ids.tolist() == found.ids.tolist()
        assert words.lists.trained == 20
        summary = summarise(found)
    assert (summary.regions, summary.region_words, summary.region_recall) == ("patches", words.lists.words, 1.0)
    assert "first stage by" in summary.regions_note
    assert verify(index).sound
    remove(index, [tmp_path / "photos" / f"{number:02}.png" for number in range(6, 24)])
    with Collection(index) as found:
        assert find_words(found).lists.trained == len(found) == 4
    remove(index, [tmp_path / "photos" / "00.png"])
    assert not (index / "regions.ivf").exists()
    assert verify(index).sound
    with Collection(index) as found:
        assert summarise(found).regions == "all"


def test_another_codec_has_other_words(index):
    first = (index / "regions.ivf").read_bytes()
    compact(index, codec="pca4-int8")
    assert (index / "regions.ivf").read_bytes() != first
    assert verify(index).sound
    with Collection(index) as found:
        assert find_words(found).lists.centroids.shape[1] == 4


def test_damaged_words_are_found_and_made_anew(index):
    path = index / "regions.ivf"
    whole = path.read_bytes()
    for position in range(0, len(whole), 611):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        assert [defect.kind for defect in verify(index).defects] == ["words"], position
    actions, report = repair(index)
    assert report.sound
    assert actions == ["rebuilt regions.ivf"]
    assert path.read_bytes() == whole


def test_words_that_are_not_those_of_the_tokens_are_found(index):
    with Collection(index) as found:
        wrong = IntegerTokens(
            integers=np.random.default_rng(0).integers(-127, 128, (20, *found.features.shape), dtype="i1"),
            scales=np.ones((20, found.features.shape[0]), "f4"),
        )
        lists = find_words(found).lists
        write_updated_words(index / "other", found.manifest, lists, found.ids + 100, lambda rows: wrong[rows])
        moved = open_words(index / "other", found.manifest, found.features.shape, found.ids + 100)
        moved.ids = found.ids
        moved.file.counts["examined"] = 7
        write_updated_words(index / "regions.ivf", found.manifest, moved, found.ids, lambda rows: wrong[rows])
    (index / "other").unlink()
    defects = verify(index).defects
    assert [defect.kind for defect in defects] == ["words"]
    assert "not made of the tokens" in str(defects[0])


def test_an_archive_leaves_words_out_and_they_are_made_anew(index, tmp_path):
    archive = export_index(index, tmp_path / "index.tar")
    import_index(archive, tmp_path / "there")
    assert (tmp_path / "there" / "regions.ivf").exists()
    assert verify(tmp_path / "there", files=False).sound


def test_where_tokens_are_damaged_there_are_no_words_and_commands_go_on(index, tmp_path, monkeypatch):
    monkeypatch.setattr(region_words, "LONGEST_TAIL", 0)
    (index / "regions.ivf").unlink()
    (segment, *_) = sorted((index / "segments").glob("*.h5"))
    content = bytearray(segment.read_bytes())
    with Collection(index) as found:
        stored = found.features.read("tokens", np.array([2]))[0].tobytes()
    at = bytes(content).index(stored)
    content[at] ^= 1
    segment.write_bytes(content)
    remove(index, [tmp_path / "photos" / "19.png"])
    assert not (index / "regions.ivf").exists()


def test_without_a_codec_there_are_no_words(tmp_path, worded, photos, tiny_backbone):
    sync(tmp_path / "plain", [photos], tiny_backbone, options=SyncOptions(codec="none"))
    assert not (tmp_path / "plain" / "regions.ivf").exists()
    with Collection(tmp_path / "plain") as found:
        assert find_words(found) is None
