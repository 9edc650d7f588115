"""Drawings of explanations: where pairs and shares are drawn, pictures of all shapes and names, and missing files."""

import numpy as np
import pytest
from PIL import Image, ImageColor

import semret
from semret.colours import BLUE, ORANGE
from semret.errors import ArgumentError
from semret.index.backbones.placement import place
from semret.index.backbones.spec import Preprocessing
from semret.retrieval.search.explain import Explanation
from semret.retrieval.search.explained_drawing import WIDTH, draw_explanation
from semret.retrieval.search.explained_picture import ExplainedPicture, Pair
from semret.retrieval.search.explained_text import fitted, font_of

SQUASH = Preprocessing(size=(64, 64), geometry="squash", mean=(0.5,) * 3, std=(0.5,) * 3)


def explained(pairs, pictures, grid=(2, 2), names=("a", "b")):
    """An explanation of made-up (query_cell, image_cell, share)."""
    sides = [
        ExplainedPicture(name=name, placement=place(picture.size, SQUASH, grid), source=picture)
        for name, picture in zip(names, pictures, strict=True)
    ]
    made = tuple(
        Pair(
            query_cell=cell,
            image_cell=other,
            query_box=sides[0].box_of(cell),
            image_box=sides[1].box_of(other),
            share=share,
        )
        for cell, other, share in pairs
    )
    return Explanation(query=sides[0], image=sides[1], score=sum(pair.share for pair in made), pairs=made)


def grey(width, height):
    return Image.new("RGB", (width, height), "#909090")


def places_of(image, colour, rows):
    """Where a colour is, to a few grey levels, within some rows: (n, 2) of x and y."""
    array = np.asarray(image).astype(int)[rows]
    near = np.abs(array - np.array(ImageColor.getrgb(colour))).max(axis=2) < 12
    return np.argwhere(near)[:, ::-1] + [0, rows.start or 0]


def test_pairs_are_joined_from_patch_to_patch():
    image = draw_explanation(explained([(0, 3, 0.5), (3, 0, 0.3)], [grey(100, 100)] * 2), names=False)
    assert image.size[0] == WIDTH
    assert image.mode == "RGB"
    upper = slice(0, image.height // 2)
    for colour, start_above in ((BLUE, True), (ORANGE, False)):
        found = places_of(image, colour, upper)
        left, right = found[found[:, 0] < 400][:, 1], found[found[:, 0] > 600][:, 1]
        # The pair's line reaches from the upper left patch to the lower right one, or the other way.
        assert bool(left.mean() < right.mean()) == start_above
        assert ((found[:, 0] > 480) & (found[:, 0] < 520)).any()


def test_no_pairs_are_joined_where_none_are_asked_for():
    image = draw_explanation(explained([(0, 3, 0.5)], [grey(100, 100)] * 2), pairs=0)
    assert len(places_of(image, BLUE, slice(0, image.height // 2))) == 0


def test_the_map_is_brightest_where_most_is_contributed():
    explanation = explained([(0, 3, 0.8), (1, 2, 0.1), (3, 1, -0.2)], [grey(100, 100)] * 2)
    image = np.asarray(draw_explanation(explanation, names=False)).astype(int)
    lower = image[image.shape[0] // 2 :]
    brightness = lower.sum(axis=2)
    left, right = brightness[100:450, 20:470], brightness[100:450, 530:980]
    assert left[:150, :150].mean() > left[:150, 300:].mean() > left[250:, 300:].mean()
    assert right[250:, 300:].mean() > right[250:, :150].mean() > right[:150, 300:].mean()
    # A patch without a partner has no colour.
    plain = lower[300:400, 50:150]
    assert (plain.max(axis=2) - plain.min(axis=2)).max() < 4


@pytest.mark.parametrize("size", [(1, 1), (9, 7), (300, 900), (4000, 300), (3, 3000), (6000, 4500)])
def test_pictures_of_all_shapes_fit(size):
    image = draw_explanation(explained([(0, 3, 0.5)], [grey(*size), grey(80, 60)]), width=500)
    assert image.width == 500
    assert image.height <= 2 * 500


def test_names_of_any_characters_fit():
    names = "写真\n<b>\x1b[31m\u202e" * 40, "\udcff" + "x" * 5000
    assert draw_explanation(explained([(0, 0, 1.0)], [grey(30, 20)] * 2, names=names)).width == WIDTH
    for name in names:
        text = fitted(name, 20, 300)
        assert font_of(20).getlength(text) <= 300
        assert text.isprintable()
        assert "…" in text
    assert fitted("photo ж é.jpg", 20, 300) == "photo ж é.jpg"
    assert fitted("写.jpg", 20, 300) == "□.jpg"
    assert fitted("", 20, 300) == ""


def test_nothing_matched_is_drawn_too():
    explanation = explained([], [grey(30, 20)] * 2)
    assert draw_explanation(explanation).width == WIDTH
    assert draw_explanation(explained([(0, 0, -1.0)], [grey(30, 20)] * 2)).width == WIDTH


def test_numbers_out_of_range_are_refused():
    explanation = explained([(0, 0, 1.0)], [grey(30, 20)] * 2)
    for wrong in ({"width": 10}, {"width": 100_000}, {"pairs": -1}):
        with pytest.raises(ArgumentError, match="expected"):
            explanation.draw(**wrong)


@pytest.fixture
def engine(tiny_index):
    return semret.open(tiny_index)


@pytest.mark.parametrize("harm", ["gone", "changed", "pipe", "damaged"])
def test_a_picture_that_is_not_what_was_indexed_is_an_empty_frame(engine, photos, harm, draw_picture, monkeypatch):
    import os

    victim, query = photos / "3.png", photos / "0.png"
    explanation = engine.explain(query, victim)
    whole = explanation.draw(width=400)
    victim.unlink()
    if harm == "changed":
        draw_picture(77).save(victim)
    elif harm == "pipe":
        os.mkfifo(victim)
    elif harm == "damaged":
        victim.write_bytes(b"no picture")
    written = []
    monkeypatch.setattr(
        "semret.retrieval.search.explained_drawing.fitted", lambda text, *_: written.append(text) or text
    )
    image = explanation.draw(width=400)
    assert image.size == whole.size
    assert image != whole
    assert "no picture:" in written
    expected = {"gone": "no such file or directory", "pipe": "is a FIFO (named pipe)"}
    assert expected.get(harm, "the file has changed since it was compared") in written
