"""Regions: how they are written, which patches they take, and what a search with one answers."""

import numpy as np
import pytest
from PIL import Image

import semret
from semret.errors import ArgumentError, UnknownNameError
from semret.index.backbones.spec import Preprocessing
from semret.index.sync.sync import sync
from semret.integer_tokens import IntegerTokens
from semret.retrieval.search.options import SearchOptions
from semret.retrieval.search.query_pictures import EncodedImage
from semret.retrieval.search.regions import Region, as_region, cut_tokens, find_region
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw


@pytest.fixture
def engine(tiny_index, monkeypatch):
    opened = semret.open(tiny_index)
    monkeypatch.setattr(opened, "_backbone", TinyBackbone())
    return opened


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("120,80,200,150", Region(x=120, y=80, width=200, height=150)),
        (" 1.5, 0 ,.5,2. ", Region(x=1.5, y=0, width=0.5, height=2)),
        ("10%,20 %,50%,40.5%", Region(x=10, y=20, width=50, height=40.5, percent=True)),
        ((1, 2.5, 3, 4), Region(x=1, y=2.5, width=3, height=4)),
        (np.array([1, 2, 3, 4]), Region(x=1, y=2, width=3, height=4)),
        (Region(x=1, y=2, width=3, height=4), Region(x=1, y=2, width=3, height=4)),
    ],
)
def test_regions_are_read(given, expected):
    assert as_region(given) == expected
    assert as_region(str(expected)) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("1,2,3", "has 3 of four numbers; expected X,Y,W,H"),
        ("1,2,3,4,5", "has 5 of four numbers"),
        ("", "has 1 of four numbers"),
        ("10%,2,3,4", "mixes pixels and per cent"),
        ("a,2,3,4", "has 'a' for a number"),
        ("nan,2,3,4", "has 'nan' for a number"),
        ("1e2,2,3,4", "has '1e2' for a number"),
        ("1,,3,4", "has '' for a number"),
        ("9" * 400 + ",0,1,1", "not finite"),
        ("-1,2,3,4", "begins outside the picture; X and Y must be at least 0"),
        ("1,2,0,4", "is empty; W and H must be larger than 0"),
        ("1,2,3,-4", "is empty"),
        ((1, 2, 3), "expected four numbers"),
        ((1, 2, 3, "4"), "expected four numbers"),
        ((1, 2, 3, True), "expected four numbers"),
        ((1, 2, 3, 10**400), "expected four numbers"),
        (7, "expected four numbers"),
        ((1, 2, float("nan"), 3), "not finite"),
        ((1, 2, float("inf"), 3), "not finite"),
    ],
)
def test_what_is_no_region_is_refused(given, message):
    with pytest.raises(ArgumentError, match=message) as raised:
        as_region(given)
    assert "\n" not in str(raised.value)
    with pytest.raises(ArgumentError):
        SearchOptions(region=given)


def test_per_cent_are_of_width_and_height_and_what_reaches_over_is_cut_off():
    assert as_region("10%,20%,50%,40%").box_in((200, 50)) == (20, 10, 100, 20)
    assert as_region("150,40,100,100").box_in((200, 50)) == (150, 40, 50, 10)
    assert as_region("0%,0%,400%,100%").box_in((200, 50)) == (0, 0, 200, 50)
    for outside in ("200,0,5,5", "0,50,5,5", "100%,0%,5%,5%"):
        with pytest.raises(ArgumentError, match="lies outside the picture, which has 200 x 50 pixels"):
            as_region(outside).box_in((200, 50))


def test_a_region_has_a_score_of_its_own():
    for options in ({"kernel": "rbf"}, {"kernel": "linear"}, {"invariance": "none"}, {"invariance": "pooled"}):
        for asked in ({"region": (0, 0, 5, 5)}, {"score": "query"}):
            with pytest.raises(ArgumentError, match="does not apply to it"):
                SearchOptions(**options, **asked)
    with pytest.raises(ArgumentError, match="score symmetric compares whole pictures"):
        SearchOptions(region=(0, 0, 5, 5), score="symmetric")
    with pytest.raises(UnknownNameError, match="score"):
        SearchOptions(score="quary")
    assert SearchOptions(kernel="rbf", score="symmetric").scores_query is False
    assert SearchOptions(region="0,0,5,5", invariance="maxsim").scores_query is True


def test_what_the_network_does_not_see_cannot_be_searched_with():
    identity = TinyBackbone().identity
    crop = Preprocessing(size=(24, 24), geometry="crop", resize_edge=24, mean=(0.5,) * 3, std=(0.5,) * 3)
    object.__setattr__(identity, "preprocessing", crop)
    with pytest.raises(ArgumentError, match=r"sees nothing of the region 0,0,20,24.*the part 24,0,24,24 \(pixels\)"):
        find_region(as_region("0,0,20,24"), (72, 24), identity)
    assert find_region(as_region("0,0,30,24"), (72, 24), identity).cells.tolist() == [0, 3, 6]


def test_tokens_are_cut_alike_in_either_form():
    integers = np.arange(24, dtype=np.int8).reshape(1, 4, 6)
    tokens = IntegerTokens(integers=integers, scales=np.arange(4, dtype=np.float32)[None])
    cells = np.array([1, 3])
    assert cut_tokens(tokens.as_floats()[0], cells).tolist() == cut_tokens(tokens, cells).as_floats()[0].tolist()


def test_a_region_finds_its_place_in_another_picture(tmp_path, photos, monkeypatch):
    """The upper left ninth of a picture is pasted into the middle of another: nothing else shows it."""
    with Image.open(photos / "0.png") as image:
        piece = image.convert("RGB").resize((96, 96)).crop((0, 0, 32, 32))
    other = draw(77).resize((96, 96))
    other.paste(piece, (32, 32))
    other.save(photos / "pasted.png")
    sync(tmp_path / "index", [photos], TinyBackbone)
    engine = semret.open(tmp_path / "index")
    monkeypatch.setattr(engine, "_backbone", TinyBackbone())
    found = engine.query(photos / "0.png", region="0%,0%,33%,33%", exclude_self=True, k=2, center="none")
    assert found[0].path.endswith("pasted.png")
    assert found[0].score > 0.98
    assert found.stats.candidates == "all"
    assert found.stats.score == "query"
    assert found.region.cells.tolist() == [0]


def test_the_whole_picture_as_a_region_is_the_score_of_the_query(engine, photos):
    whole = engine.query(photos / "1.png", region="0%,0%,100%,100%", k=6)
    scored = engine.query(photos / "1.png", score="query", k=6)
    assert [(hit.id, hit.score) for hit in whole] == [(hit.id, hit.score) for hit in scored]
    assert whole[0].score == pytest.approx(1)
    assert (whole.stats.candidates, scored.stats.candidates) == ("all", "shortlist")
    assert scored.region is None
    assert engine.query(photos / "1.png").stats.score == "symmetric"


@pytest.mark.parametrize("center", ["channel", "position", "none"])
def test_a_stored_picture_scores_one_with_its_own_region(tiny_index, photos, center):
    engine = semret.open(tiny_index)
    found = engine.query(photos / "2.png", region="40%,0%,60%,60%", k=1, center=center)
    assert found[0].path.endswith("2.png")
    # Under a centre with positions, a patch is its equal at its own place alone: its place is known.
    assert found[0].score == pytest.approx(1, abs=1e-5)
    assert engine._backbone is None


def test_every_form_of_a_picture_knows_its_size(engine, photos, tmp_path):
    large = draw(9).resize((400, 200), Image.Resampling.NEAREST)
    turned = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    large.save(turned, exif=exif)
    for image, size in ((large, (400, 200)), (np.asarray(large), (400, 200)), (turned, (200, 400))):
        assert engine.query(image, region=(0, 0, 50, 50), k=1).region.picture == size
    encoded = EncodedImage(turned.read_bytes(), "-")
    assert engine.query(encoded, region=(0, 0, 50, 50), k=1).region.picture == (200, 400)
    with Image.open(turned) as opened:
        assert engine.query(opened, region=(0, 0, 50, 50), k=1).region.picture == (200, 400)
    with pytest.raises(ArgumentError, match="400 x 200"):
        engine.query(large, region=(400, 0, 5, 5))


def test_a_shortlist_and_candidates_of_ones_own_restrict_a_region(engine, photos):
    some = engine.query(photos / "0.png", region=(0, 0, 50, 50), k=2, shortlist=3)
    assert (some.stats.candidates, some.stats.shortlist) == ("shortlist", 3)
    assert some[0].in_shortlist is None
    told = engine.query(photos / "0.png", region=(0, 0, 50, 50), k=2, shortlist=2, exhaustive=True)
    assert told.stats.shortlist_tried == 2
    given = engine.rerank(photos / "0.png", [photos / "3.png", photos / "4.png"], region=(0, 0, 50, 50))
    assert given.stats.candidates == "given"
    everything = engine.query(photos / "0.png", region=(0, 0, 50, 50), k=6)
    scores = {hit.id: hit.score for hit in everything}
    assert all(scores[hit.id] == hit.score for hit in [*some, *told, *given])


def test_progress_is_told(engine, photos):
    told = []
    options = SearchOptions(region=(0, 0, 50, 50), k=1)
    engine.search(photos / "0.png", options, progress=lambda *counts: told.append(counts))
    assert (told[0], told[-1]) == ((0, 6), (6, 6))


def test_a_result_shows_its_region(engine, photos):
    found = engine.query(photos / "0.png", region="50%,25%,50%,50%", k=1)
    width, height = found.region.picture
    assert found.as_json()["region"] == {
        "x": width / 2, "y": height / 4, "width": width / 2, "height": height / 2, "picture": [width, height],
        "patches": len(found.region.cells),
    }  # fmt: skip
    assert found.region.shares == (0.5, 0.25, 0.5, 0.5)
    html = found._repr_html_()
    assert 'class="region" style="left:50.000%;top:25.000%;width:50.000%;height:50.000%"' in html
    assert str(found.region) in html
    assert "region" not in engine.query(photos / "0.png", k=1).as_json()
    assert 'class="region"' not in engine.query(photos / "0.png", k=1)._repr_html_()
