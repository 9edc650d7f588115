"""What is typed in a notebook: queries in every form, results as lists and tables, stored maps, sets of engines."""

import io
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import semret
from semret.errors import ArgumentError, ImageDecodeError, MissingDependencyError, ShapeError, UnknownNameError
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.integer_tokens import IntegerTokens
from tests.support.networks import TinyBackbone


@pytest.fixture(params=["none", "pca8-int8"])
def engine(request, tmp_path, photos):
    options = SyncOptions(codec=request.param, fit_from=2)
    sync(tmp_path / ".semret", [photos], TinyBackbone, options=options)
    with semret.open_index(tmp_path / ".semret") as opened:
        opened._backbone = TinyBackbone()
        yield opened


@pytest.fixture
def plain(tiny_index):
    with semret.open_index(tiny_index) as opened:
        opened._backbone = TinyBackbone()
        yield opened


# -- queries


def test_every_form_of_a_picture_asks_the_same(engine, photos):
    file = photos / "2.png"
    pixels = np.asarray(Image.open(file))
    expected = engine.query(file)
    found = embedded = semret.embed(file, model=engine.backbone())
    forms = [3, np.int64(3), file.read_bytes(), io.BytesIO(file.read_bytes()), Image.open(file), pixels]
    forms += [pixels.transpose(2, 0, 1), torch.tensor(pixels)]
    for form in forms:
        found = engine.query(form)
        assert found.ids == expected.ids
        assert np.array_equal(found.scores, expected.scores)
    for tokens in (embedded.tokens[0], torch.tensor(embedded.tokens[0], requires_grad=True)):
        assert np.array_equal(engine.query(tokens=tokens).scores, expected.scores)
        assert np.array_equal(engine.query(tokens=tokens, pooled=embedded.pooled).scores, expected.scores)


def test_an_id_is_the_query_itself(engine):
    assert 3 not in engine.query(3, exclude_self=True).ids
    assert engine.query(3).query.endswith("2.png")


def test_what_cannot_be_asked_says_what_can(plain, photos):
    paths = sorted(photos.glob("*.png"))
    for call, error, message in [
        (lambda: plain.query(paths), ArgumentError, r"a list of 6.*\[engine\.query\(picture\) for picture in"),
        (lambda: plain.query(99), ArgumentError, "no image with id 99; engine.ids"),
        (lambda: plain.query(True), ArgumentError, "of type bool"),
        (lambda: plain.query(), ArgumentError, "either a picture, or tokens"),
        (lambda: plain.query(paths[0], tokens=[[1.0]]), ArgumentError, "either a picture, or tokens"),
        (lambda: plain.query(pooled=[1.0]), ArgumentError, "either a picture, or tokens"),
        (lambda: plain.query(tokens=np.zeros((9, 5))), ShapeError, r"expected \(S, 12\)"),
        (lambda: plain.query(tokens=np.zeros((9, 12)), pooled=np.zeros(3)), ShapeError, "3 values, expected 12"),
        (lambda: plain.query(tokens=np.zeros((9, 12)), region=(0, 0, 4, 4)), ArgumentError, "features alone"),
        (lambda: plain.tokens("nix.png"), ArgumentError, "image nix.png is not in the index"),
        (lambda: plain.tokens([2.5]), ArgumentError, "given as float, expected an id, a path or a hit"),
        (lambda: plain.tokens(center="position"), UnknownNameError, "expected one of none, channel"),
        (lambda: plain.tokens(integers=True), ArgumentError, "stores floats, not integers"),
    ]:
        with pytest.raises(error, match=message):
            call()


def test_features_are_explained_without_places(plain):
    tokens = plain.tokens(1)[0]
    explained = plain.explain(semret.embed(plain.paths[0], model=plain.backbone()).names[0], 2)
    assert explained.can_be_drawn
    given = plain.query(tokens=tokens, explain=True, k=2)
    assert [pair.query_box for pair in given.explanations[1]] == [None] * 9
    with pytest.raises(ArgumentError, match="<features> is known by its features alone"):
        given.explanations[1].draw()
    assert "features" in given.explanations[1]._repr_html_()
    assert given.explanations[1]._repr_png_() is None
    assert "0.png" in given._repr_html_()


# -- results


def test_results_are_lists_and_tables(plain, photos):
    result = plain.query(photos / "2.png", k=3)
    assert result.ids == [hit.id for hit in result]
    assert result.paths == [hit.path for hit in result]
    assert result.scores.tolist() == [hit.score for hit in result]
    assert set(result.as_json()["hits"][0]) == {
        "rank", "id", "path", "score", "pooled_score", "ids", "paths", "in_shortlist",
    }  # fmt: skip
    table = pytest.importorskip("pandas") and result.to_pandas()
    assert list(table.columns) == ["rank", "id", "path", "score", "pooled_score", "copies"]
    assert table["path"].tolist() == result.paths
    assert table["score"].dtype == np.float64


def test_a_missing_pandas_is_named_in_one_line(plain, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="pip install pandas"):
        plain.query(1).to_pandas()


def test_the_picture_of_a_hit_is_what_was_indexed_wherever_we_are(tmp_path, plain, photos, monkeypatch):
    shutil.copy(photos / "3.png", photos / "copy.png")
    sync(plain.collection.path, [photos], TinyBackbone)
    monkeypatch.chdir(tmp_path)
    with semret.open_index(plain.collection.path) as engine:
        first, second = engine.query(4, k=2)
    monkeypatch.chdir(photos)
    expected = np.asarray(Image.open(photos / "3.png"))
    assert np.array_equal(np.asarray(first.image), expected)
    (photos / "3.png").write_bytes((photos / "0.png").read_bytes())
    assert np.array_equal(np.asarray(first.image), expected), "its copy is opened"
    (photos / "copy.png").unlink()
    with pytest.raises(ImageDecodeError, match=r"3\.png: is no longer what was indexed; run semret index"):
        _ = first.image
    assert second.image.size == (32, 24)


def test_candidates_may_be_the_hits_of_another_index(tmp_path, plain, photos):
    sync(tmp_path / "other", sorted(photos.glob("*.png"))[::-1][:4], TinyBackbone)
    with semret.open_index(tmp_path / "other") as other:
        first_stage = other.query(photos / "5.png", k=3)
    found = plain.rerank(photos / "5.png", first_stage)
    assert sorted(found.paths) == sorted(first_stage.paths)
    assert sorted(plain.rerank(photos / "5.png", list(first_stage[:2])).paths) == sorted(first_stage.paths[:2])
    assert plain.rerank(photos / "5.png", torch.tensor([2, 3])).stats.shortlist == 2


def test_an_engine_is_a_context(tiny_index):
    with semret.open_index(tiny_index) as engine:
        assert len(engine.query(1)) == 5
    assert not engine.collection.close.alive


def test_bars_are_drawn_on_request(plain, photos, capsys):
    plain.query(photos / "1.png", progress=True)
    plain.rerank(photos / "1.png", [1, 2], progress=True)
    semret.rsm(plain, progress=True)
    shown = capsys.readouterr().err
    assert shown.count("matching: 100%") >= 2
    assert "pairs: 100%" in shown


# -- stored maps


def test_maps_come_by_id_path_and_hit_in_order(engine, photos):
    everything = engine.tokens()
    assert everything.shape[:2] == (6, 9)
    assert engine.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert [path[-5:] for path in engine.paths] == [f"{n}.png" for n in range(6)]
    assert np.array_equal(engine.tokens([photos / "4.png", 2, 2]), everything[[4, 1, 1]])
    assert np.array_equal(engine.tokens(engine.query(3)[0]), everything[2:3])
    assert np.array_equal(engine.tokens(torch.tensor([3, 1])), everything[[2, 0]])


def test_a_centre_leaves_what_is_compared(engine):
    coded = engine.collection.features.codec is not None
    centred = engine.tokens(center="channel")
    score = float(semret.matched_similarity(centred[0], centred[1]))
    found = {hit.id: hit.score for hit in engine.query(1, k=6)}
    assert score == pytest.approx(found[2], abs=1e-5)
    assert centred.shape[2] == (8 if coded else 12)
    assert engine.tokens().shape[2] == (9 if coded else 12)
    if coded:
        integers = engine.tokens([1, 2], integers=True)
        assert isinstance(integers, IntegerTokens)
        assert np.array_equal(integers.as_floats(), centred[:2])
        assert float(semret.matched_similarity(integers[:1].as_floats()[0], centred[1])) == pytest.approx(score)


# -- sets


def test_the_matrix_of_an_engine_is_that_of_its_uncentred_queries(engine):
    matrix = semret.rsm(engine)
    for id_ in (1, 4):
        for hit in engine.query(id_, k=6, center="none"):
            assert matrix[id_ - 1, hit.id - 1] == pytest.approx(hit.score, abs=1e-6)
    assert np.array_equal(semret.rsm(engine, engine), matrix)
    assert np.array_equal(semret.rsm(engine.tokens()), matrix)
    assert semret.rsm(engine, kernel="linear", layout="NCHW").shape == (6, 6)


def test_embedded_pictures_are_compared_with_an_index(plain, photos):
    found = semret.embed([photos / "1.png", photos / "5.png"], model=plain.backbone())
    matrix = semret.rsm(found, plain)
    assert matrix.shape == (2, 6)
    assert matrix[[0, 1], [1, 5]] == pytest.approx(1, abs=1e-3)


def test_engines_of_two_networks_or_codecs_are_not_compared(tmp_path, photos):
    for name, codec, seed in (("a", "none", 0), ("b", "none", 1), ("c", "pca11-int8", 0), ("d", "pca11-int8", 1)):
        options = SyncOptions(codec=codec, fit_from=2)
        sync(tmp_path / name, [photos], lambda seed=seed: TinyBackbone(seed=seed), options=options)
    a, b, c, d = (semret.open_index(tmp_path / name) for name in "abcd")
    assert c.representations.shape == a.representations.shape
    for one, other in ((a, b), (a, c), (c, d)):
        with pytest.raises(ShapeError, match="channels have nothing in common; compare indexes of one network"):
            semret.rsm(one, other)
