"""The read side: everything it gives is what the network gave, and is refused when it is not."""

import gc
import os

import numpy as np
import pytest

from semret.errors import ArgumentError, IndexCorruptError, IndexNotFoundError, UnknownNameError
from semret.index.care.maintain import compact, remove
from semret.index.collection import open_collection
from semret.index.location import default_index_path, find_index
from semret.index.pictures.decode import decode_image
from semret.index.pictures.files import hash_file
from semret.index.store.layout import segment_path
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync


@pytest.fixture
def collection(tmp_path, photos, tiny_backbone, draw_picture):
    """Three segments, copies of one picture, and rows that nothing wants any more."""
    index = tmp_path / ".semret"
    draw_picture(2).save(photos / "twin.png")
    draw_picture(2).save(photos / "triplet.png")
    sync(index, [photos], tiny_backbone, options=SyncOptions(commit_rows=2, batch_size=2))
    remove(index, [photos / "4.png"])
    with open_collection(index) as opened:
        yield opened


@pytest.fixture
def features(collection, tiny_backbone):
    """What the network gives for each image, in the order of ids."""
    network = tiny_backbone()
    pictures = [network.prepare(decode_image(path, reduce_to=(24, 24))) for path in collection.paths(collection.ids)]
    return network.embed(np.stack(pictures))


def test_it_gives_what_the_network_gave(collection, features):
    tokens = features.tokens.astype("f2")
    assert len(collection) == 7
    assert np.array_equal(collection.tokens(collection.ids), tokens)
    assert np.array_equal(np.asarray(collection.features.pooled), features.pooled)
    assert np.asarray(collection.features.means) == pytest.approx(tokens.astype("f8").mean(axis=1), abs=1e-7)
    assert collection.features.norms == pytest.approx(
        np.linalg.norm(tokens.astype("f8").reshape(7, -1), axis=1), rel=1e-14
    )


def test_means_count_every_image_once_and_removed_ones_not_at_all(collection):
    tokens = collection.tokens(collection.ids).astype("f8")
    channel, position = collection.features.center("channel"), collection.features.center("position")
    assert channel.channel == pytest.approx(tokens.mean(axis=(0, 1)), abs=1e-6)
    assert position.position == pytest.approx(tokens.mean(axis=0), abs=1e-6)
    assert channel.position is None
    assert position.channel is None
    for center in (channel, position):
        assert center.pooled == pytest.approx(np.asarray(collection.features.pooled).mean(axis=0, dtype="f8"), abs=1e-6)
    assert collection.features.center("none").pooled is None
    with pytest.raises(UnknownNameError, match="unknown centring 'global'; choose one of channel, position, none"):
        collection.features.center("global")


def test_rows_can_be_taken_in_any_order(collection):
    everything = collection.tokens(collection.ids)
    order = np.array([5, 0, 3, 3, 6])
    assert np.array_equal(collection.tokens(collection.ids[order]), everything[order])
    assert np.array_equal(collection.features.pooled[order], np.asarray(collection.features.pooled)[order])
    assert np.array_equal(collection.features.pooled[2], np.asarray(collection.features.pooled)[2])
    assert np.array_equal(collection.features.means[-2:], np.asarray(collection.features.means)[-2:])
    assert collection.tokens([]).shape == (0, 9, 12)
    assert collection.features.pooled.shape == (len(collection.features.pooled), 12)


def test_a_source_gives_the_features_of_its_candidates(collection):
    chosen = collection.ids[[4, 1, 2]]
    source = collection.source(chosen)
    assert source.ids.tolist() == chosen.tolist()
    assert source.shape == (9, 12)
    assert np.array_equal(source.read(np.array([2, 0])), collection.tokens(chosen[[2, 0]]))
    assert np.array_equal(source.pooled, collection.features.pooled[[4, 1, 2]])
    assert np.array_equal(source.means, collection.features.means[[4, 1, 2]])
    assert np.array_equal(source.norms, collection.features.norms[[4, 1, 2]])


def test_images_are_found_by_path_and_by_content(collection, photos, monkeypatch):
    id_ = collection.find_path(photos / "3.png")
    assert collection.paths([id_]) == [str(photos / "3.png")]
    assert collection.find_hash(hash_file(photos / "3.png")) == id_
    twins = [collection.find_path(photos / name) for name in ("2.png", "twin.png", "triplet.png")]
    assert len(set(twins)) == 3
    assert collection.find_hash(hash_file(photos / "twin.png")) == min(twins)
    assert collection.find_path(photos / "4.png") is None
    assert collection.find_hash("00" * 32) is None
    monkeypatch.chdir(photos)
    assert collection.find_path("3.png") == id_
    assert collection.find_path("../photos/./3.png") == id_


def test_an_unknown_id_is_named(collection):
    for wanted in ([0], [99], [int(collection.ids[0]), 10**9]):
        with pytest.raises(ArgumentError, match=rf"has no image with id {wanted[-1]}"):
            collection.tokens(wanted)


def test_the_shortlist_is_the_cosine_of_centred_pooled_embeddings(collection):
    pooled = np.asarray(collection.features.pooled).astype("f8")
    centred = pooled - pooled.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    cosines = unit @ unit.T
    found = collection.shortlist(pooled, 3)
    for row, (ids, scores) in enumerate(zip(found.ids, found.scores, strict=True)):
        assert scores == pytest.approx(np.sort(cosines[row])[::-1][:3], abs=1e-6)
        assert cosines[row][collection.rows(ids)] == pytest.approx(scores, abs=1e-6)
        assert np.array_equal(collection.pooled_scores(pooled[row], ids), scores)


@pytest.mark.parametrize("harm", ["missing", "damaged", "stale"])
def test_without_a_sound_shortlist_file_the_answer_is_the_same(harm, collection, photos, tiny_backbone):
    expected = collection.shortlist(np.asarray(collection.features.pooled), 7)
    path = collection.path / "shortlist.faiss"
    raw = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "damaged":
        path.write_bytes(raw[:200] + b"\xff" + raw[201:])
    else:
        sync(collection.path, [photos], tiny_backbone)
        remove(collection.path, [photos / "4.png"])
        path.write_bytes(raw)
    with open_collection(collection.path) as again:
        found = again.shortlist(np.asarray(again.features.pooled), 7)
        assert np.array_equal(found.ids, expected.ids)
        assert np.array_equal(found.scores, expected.scores)


def test_a_damaged_row_is_refused_and_others_are_not(collection):
    with_row = collection.ids[2:3]
    number, row = collection.places[2]
    path = segment_path(collection.path, int(number))
    offset = collection.segments[int(number)].offsets["tokens"] + int(row) * 9 * 12 * 2 + 5
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 0x40
    path.write_bytes(bytes(raw))
    with pytest.raises(IndexCorruptError, match=rf"row {row} of tokens does not have its checksum; run semret verify"):
        collection.tokens(with_row)
    assert collection.tokens(collection.ids[:1]).shape == (1, 9, 12)
    assert collection.features.pooled[2].shape == (12,)


def test_paths_are_shown_as_they_were_given(tmp_path, photos, tiny_backbone, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sync(".semret", ["photos"], tiny_backbone)
    assert open_collection(".semret").paths([1]) == [os.path.join("photos", "0.png")]  # noqa: PTH118
    monkeypatch.chdir(photos)
    assert open_collection("../.semret").paths([1]) == ["0.png"]
    monkeypatch.chdir("/")
    assert open_collection(tmp_path / ".semret").paths([1]) == [str(photos / "0.png").lstrip("/")]
    sync(tmp_path / ".semret", [photos], tiny_backbone)
    assert open_collection(tmp_path / ".semret").paths([1]) == [str(photos / "0.png")]


def test_an_index_is_found_as_git_finds_its_own(tmp_path, tiny_index, photos, monkeypatch):
    monkeypatch.delenv("SEMRET_INDEX", raising=False)
    monkeypatch.chdir(photos)
    assert find_index() == tiny_index
    assert find_index(photos) == tiny_index
    assert find_index(tiny_index) == tiny_index
    assert default_index_path() == tiny_index
    assert default_index_path("other") == photos / "other"
    monkeypatch.setenv("SEMRET_INDEX", str(tmp_path / "named"))
    assert default_index_path() == tmp_path / "named"
    with pytest.raises(IndexNotFoundError, match=r"named is no index, .* make one with semret index PATH"):
        find_index()


def test_a_mistyped_index_does_not_lead_to_another(tiny_index, photos):
    with pytest.raises(IndexNotFoundError, match="typo is no index"):
        find_index(photos / "typo")


def test_a_place_without_an_index_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.delenv("SEMRET_INDEX", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IndexNotFoundError, match=r"there is no \.semret in .* make one with semret index PATH"):
        find_index()
    assert default_index_path() == tmp_path / ".semret"


def test_reading_loads_no_heavy_package(tiny_index):
    import subprocess
    import sys

    code = (
        "import sys\nfrom semret.index.collection import open_collection\n"
        "c = open_collection(sys.argv[1]); c.tokens(c.ids); c.features.center('channel')\n"
        "c.shortlist(c.features.pooled[0][None], 3)\n"
        "print([name for name in ('torch', 'faiss', 'h5py', 'numba', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tiny_index)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_segments_stay_while_a_source_of_a_dropped_collection_is_in_use(tmp_path, photos, tiny_backbone):
    index = tmp_path / ".semret"
    sync(index, [photos], tiny_backbone)
    source = open_collection(index).source([1, 2])
    gc.collect()
    remove(index, [photos / "0.png"])
    compact(index)
    assert source.read(np.array([1, 0])).shape == (2, 9, 12)
    assert source.pooled.shape == (2, 12)
