"""An index of features that the caller has: what goes in, what comes out, what it refuses."""

import numpy as np
import pytest
import torch

import semret
from semret.errors import (
    ArgumentError,
    ImageDecodeError,
    IncompatibleIndexError,
    NonFiniteError,
    SemretError,
    ShapeError,
    UnknownNameError,
)
from semret.index.care.maintain import compact, remove
from semret.index.care.transfer import export_index, import_index
from semret.index.care.verify import verify
from semret.index.sync import sync_features as sync_module
from semret.index.sync.sync import sync
from tests.support.networks import TinyBackbone

MAPS = np.random.default_rng(0).standard_normal((70, 6, 8)).astype(np.float32)


@pytest.fixture
def index(tmp_path):
    return tmp_path / "own"


def test_what_is_stored_is_what_was_given(index):
    report = semret.build(features=MAPS, index=index)
    assert (report.images, report.added, report.embedded, report.model) == (70, 70, 70, "features")
    with semret.open_index(index) as engine:
        assert np.array_equal(engine.tokens(), MAPS)
        assert engine.ids.tolist() == list(range(1, 71))
        assert engine.collection.manifest.identity.grid == (1, 6)
        by_id, by_tokens = engine.query(5, center="none"), engine.query(tokens=MAPS[4], center="none")
        assert by_id.ids == by_tokens.ids
        assert by_id.ids[0] == 5
        expected = [float(semret.matched_similarity(MAPS[4], MAPS[id_ - 1])) for id_ in by_id.ids]
        assert by_id.scores == pytest.approx(expected, abs=1e-6)
        assert np.array_equal(semret.rsm(engine), semret.rsm(MAPS))
    assert verify(index, files=True).sound


@pytest.mark.parametrize(
    "given",
    [
        MAPS.astype(np.float64),
        MAPS.tolist(),
        torch.tensor(MAPS, requires_grad=True),
        list(torch.tensor(MAPS)),
        MAPS.reshape(70, 2, 3, 8),
    ],
    ids=["float64", "lists", "tensor with gradient", "list of tensors", "grids"],
)
def test_arrays_of_any_kind_come_in(index, given):
    semret.build(features=given, index=index)
    with semret.open_index(index) as engine:
        assert np.array_equal(engine.tokens(), MAPS)
        assert engine.collection.manifest.identity.grid == ((2, 3) if np.ndim(given) == 4 else (1, 6))


def test_memory_maps_are_read_by_slices(index, tmp_path, monkeypatch):
    np.save(tmp_path / "maps.npy", MAPS.astype(np.float16))
    monkeypatch.setattr(sync_module, "_BATCH_BYTES", 4 * 6 * 8 * 16)
    seen = []
    semret.build(
        features=np.load(tmp_path / "maps.npy", mmap_mode="r"), index=index, progress=lambda *at: seen.append(at)
    )
    assert seen == [(0, 70), (16, 70), (32, 70), (48, 70), (64, 70), (70, 70)]
    with semret.open_index(index) as engine:
        assert engine.tokens().dtype == np.float16
        assert np.array_equal(engine.tokens(), MAPS.astype(np.float16))


def test_names_ids_and_pooled_embeddings_are_the_callers(index, photos):
    paths, pooled = sorted(photos.glob("*.png")), np.eye(6, 3, dtype=np.float32) + 1
    semret.build([*paths[:4], "no file", "neither"], features=MAPS[:6], pooled=pooled, ids=range(101, 107), index=index)
    with semret.open_index(index) as engine:
        assert engine.ids.tolist() == list(range(101, 107))
        assert [path.rsplit("/", 1)[-1] for path in engine.paths] == [
            "0.png",
            "1.png",
            "2.png",
            "3.png",
            "no file",
            "neither",
        ]
        assert np.array_equal(np.asarray(engine.collection.features.pooled), pooled)
        hit = engine.query(paths[2])[0]
        assert (hit.id, hit.image.size) == (103, (32, 24))
        assert engine.query(tokens=MAPS[2], pooled=pooled[2])[0].id == 103
        with pytest.raises(ArgumentError, match=r"\(given\) cannot be computed from tokens; give it: pooled="):
            engine.query(tokens=MAPS[2])
        with pytest.raises(ImageDecodeError, match="no file: no such file"):
            _ = engine.query(105)[0].image
    assert verify(index, files=True).sound


def test_what_embed_gives_goes_in_whole(index, photos):
    found = semret.embed(sorted(photos.glob("*.png")), model=TinyBackbone())
    semret.build(features=found, index=index)
    with semret.open_index(index) as engine:
        assert engine.collection.manifest.identity.grid == (3, 3)
        assert engine.query(photos / "3.png")[0].path == str(photos / "3.png")
        assert np.array_equal(engine.tokens(), found.tokens)


@pytest.mark.parametrize("codec", ["pca4-int8", "pca8-int4", "pca4-pq2"])
def test_a_codec_stores_them_as_it_stores_a_networks(index, codec):
    semret.build(features=MAPS, codec=codec, index=index)
    with semret.open_index(index) as engine:
        assert engine.collection.manifest.codec_file is not None
        assert engine.query(7)[0].id == 7
        assert engine.query(tokens=MAPS[6])[0].id == 7
        before = engine.tokens(integers=True).integers
    again = semret.build(features=MAPS, index=index)
    assert (again.unchanged, again.embedded) == (70, 0)
    assert semret.build(features=MAPS[:3] + 1, index=index).added == 3
    with semret.open_index(index) as engine:
        assert np.array_equal(engine.tokens(integers=True).integers[:70], before)
        assert engine.query(tokens=MAPS[1] + 1)[0].id == 72
    assert verify(index).sound


def test_few_images_wait_for_their_codec(index):
    semret.build(features=MAPS[:10], codec="pca4-int8", index=index)
    with semret.open_index(index) as engine:
        assert np.array_equal(engine.tokens(), MAPS[:10])
    semret.build(features=MAPS[10:], index=index)
    with semret.open_index(index) as engine:
        assert engine.collection.manifest.codec_file is not None
        assert len(engine) == 70


def test_the_same_call_again_changes_nothing_and_more_is_added(index, photos):
    paths = sorted(photos.glob("*.png"))
    for more in ({}, {"ids": range(1, 7)}, {"paths": paths}, {"paths": paths, "ids": range(11, 17)}):
        place = index.with_name(f"own-{len(more)}-{'ids' in more}")
        assert semret.build(features=MAPS[:6], index=place, **more).added == 6
        again = semret.build(features=MAPS[:6], index=place, **more)
        assert (again.added, again.unchanged, again.images, again.embedded) == (0, 6, 6, 0)
        assert semret.build(features=MAPS[6:9], index=place).images == 9


def test_equal_features_are_copies_however_often_they_come(index):
    twice = np.concatenate([MAPS[:2], MAPS[:1]])
    assert semret.build(features=twice, index=index).images == 3
    assert semret.build(features=twice, index=index).images == 3
    with semret.open_index(index) as engine:
        assert engine.query(1)[0].ids == (1, 3)


def test_ids_names_and_features_stay_together(index, photos):
    paths = sorted(photos.glob("*.png"))
    semret.build(paths, features=MAPS[:6], ids=range(11, 17), index=index)
    for arguments, message in [
        ({"paths": paths, "features": MAPS[:6], "ids": range(21, 27)}, r"0\.png is in the index .* with id 11, not 21"),
        ({"paths": ["x"], "features": MAPS[:1], "ids": [12]}, "id 12 is in the index .* for another image"),
        ({"paths": paths, "features": MAPS[6:12]}, r"0\.png: the same file is in the index .* with other features"),
        ({"paths": [paths[0], photos / "copy.png"], "features": MAPS[8:10]}, "with other features"),
    ]:
        (photos / "copy.png").write_bytes(paths[0].read_bytes())
        with pytest.raises(ArgumentError, match=message):
            semret.build(index=index, **arguments)
    with semret.open_index(index) as engine:
        assert np.array_equal(engine.tokens(), MAPS[:6])
    # Forgotten only when they are gone: a removed file's features would serve again.
    remove(index, [paths[0]])
    with pytest.raises(ArgumentError, match="semret remove and semret compact forget them"):
        semret.build(paths[:1], features=MAPS[6:7], index=index)
    compact(index)
    assert semret.build(paths[:1], features=MAPS[6:7], index=index).added == 1
    assert verify(index).sound


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"features": MAPS[0, 0]}, ShapeError, r"expected \(N, S, C\) or \(N, H, W, C\)"),
        ({"features": MAPS[0]}, ShapeError, r"maps of one token as x\[:, None\]"),
        ({"features": MAPS[:0]}, ShapeError, "at least one image"),
        ({"features": [["a"]]}, SemretError, "expected"),
        ({"features": MAPS, "pooled": MAPS[:3, 0]}, ShapeError, r"pooled has shape \(3, 8\), expected \(70, D\)"),
        ({"features": MAPS, "ids": [1, 2]}, ShapeError, "ids has 2 entries, expected 70: one for each map"),
        ({"features": MAPS[:2], "ids": [4, 4]}, ArgumentError, "ids holds 4 twice"),
        ({"features": MAPS[:2], "ids": [0, 1]}, ArgumentError, "an id is 0, expected a whole number from 1"),
        ({"features": MAPS[:2], "ids": ["a", "b"]}, ArgumentError, "names of any kind are given as paths"),
        ({"features": MAPS[:2], "paths": ["a", "a"]}, ArgumentError, "paths holds 'a' twice"),
        ({"features": MAPS[:1], "paths": [""]}, ArgumentError, "empty or has a zero byte"),
        ({"features": MAPS * np.nan}, NonFiniteError, "features holds 3360 NaN"),
        ({"features": MAPS * 1e6, "dtype": "float16"}, NonFiniteError, "beyond the range of float16; leave dtype out"),
        ({"features": MAPS.astype(float) * 1e300}, NonFiniteError, "beyond the range of float32"),
        ({"features": MAPS, "codec": "pca"}, UnknownNameError, "codec 'pca' is unknown"),
        ({"features": MAPS, "model": "clip", "workers": 2}, ArgumentError, "model, workers: features need no network"),
        ({}, ArgumentError, "expected paths of pictures, or features"),
        ({"paths": ["a"], "ids": [1]}, ArgumentError, "expected paths of pictures, or features"),
    ],
)
def test_what_does_not_fit_is_told_and_leaves_no_trace(index, arguments, error, message):
    with pytest.raises(error, match=message):
        semret.build(index=index, **arguments)
    assert not index.exists()


def test_what_needs_a_network_says_that_there_is_none(index, photos):
    semret.build(features=MAPS[:6], index=index)
    before = semret.open_index(index).tokens()
    with semret.open_index(index) as engine:
        for call in (lambda: engine.query(photos / "0.png"), lambda: engine.query_text("dog"), engine.backbone):
            with pytest.raises(IncompatibleIndexError, match=r"knows no network.*engine\.query\(tokens=") as caught:
                call()
            assert "\n" not in str(caught.value)
    with pytest.raises(IncompatibleIndexError, match="knows no network"):
        semret.build(photos, index=index)
    with pytest.raises(IncompatibleIndexError, match="channels is 8 in the index, 5 now"):
        semret.build(features=MAPS[:, :, :5], index=index)
    assert np.array_equal(semret.open_index(index).tokens(), before)


def test_features_do_not_go_into_the_index_of_a_network(tiny_index):
    with pytest.raises(IncompatibleIndexError, match="backbone is tiny in the index, features now"):
        semret.build(features=np.zeros((2, 9, 12)) + 1, index=tiny_index)


def test_it_travels_and_is_coarsened_as_any_index(index, tmp_path):
    semret.build(features=MAPS, index=index)
    compact(index, codec="pca4-int8")
    export_index(index, tmp_path / "own.tar")
    made = import_index(tmp_path / "own.tar", tmp_path / "there" / "own", root=tmp_path)
    with semret.open_index(made) as engine:
        assert engine.query(9)[0].id == 9


def test_a_network_index_made_beside_it_is_another(tmp_path, photos):
    semret.build(features=MAPS[:3], index=tmp_path / "own")
    sync(tmp_path / "net", [photos], TinyBackbone)
    with semret.open_index(tmp_path / "net") as engine:
        assert len(engine) == 6
