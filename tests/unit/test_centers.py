"""Centres: one mean, however maps come; options that check themselves when they are made."""

from __future__ import annotations

import numpy as np
import pytest

from semret.centers import Center, mean_map
from semret.errors import ArgumentError, NonFiniteError, UnknownNameError
from semret.retrieval.search.options import RerankOptions, SearchOptions

MAPS = np.array([[[1.0, 0.0], [3.0, 0.0]], [[5.0, 2.0], [3.0, 2.0]], [[0.0, 4.0], [6.0, 4.0]]])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_mean_does_not_depend_on_how_maps_are_cut(dtype, step):
    parts = [MAPS[start : start + step].astype(dtype) for start in range(0, 3, step)]
    assert mean_map(parts, "position").tolist() == [[2.0, 2.0], [4.0, 2.0]]
    assert mean_map(parts, "channel").tolist() == [3.0, 2.0]
    assert mean_map(parts, "none") is None


def test_no_maps_have_no_mean():
    assert mean_map([], "channel") is None
    assert mean_map([MAPS[:0]], "position") is None


def test_a_mean_beyond_float64_is_refused():
    with pytest.raises(NonFiniteError, match="the mean of the set overflows"):
        mean_map([np.full((2, 1, 1), 1.7e308)], "channel", "the set")
    with pytest.raises(NonFiniteError, match="the set holds 1 NaN"):
        mean_map([np.full((1, 1, 1), np.nan)], "channel", "the set")


def test_a_centre_tells_what_to_subtract_from_tokens():
    channel, position = np.zeros(2, dtype=np.float32), np.zeros((3, 2), dtype=np.float32)
    assert Center().tokens is None
    assert Center(mode="channel", channel=channel).tokens is channel
    assert Center(mode="position", position=position).tokens is position


@pytest.mark.parametrize("options", [RerankOptions, SearchOptions])
def test_options_are_checked_when_they_are_made(options):
    with pytest.raises(ArgumentError, match="k is 0, expected at least 1"):
        options(k=0)
    with pytest.raises(ArgumentError, match=r"k is 2\.5, expected a whole number"):
        options(k=2.5)
    with pytest.raises(UnknownNameError, match="did you mean cosine"):
        options(k=1, kernel="cosinus")
    with pytest.raises(UnknownNameError, match="did you mean auction"):
        options(k=1, solver="auktion")


def test_a_search_also_checks_its_centre_and_shortlist():
    with pytest.raises(UnknownNameError, match="center 'global' is unknown, expected one of channel, position, none"):
        SearchOptions(center="global")
    with pytest.raises(ArgumentError, match="shortlist is 'all', expected a whole number"):
        SearchOptions(shortlist="all")
