"""Numbers of things are written as people write them."""

from __future__ import annotations

import pytest

from semret.names import amount
from semret.retrieval.search.results import Hit, SearchResult, Stats


@pytest.mark.parametrize(("count", "text"), [(0, "0 images"), (1, "1 image"), (2, "2 images")])
def test_one_is_not_many(count, text):
    assert amount(count, "image") == text


def test_an_answer_of_one():
    stats = Stats(
        database=1, shortlist=1, solved=1, pruned=0, exact_among_candidates=True, wanted=5, shortlist_wanted=9,
        shortlist_tried=9,
    )  # fmt: skip
    result = SearchResult("a.jpg", (Hit(1, 1, "a.jpg", 1.0, 1.0, in_shortlist=True),), stats)
    assert str(stats).startswith("1 image searched · 1 candidate · 1 matched, ")
    assert result.notes == [
        "5 hits were asked for, there is 1",
        "a shortlist of 9 was asked for, there is 1 candidate",
    ]
    assert result.missed == "a shortlist of 9 would have missed none of the 1 hit"
