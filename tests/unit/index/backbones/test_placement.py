"""Boxes of a picture and cells of the grid, by hand and against the pixels that a network is given."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from semret.index.backbones.placement import common, place
from semret.index.backbones.preprocess import prepare_image
from semret.index.backbones.spec import GEOMETRIES, Preprocessing


def input_of(geometry, size=(100, 100), edge=None, **options):
    return Preprocessing(
        size=size, geometry=geometry, resize_edge=edge, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="nearest",
        **options,
    )  # fmt: skip


def cells(picture, preprocessing, box, grid=(4, 4)):
    return place(picture, preprocessing, grid).cells_in(box).tolist()


def test_squash_stretches_the_grid_over_the_whole_picture():
    # Cells of 100 x 50 pixels; centres at 50, 150, 250, 350 and 25, 75, 125, 175.
    found = place((400, 200), input_of("squash"), (4, 4))
    assert (found.cell, found.corner, found.visible) == ((100, 50), (0, 0), (0, 0, 400, 200))
    assert found.cells_in((100, 50, 200, 100)).tolist() == [5, 6, 9, 10]
    assert found.box_of(6) == (200, 50, 100, 50)
    # An input that is no square: rows and columns are not mixed up. Cells of 100 x 100.
    wide = place((400, 200), input_of("squash", (32, 128)), (2, 4))
    assert (wide.cell, wide.cells_in((310, 0, 90, 60)).tolist(), wide.box_of(7)) == (
        (100, 100),
        [3],
        (300, 100, 100, 100),
    )


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((50, 25, 1, 1), [0]),  # the centre itself: left and upper edges belong to a box
        ((0, 0, 50, 25), [0]),  # no centre, for right and lower edges do not: the cell below the centre of the box
        ((49, 24, 2, 2), [0]),
        ((101, 1, 20, 20), [1]),  # within a cell, beside its centre
        ((0, 60, 400, 10), [4, 5, 6, 7]),  # flat: the row below its middle
        ((390, 190, 10, 10), [15]),
        ((0, 0, 400, 200), list(range(16))),
        ((-50, -50, 110, 80), [0]),  # what lies outside the picture is not counted
        ((400, 0, 10, 10), []),
    ],
)
def test_cells_are_those_whose_centres_lie_in_the_box(box, expected):
    assert cells((400, 200), input_of("squash"), box) == expected


def test_crop_maps_what_is_left_of_a_landscape_picture():
    # 300 x 200 becomes 150 x 100; of that 80 x 80 are cut, 35 from the left and 10 from the top.
    found = place((300, 200), input_of("crop", (80, 80), 100), (4, 4))
    assert (found.visible, found.corner, found.cell) == ((70, 20, 160, 160), (70, 20), (40, 40))
    assert found.box_of(0) == (70, 20, 40, 40)
    assert found.box_of(15) == (190, 140, 40, 40)
    assert found.cells_in((0, 0, 70, 200)).tolist() == []
    assert found.cells_in((0, 0, 71, 200)).tolist() == [0, 4, 8, 12]
    assert found.cells_in((100, 0, 60, 70)).tolist() == [1]


def test_crop_maps_what_is_left_of_a_portrait_picture():
    found = place((200, 300), input_of("crop", (80, 80), 100), (4, 4))
    assert (found.visible, found.cell) == ((20, 70, 160, 160), (40, 40))


@pytest.mark.parametrize(("rounding", "left"), [("floor", 11), ("even", 12)])
def test_crop_rounds_its_margin_as_the_pixels_are_cut(rounding, left):
    # 103 - 80 leaves a margin of 11.5.
    found = place((103, 103), input_of("crop", (80, 80), 103, crop_rounding=rounding), (4, 4))
    assert found.corner == (left, left)


def test_crop_takes_the_middle_of_a_strip():
    # The middle 320 of 10,000 pixels are resized to 3,200, and 100 of these are kept: 10 pixels from 4,840 + 155.
    found = place((10_000, 10), input_of("crop", (100, 100), 100), (2, 2))
    assert found.visible == pytest.approx((4995, 0, 10, 10))
    assert found.cell == pytest.approx((5, 5))


def test_letterbox_has_cells_without_picture():
    # 400 x 200 becomes 100 x 50 between 25 rows of padding: one row of cells above, one below.
    found = place((400, 200), input_of("letterbox"), (4, 4))
    assert (found.corner, found.cell, found.visible) == ((0, -100), (100, 100), (0, 0, 400, 200))
    assert found.box_of(0) is None
    assert found.box_of(15) is None
    assert found.box_of(4) == (0, 0, 100, 100)
    assert found.cells_in((0, 0, 400, 200)).tolist() == list(range(4, 12))
    assert found.cells_in((0, 0, 400, 3)).tolist() == [4, 5, 6, 7]


def test_letterbox_rounds_the_height_as_the_pixels_do():
    # 300 x 100 becomes 100 x 33 from row 33: 100 / 33 pixels to a row.
    found = place((300, 100), input_of("letterbox"), (4, 4))
    assert found.corner == pytest.approx((0, -100))
    assert found.cell == pytest.approx((75, 25 * 100 / 33))
    # A cell that the picture only fills in part shows that part.
    assert found.box_of(4) == pytest.approx((0, 0, 75, -100 + 2 * 25 * 100 / 33))


def test_corner_begins_in_the_upper_left():
    found = place((200, 400), input_of("corner"), (4, 4))
    assert (found.corner, found.cell) == ((0, 0), (100, 100))
    assert found.cells_in((0, 0, 200, 400)).tolist() == [0, 1, 4, 5, 8, 9, 12, 13]
    assert found.box_of(2) is None
    assert found.box_of(13) == (100, 300, 100, 100)


def test_boxes_without_common_area_have_nothing_in_common():
    assert common((0, 0, 2, 2), (1, 1, 5, 5)) == (1, 1, 1, 1)
    assert common((0, 0, 2, 2), (2, 0, 5, 5)) is None


@settings(deadline=None, max_examples=150)
@given(
    st.tuples(st.integers(8, 300), st.integers(8, 300)),
    st.sampled_from(GEOMETRIES),
    st.sampled_from([(48, 48), (36, 60), (60, 36)]),
    st.sampled_from([(2, 2), (3, 3), (6, 4)]),
    st.sampled_from(["floor", "even"]),
    st.integers(0, 2**16),
)
def test_a_cell_shows_what_its_box_holds(picture, geometry, size, grid, rounding, draw):
    """A picture is white where the box of a cell is: then the middle of that cell is white in the input."""
    preprocessing = input_of(geometry, size, 70 if geometry == "crop" else None, crop_rounding=rounding)
    placement = place(picture, preprocessing, grid)
    cell = draw % (grid[0] * grid[1])
    box = placement.box_of(cell)
    row, column = divmod(cell, grid[1])
    middle = int((row + 0.5) * size[0] / grid[0]), int((column + 0.5) * size[1] / grid[1])
    pixels = np.zeros((picture[1], picture[0], 3), dtype=np.uint8)
    if box is not None:
        x, y, width, height = box
        pixels[int(y) : int(np.ceil(y + height)), int(x) : int(np.ceil(x + width))] = 255
    seen = prepare_image(Image.fromarray(pixels), preprocessing)[0, middle[0], middle[1]]
    whole = box is not None and np.allclose(box[2:], placement.cell)
    if box is None:
        assert seen == 0  # padding
    elif whole:
        assert seen == 1
        assert placement.cells_in(box).tolist() == [cell]


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    st.sampled_from(GEOMETRIES),
    st.sampled_from([(3, 3), (6, 4), (12, 12)]),
    st.tuples(*[st.floats(0, 1)] * 4),
)
def test_a_box_that_is_seen_has_cells_that_show_the_picture(picture, geometry, grid, shares):
    placement = place(picture, input_of(geometry, (96, 96), 110 if geometry == "crop" else None), grid)
    x, y = shares[0] * picture[0], shares[1] * picture[1]
    box = x, y, shares[2] * (picture[0] - x), shares[3] * (picture[1] - y)
    found = placement.cells_in(box)
    assert (len(found) > 0) == (common(box, placement.visible) is not None)
    assert found.tolist() == sorted(set(found.tolist()))
    assert all(0 <= cell < grid[0] * grid[1] for cell in found)
