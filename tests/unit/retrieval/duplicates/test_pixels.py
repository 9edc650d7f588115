"""Pictures laid over each other: copies of every kind look the same, other pictures and other frames do not."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from semret.retrieval.duplicates.pixels import SAME, same_share
from semret.retrieval.similarity.arrangement import STILL


def scene(seed, size=384):
    """A picture with much in it: blurred noise of several sizes."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((size, size))
    for cells in (6, 12, 24, 48):
        noise = Image.fromarray((255 * rng.random((cells, cells))).astype(np.uint8)).resize((size, size))
        picture += np.asarray(noise, dtype=np.float64) / 4
    return Image.fromarray(picture.astype(np.uint8))


def small(picture):
    return np.asarray(picture.convert("L").resize((96, 96), Image.Resampling.BICUBIC), dtype=np.float64) / 255


def share(one, other, way=STILL):
    return same_share(small(one), small(other), way, enough=1.0)


@pytest.fixture
def picture():
    return scene(0)


def test_a_picture_is_the_same_as_itself_and_not_as_another(picture):
    assert share(picture, picture) == 1.0
    assert share(picture, scene(1)) < 0.1


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture.resize((100, 100)),
        lambda picture: picture.filter(ImageFilter.GaussianBlur(2)),
        lambda picture: picture.point(lambda level: 0.6 * level + 20),
    ],
)
def test_copies_in_place_are_the_same(picture, change):
    assert share(picture, change(picture)) == 1.0


@pytest.mark.parametrize("box", [(0, 0, 340, 340), (40, 20, 384, 364), (30, 30, 350, 370)])
def test_crops_are_found_from_a_rough_guess(picture, box):
    left, top, right, bottom = box
    scale = 384 / (bottom - top), 384 / (right - left)
    shift = [(0.5 - (low + high) / 2 / 384) for low, high in ((top, bottom), (left, right))]
    exact = np.array([scale[0], scale[0] * shift[0], scale[1], scale[1] * shift[1]])
    rough = exact + np.array([0.03, 0.015, -0.03, -0.015])
    assert share(picture, picture.crop(box), tuple(rough)) > 0.95


def test_a_line_over_it_leaves_most_the_same(picture):
    written = picture.copy()
    written.paste(255, (0, 150, 384, 190))
    assert SAME <= share(picture, written) < 1.0


def test_what_moved_is_seen(picture):
    moved = picture.copy()
    moved.paste(picture.crop((40, 120, 344, 384)), (52, 120))
    assert share(picture, moved) < SAME


def test_pictures_that_show_nothing_are_the_same():
    plain = Image.new("L", (384, 384), 128)
    assert share(plain, plain) == 1.0


def test_what_hardly_overlaps_is_not_the_same(picture):
    assert same_share(small(picture), small(scene(3)), (1.0, 0.9, 1.0, 0.9), enough=1.0) < 0.2


def test_pictures_need_not_be_square(picture):
    wide = np.concatenate([small(picture), small(scene(4))], axis=1)
    assert same_share(wide, wide, (1.02, 0.01, 0.98, 0.01), enough=1.0) == 1.0
