"""How much of a matching keeps the arrangement: by hand, for every kind of copy, and for what is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semret.errors import ShapeError
from semret.retrieval.similarity.arrangement import kept_arrangement

GRID = (12, 12)
CELLS = np.arange(144)
Y, X = divmod(CELLS, 12)


def partners_of(y, x, *, height=12, width=12):
    """The cells that these places lie in; -1 outside."""
    rows, columns = np.rint(y).astype(int), np.rint(x).astype(int)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return np.where(inside, rows * width + columns, -1)


def test_what_stays_in_place_is_kept():
    found = kept_arrangement(CELLS, np.ones(144), GRID)
    assert (found.share, found.mirrored) == (1.0, False)


def test_a_mirrored_picture_is_kept_and_said_to_be_mirrored():
    found = kept_arrangement(partners_of(Y, 11 - X), np.ones(144), GRID)
    assert (found.share, found.mirrored) == (1.0, True)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("scale", "down", "right"), [(1.0, 3, -2), (1.19, 0.5, 1), (0.84, 1, -1), (1.4, 0, 2)])
def test_crops_and_shifts_are_kept(scale, down, right, mirrored):
    x = 11 - X if mirrored else X
    partners = partners_of(5.5 + scale * (Y - 5.5) + down, 5.5 + scale * (x - 5.5) + right)
    found = kept_arrangement(partners, np.ones(144), GRID)
    assert found.share > 0.99
    assert found.mirrored is mirrored


def test_scattered_patches_are_not_kept():
    shares = [
        kept_arrangement(np.random.default_rng(seed).permutation(144), np.ones(144), GRID).share for seed in range(20)
    ]
    assert max(shares) < 0.25


def test_two_halves_exchanged_count_as_one_half():
    found = kept_arrangement(partners_of(Y, (X + 6) % 12), np.ones(144), GRID)
    assert found.share == pytest.approx(0.5, abs=0.1)


def test_pairs_count_by_what_they_are_worth():
    moved = CELLS.copy()
    moved[[0, 143]] = [143, 0]
    worths = np.ones(144)
    worths[[0, 143]] = 50
    assert kept_arrangement(moved, worths, GRID).share == pytest.approx(142 / 242)
    worths[[0, 143]] = -50
    assert kept_arrangement(moved, worths, GRID).share == 1.0


@pytest.mark.parametrize("partners", [np.full(144, -1), CELLS])
def test_nothing_is_kept_of_what_is_worth_nothing(partners):
    worths = np.ones(144) if partners[0] == -1 else np.full(144, -1.0)
    found = kept_arrangement(partners, worths, GRID)
    assert (found.share, found.mirrored) == (0.0, False)


def test_one_cell_is_in_its_place():
    assert kept_arrangement(np.zeros(1, dtype=int), np.ones(1), (1, 1)).share == 1.0


def test_lengths_must_be_those_of_the_grid():
    with pytest.raises(ShapeError, match=r"3 partners and 4 worths, expected 4: grid \(2, 2\)"):
        kept_arrangement(np.arange(3), np.ones(4), (2, 2))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_share_lies_between_0_and_1_and_has_no_units(height, width, seed):
    rng = np.random.default_rng(seed)
    count = height * width
    partners, worths = rng.permutation(count), rng.standard_normal(count)
    found = kept_arrangement(partners, worths, (height, width))
    assert 0.0 <= found.share <= 1.0
    assert kept_arrangement(partners, 3 * worths, (height, width)).share == pytest.approx(found.share)
    same = kept_arrangement(np.arange(count), np.abs(worths) + 0.1, (height, width))
    assert same.share == 1.0
