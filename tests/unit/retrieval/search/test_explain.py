"""`engine.explain`: pairs, boxes and shares of every kind of search, and what it refuses."""

import json
import math
import os

import numpy as np
import pytest
from PIL import Image

import semret
from semret.errors import ArgumentError, StorageError
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.retrieval.search.query_pictures import EncodedImage

WAYS = [
    {},
    {"kernel": "linear"},
    {"center": "none"},
    {"center": "position"},
    {"score": "query"},
    {"score": "query", "invariance": "maxsim"},
    {"region": "25%,25%,50%,50%"},
    {"region": "25%,25%,50%,50%", "center": "position"},
    {"region": "25%,25%,50%,50%", "center": "none"},
    {"invariance": "none"},
    {"invariance": "maxsim"},
    {"invariance": "maxsim", "kernel": "linear"},
    {"solver": "scipy"},
    {"solver": "topk-greedy"},
]


@pytest.fixture(scope="module")
def engine(rendered_index):
    return semret.open(rendered_index)


@pytest.fixture(scope="module")
def coded(rendered, tmp_path_factory):
    """An engine whose index has a codec."""
    from semret.index.backbones.registry import create_backbone

    index = tmp_path_factory.mktemp("coded") / ".semret"
    options = SyncOptions(codec="pca32-int8", fit_from=4)
    sync(index, [rendered], lambda: create_backbone(size=(128, 128)), options=options)
    engine = semret.open(index)
    assert engine.collection.features.codec is not None
    return engine


@pytest.fixture
def picture(rendered):
    return rendered / "scene-002-1.jpg"


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("which", ["engine", "coded"])
def test_shares_sum_to_the_score_of_the_query(request, which, way, picture):
    searched = request.getfixturevalue(which)
    result = searched.query(picture, k=12, exhaustive=True, **way)
    assert len(result) == 12
    for hit in result:
        explanation = searched.explain(picture, hit.id, **way)
        assert explanation.score == hit.score == math.fsum(pair.share for pair in explanation)
        assert [pair.share for pair in explanation] == sorted((pair.share for pair in explanation), reverse=True)


def test_a_picture_meets_itself_patch_by_patch(engine, picture):
    explanation = engine.explain(picture, picture)
    assert all(pair.query_cell == pair.image_cell for pair in explanation)
    assert [pair.query_box for pair in explanation] == [pair.image_box for pair in explanation]
    assert sorted(pair.query_cell for pair in explanation) == list(range(16))
    assert explanation.unmatched_query == explanation.unmatched_image == ()
    assert explanation.score == pytest.approx(1, abs=1e-6)
    for map_ in explanation.maps():
        assert map_.shape == (4, 4)
        assert map_.sum() == pytest.approx(explanation.score)


def test_a_region_leaves_patches_of_the_picture_without_a_partner(engine, picture):
    explanation = engine.explain(picture, 3, region="25%,25%,50%,50%")
    assert sorted(pair.query_cell for pair in explanation) == [5, 6, 9, 10]
    assert explanation.unmatched_query == ()
    taken = {pair.image_cell for pair in explanation}
    assert set(explanation.unmatched_image) == set(range(16)) - taken
    assert explanation.region.box == (160, 120, 320, 240)


def test_maxsim_lets_a_patch_serve_many(engine, picture):
    explanation = engine.explain(picture, 9, invariance="maxsim")
    served = [pair.image_cell for pair in explanation]
    assert len(served) == 16 > len(set(served))
    assert set(explanation.unmatched_image) == set(range(16)) - set(served)
    assert explanation.maps()[1].sum() == pytest.approx(explanation.score)


def test_as_json_is_json_with_all_that_was_agreed(engine, picture, rendered):
    explanation = engine.explain(picture, 3)
    document = json.loads(json.dumps(explanation.as_json()))
    assert document == explanation.as_json()
    assert set(document) == {"query", "image", "score", "pairs", "unmatched"}
    assert document["query"] == {"path": str(picture), "size": [640, 480], "grid": [4, 4]}
    assert document["image"]["id"] == 3
    assert set(document["image"]) == {"id", "path", "size", "grid"}
    first = document["pairs"][0]
    assert set(first) == {"query_cell", "image_cell", "query_box", "image_box", "share"}
    row, column = divmod(first["image_cell"], 4)
    assert first["image_box"] == [160 * column, 120 * row, 160, 120]
    assert document["unmatched"] == {"query": [], "image": []}


def test_patches_of_padding_have_no_box(tmp_path, photos, tiny_backbone):
    from semret.index.backbones.registry import create_backbone

    index = tmp_path / ".letterboxed"
    Image.new("RGB", (400, 50), "red").save(photos / "wide.png")
    sync(index, [photos], lambda: create_backbone(size=(128, 128), geometry="letterbox"))
    explanation = semret.open(index).explain(photos / "wide.png", photos / "0.png")
    boxes = [pair.as_json()["query_box"] for pair in explanation]
    assert boxes.count(None) == 8
    assert explanation.draw(width=400).size[0] == 400


@pytest.mark.parametrize("form", ["pixels", "array", "bytes"])
def test_the_query_may_be_anything_that_a_search_takes(engine, picture, form):
    with Image.open(picture) as image:
        image.load()
    made = {"pixels": image, "array": np.asarray(image), "bytes": EncodedImage(picture.read_bytes(), "from afar")}
    explanation = engine.explain(made[form], 3)
    assert explanation.as_json()["query"]["name"] == ("from afar" if form == "bytes" else "<image>")
    assert explanation.score == engine.rerank(made[form], [3])[0].score
    assert explanation.draw(width=400).mode == "RGB"


def test_a_query_explains_its_hits_if_asked(engine, picture):
    result = engine.query(picture, k=3, explain=True)
    assert [explanation.image.id for explanation in result.explanations] == [hit.id for hit in result]
    assert [explanation.score for explanation in result.explanations] == [hit.score for hit in result]
    found = result.as_json()["hits"]
    assert [hit["explanation"]["score"] for hit in found] == [hit.score for hit in result]
    plain = engine.query(picture, k=3)
    assert plain.explanations == ()
    assert plain.hits == result.hits
    assert "explanation" not in plain.as_json()["hits"][0]
    given = engine.rerank(picture, [3, 5], explain=True)
    assert len(given.explanations) == 2


def test_what_cannot_be_explained_is_refused_in_a_line(engine, picture):
    with pytest.raises(ArgumentError, match="kernel rbf is no sum over patches"):
        engine.explain(picture, 3, kernel="rbf")
    with pytest.raises(ArgumentError, match="invariance pooled"):
        engine.query(picture, explain=True, invariance="pooled")
    with pytest.raises(ArgumentError, match="999 is not in the index"):
        engine.explain(picture, 999)


def test_a_candidate_may_be_a_path(engine, picture, rendered):
    other = rendered / "scene-001-2.jpg"
    assert engine.explain(picture, other) == engine.explain(picture, engine.find(other))


def test_save_writes_what_the_name_says(engine, picture, tmp_path):
    explanation = engine.explain(picture, 3)
    for name, kind in (("a.png", "PNG"), ("b.JPG", "JPEG"), ("c.webp", "WEBP")):
        explanation.save(tmp_path / name, width=400)
        with Image.open(tmp_path / name) as image:
            assert (image.format, image.width) == (kind, 400)
    with pytest.raises(ArgumentError, match=r"\.png"):
        explanation.save(tmp_path / "a.txt")
    with pytest.raises(StorageError, match="cannot write"):
        explanation.save(tmp_path / "no folder" / "a.png")


def test_save_never_replaces_a_picture(engine, picture):
    before = picture.read_bytes()
    with pytest.raises(ArgumentError, match="which is read"):
        engine.explain(picture, 3).save(picture)
    assert picture.read_bytes() == before


def test_pictures_are_found_from_another_folder(engine, rendered, tmp_path, monkeypatch):
    monkeypatch.chdir(rendered)
    explanation = engine.explain("scene-002-1.jpg", "scene-001-1.jpg")
    monkeypatch.chdir(tmp_path)
    assert explanation.query.load(64).size == explanation.image.load(64).size
    assert os.path.isabs(explanation.query.source)  # noqa: PTH117


def test_a_notebook_shows_the_drawing_and_both_names(engine, picture):
    explanation = engine.explain(picture, 3)
    html = explanation._repr_html_()
    assert "data:image/jpeg;base64," in html
    assert "scene-002-1.jpg" in html
    assert "<script" not in html
    assert explanation._repr_png_().startswith(b"\x89PNG")


def test_names_are_escaped_wherever_html_is_made(tmp_path, photos, tiny_backbone):
    name = '<img src=x onerror=alert(1)>\u202e&".png'
    (photos / "0.png").rename(photos / name)
    index = tmp_path / ".semret"
    sync(index, [photos], tiny_backbone)
    engine = semret.open(index)
    result = engine.query(photos / "1.png", k=6, explain=True)
    for html in (engine.explain(photos / name, photos / "1.png")._repr_html_(), result._repr_html_()):
        assert "&lt;img src=x onerror=alert(1)&gt;\\u202e&amp;&#34;.png" in html
        assert "<img src=x" not in html
        assert "\u202e" not in html


def test_drawing_a_page_tells_how_far_it_is(engine, picture):
    seen = []
    section = engine.query(picture, k=3, explain=True).as_section(
        progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(0, 3), (1, 3), (2, 3)]
    assert all(hit.drawing.startswith(b"\xff\xd8") for hit in section.hits)
