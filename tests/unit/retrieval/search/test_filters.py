"""Which images may be hits: folders, times, and a least score; the others are as if they were not there."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

import semret
from semret.errors import ArgumentError
from semret.index.sync.sync import sync
from semret.retrieval.search.dates import first_moment, moment_after
from semret.retrieval.search.filters import ImageFilter

ALL = 100
YEAR = {"a/0.png": 2021, "a/b/1.png": 2022, "a/b/c/2.png": 2023, "d/3.png": 2024, "d/[x]/4.png": 2025, "5.png": 2026}


def named(value):
    """Name a parameter; sets have no order, and both processes of a run must have one name for it."""
    return str(sorted(value)) if isinstance(value, set) else str(value)


@pytest.fixture
def pictures(tmp_path, draw_picture):
    """Six pictures in nested folders, last changed at noon of the first of June of six years; one has a copy."""
    root = tmp_path / "root"
    for seed, (name, year) in enumerate(YEAR.items()):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        draw_picture(seed).save(file)
        changed = datetime(year, 6, 1, 12).timestamp()
        os.utime(file, (changed, changed))
    copy = root / "d/copy of 0.png"
    copy.write_bytes((root / "a/0.png").read_bytes())
    os.utime(copy, (datetime(2024, 1, 1).timestamp(),) * 2)
    return root


@pytest.fixture
def engine(pictures, tiny_backbone):
    sync(pictures / ".semret", [pictures], tiny_backbone)
    with semret.open(pictures / ".semret") as found:
        found._backbone = tiny_backbone()
        yield found


def names(result):
    return {Path(path).name for hit in result for path in hit.paths}


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("a", {"0.png", "1.png", "2.png"}),
        ("a/", {"0.png", "1.png", "2.png"}),
        ("a/b", {"1.png", "2.png"}),
        (["a/b/c", "d"], {"2.png", "3.png", "4.png", "copy of 0.png"}),
        (".", {"0.png", "1.png", "2.png", "3.png", "4.png", "5.png", "copy of 0.png"}),
        ("*/b", {"1.png", "2.png"}),
        ("?", {"0.png", "1.png", "2.png", "3.png", "4.png", "copy of 0.png"}),
        ("**/c", {"2.png"}),
        ("a/**/c", {"2.png"}),
        ("a/**", {"0.png", "1.png", "2.png"}),
        ("[ab]", {"0.png", "1.png", "2.png"}),
        ("d/[x]", {"4.png"}),
        (Path("a") / ".." / "d", {"3.png", "4.png", "copy of 0.png"}),
    ],
    ids=named,
)
def test_folders_are_looked_for_from_here_from_the_root_and_absolutely(engine, pictures, monkeypatch, folder, expected):
    assert names(engine.query(pictures / "5.png", k=ALL, folder=folder)) == expected
    monkeypatch.chdir(pictures)
    assert names(engine.query(pictures / "5.png", k=ALL, folder=folder)) == expected
    listed = [folder] if isinstance(folder, (str, Path)) else folder
    assert names(engine.query(pictures / "5.png", k=ALL, folder=[pictures / one for one in listed])) == expected


def test_a_folder_here_comes_before_one_of_the_same_name_below_the_root(engine, pictures, monkeypatch):
    monkeypatch.chdir(pictures / "a")
    assert names(engine.query(pictures / "5.png", k=ALL, folder="b")) == {"1.png", "2.png"}
    assert names(engine.query(pictures / "5.png", k=ALL, folder="d")) == {"3.png", "4.png", "copy of 0.png"}


def test_accents_may_be_composed_or_not(tmp_path, draw_picture, tiny_backbone):
    folder = tmp_path / "e\u0301te\u0301"
    folder.mkdir()
    draw_picture(0).save(folder / "0.png")
    sync(tmp_path / ".semret", [folder], tiny_backbone)
    with semret.open(tmp_path / ".semret") as engine:
        assert len(engine.query(folder / "0.png", folder=tmp_path / "\u00e9t\u00e9")) == 1


@pytest.mark.parametrize("folder", ["nowhere", "b", "a/0.png", "z*", "\0", "/"])
def test_a_folder_without_images_is_an_error_that_says_where_it_was_looked_for(engine, pictures, folder):
    if folder == "/":
        assert len(engine.query(pictures / "5.png", k=ALL, folder=folder)) == 6
        return
    with pytest.raises(
        ArgumentError, match=r"no image of the index lies in a folder .*seen from the current directory"
    ):
        engine.query(pictures / "5.png", folder=folder)


@pytest.mark.parametrize("folder", [3, b"a", [3], "", [""], [None]])
def test_what_is_no_folder_is_named(engine, pictures, folder):
    with pytest.raises(ArgumentError, match="folder is"):
        engine.query(pictures / "5.png", folder=folder)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"since": "2025"}, {"4.png", "5.png"}),
        ({"since": "2025-06-01"}, {"4.png", "5.png"}),
        ({"since": "2025-06-02"}, {"5.png"}),
        ({"since": "2025-06-01T12:00"}, {"4.png", "5.png"}),
        ({"since": "2025-06-01T12:00:01"}, {"5.png"}),
        ({"until": "2022-06"}, {"0.png", "1.png"}),
        ({"until": "2022-06-01"}, {"0.png", "1.png"}),
        ({"until": "2022-05-31"}, {"0.png"}),
        ({"until": "2022-06-01T12:00"}, {"0.png", "1.png"}),
        ({"until": "2022-06-01 11:59:59"}, {"0.png"}),
        ({"since": "2022", "until": "2023"}, {"1.png", "2.png"}),
        ({"since": date(2022, 6, 1), "until": date(2022, 6, 1)}, {"1.png"}),
        ({"since": datetime(2022, 6, 1, 12), "until": datetime(2022, 6, 1, 12)}, {"1.png"}),
        ({"since": "2024", "until": "2024-01-01"}, {"copy of 0.png"}),
        ({"since": "2024", "folder": "d"}, {"3.png", "4.png", "copy of 0.png"}),
    ],
    ids=named,
)
def test_times_are_those_of_the_files_both_ends_included(engine, pictures, times, expected):
    found = engine.query(pictures / "5.png", k=ALL, **times)
    assert names(found) == expected
    assert found.stats.allowed == len(expected)


@pytest.mark.parametrize("given", ["yesterday", "2024-13", "2024-02-30", "24", "", "2024-05-17T25:00", 3, None, "٢٠٢٤"])
def test_what_is_no_date_is_named(given):
    with pytest.raises(ArgumentError, match=r"since is .*, expected a date such as 2024-05-17"):
        first_moment("since", given)


def test_times_that_no_file_can_have_are_before_or_after_all(engine, pictures):
    assert len(engine.query(pictures / "5.png", k=ALL, since="0001-01-01T00:00+14:00", until="9998")) == 6
    assert len(engine.query(pictures / "5.png", k=ALL, since="9998")) == 0


def test_since_after_until_is_an_error(engine, pictures):
    with pytest.raises(ArgumentError, match="since 2025 is after until 2024-12"):
        engine.query(pictures / "5.png", since="2025", until="2024-12")


def test_a_moment_has_the_zone_that_it_names():
    east = timezone(timedelta(hours=9))
    assert first_moment("since", datetime(2024, 1, 1, 9, tzinfo=east)) == 1_704_067_200 * 10**9
    assert first_moment("since", "2024-01-01T09:00+09:00") == first_moment("since", "2024-01-01T00:00Z")
    assert moment_after("until", datetime(2024, 1, 1, tzinfo=UTC)) == 1_704_067_200 * 10**9 + 1
    assert first_moment("since", "1969-12-31T23:59:59.5Z") == -500_000_000


def test_a_file_that_was_indexed_as_soon_as_it_was_written_has_the_time_it_has_now(
    engine, pictures, draw_picture, tiny_backbone
):
    fresh = pictures / "fresh.png"
    draw_picture(50).save(fresh)
    sync(pictures / ".semret", [pictures], tiny_backbone)
    stamps = {Path(path).name: stamp for path, _, stamp in semret.open(pictures / ".semret").collection.files()}
    assert stamps["fresh.png"] == -1
    today = datetime.now().strftime("%Y")
    with semret.open(pictures / ".semret") as engine:
        assert "fresh.png" in names(engine.query(fresh, k=ALL, since=today))
    content = fresh.read_bytes()
    fresh.unlink()
    with semret.open(pictures / ".semret") as engine:
        assert "fresh.png" not in names(engine.query(content, k=ALL, since="1971"))


def test_an_image_is_allowed_when_any_of_its_paths_is_and_shows_those_alone(engine, pictures):
    (first, *_) = engine.query(pictures / "a/0.png", folder="d", exclude_self=False)
    assert [Path(path).name for path in first.paths] == ["copy of 0.png"]
    assert first.score == pytest.approx(1)
    assert engine.find(pictures / "a/0.png") not in first.ids
    assert len(engine.query(pictures / "a/0.png", folder="d", exclude_self=True)) == 2


def test_the_shortlist_is_drawn_from_what_is_allowed(engine, pictures):
    for folder in ("a", "d", "a/b/c"):
        everything = engine.query(pictures / "5.png", k=ALL, exhaustive=True)
        found = engine.query(pictures / "5.png", k=1, shortlist=1, folder=folder)
        assert len(found) == 1
        assert found[0].score in everything.scores
        assert len(engine.query(pictures / "5.png", k=ALL, folder=folder, shortlist=ALL)) == found.stats.allowed


def test_a_least_score_leaves_out_what_is_below_it(engine, pictures):
    everything = engine.query(pictures / "5.png", k=ALL)
    least = float(everything.scores[2])
    found = engine.query(pictures / "5.png", k=ALL, min_score=least)
    assert found.ids == everything.ids[:3]
    assert found.notes == [f"only 3 candidates reached a score of {least:g}"]
    assert engine.query(pictures / "5.png", k=2, min_score=least).notes == []
    none = engine.query(pictures / "5.png", min_score=2)
    assert (len(none), none.notes) == (0, ["no candidate reaches a score of 2"])
    assert len(engine.query(pictures / "5.png", k=ALL, min_score=-1)) == len(everything)


@pytest.mark.parametrize("least", ["x", float("nan"), float("inf"), []])
def test_a_least_score_is_a_finite_number(engine, pictures, least):
    with pytest.raises(ArgumentError, match=r"min_score is .*, expected a finite number"):
        engine.query(pictures / "5.png", min_score=least)


def test_no_image_passing_is_an_answer_without_hits(engine, pictures):
    for options in ({}, {"exhaustive": True}, {"region": "0%,0%,50%,50%"}, {"invariance": "pooled"}, {"kernel": "rbf"}):
        found = engine.query(pictures / "5.png", since="2100", **options)
        assert (len(found), found.notes, found.stats.allowed) == (0, ["no image passes the filter"], 0)


def test_the_stats_say_how_many_images_were_searched(engine, pictures):
    assert str(engine.query(pictures / "5.png", folder="a").stats).startswith("3 of 7 images searched · 3 candidates")
    every = engine.query(pictures / "5.png", folder="a", exhaustive=True)
    assert str(every.stats).endswith("exact over all images that the filter allows")
    assert engine.query(pictures / "5.png").stats.allowed is None
    assert every.as_json()["stats"]["allowed"] == 3


def test_filters_hold_for_given_candidates_regions_and_sentences(engine, pictures):
    given = [pictures / name for name in YEAR]
    reranked = engine.rerank(pictures / "5.png", given, folder=["a", "d"], until="2024", min_score=-1)
    assert names(reranked) == {"0.png", "1.png", "2.png", "3.png"}
    assert names(engine.query(pictures / "5.png", region="0%,0%,50%,50%", folder="d")) == {
        "3.png",
        "4.png",
        "copy of 0.png",
    }

    class Reader:
        def embed_text(self, sentences):
            return np.asarray(engine.collection.features.pooled[:1]).repeat(len(sentences), axis=0)

    engine._backbone = Reader()
    found = engine.query_text("a", folder="d", since="2024-06")
    assert names(found) == {"3.png", "4.png"}
    assert names(engine.query_text("a", k=ALL, min_score=2)) == set()


def test_an_empty_filter_asks_for_nothing():
    assert not ImageFilter.read(None, None, None)
    assert ImageFilter.read([], None, None) == ImageFilter()
    assert ImageFilter.read("a", None, None)
