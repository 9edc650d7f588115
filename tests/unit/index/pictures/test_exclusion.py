"""Patterns of what is left out: what they match, from where they are seen, and how far a walk goes."""

import os

import pytest

from semret.errors import ArgumentError
from semret.index.pictures.exclusion import Exclusions, Rule, make_rules
from semret.index.pictures.find import Excluded, FoundImage, find_images
from semret.index.store.root import Root


def wanted(tmp_path, *patterns, given=("photos",)):
    """Return rules of an index beside the folder ``photos``, as ``semret index photos --exclude ...`` makes them."""
    root = Root.at(tmp_path / ".semret", tmp_path)
    return Exclusions(make_rules(patterns, [str(tmp_path / name) for name in given], root), str(tmp_path))


@pytest.mark.parametrize(
    ("pattern", "path", "out"),
    [
        ("*.png", "photos/a/b.png", True),
        ("*.png", "photos/a/b.PNG", False),
        ("draft", "photos/a/draft/b.jpg", True),
        ("draft", "photos/a/draft", True),
        ("draft/", "photos/a/draft", False),
        ("draft/", "photos/a/draft/b.jpg", True),
        ("draft", "photos/a/drafts/b.jpg", False),
        # A slash within, or in front: seen from the folder that is indexed.
        ("a/draft", "photos/a/draft/b.jpg", True),
        ("a/draft", "photos/x/a/draft/b.jpg", False),
        ("/b.jpg", "photos/b.jpg", True),
        ("/b.jpg", "photos/a/b.jpg", False),
        ("a/*.jpg", "photos/a/b.jpg", True),
        ("a/*.jpg", "photos/a/x/b.jpg", False),
        ("a/**/b.jpg", "photos/a/b.jpg", True),
        ("a/**/b.jpg", "photos/a/x/y/b.jpg", True),
        ("**/x/*.jpg", "photos/a/x/b.jpg", True),
        ("[ab].jpg", "photos/b.jpg", True),
        ("?.jpg", "photos/bb.jpg", False),
        ("photos", "photos/b.jpg", True),
    ],
)
def test_what_a_pattern_matches(tmp_path, pattern, path, out):
    assert wanted(tmp_path, pattern).cover(str(tmp_path / path)) is out


def test_the_last_pattern_that_matches_decides(tmp_path):
    rules = wanted(tmp_path, "*.png", "!keep.png", "/sub/keep.png")
    assert rules.cover(str(tmp_path / "photos/a.png"))
    assert not rules.cover(str(tmp_path / "photos/keep.png"))
    assert rules.cover(str(tmp_path / "photos/sub/keep.png"))


def test_a_pattern_with_a_slash_belongs_to_the_folder_it_was_given_with(tmp_path):
    rules = wanted(tmp_path, "raw/*.jpg", "*.tif", given=("one", "two"))
    assert rules.rules == (Rule("one", "raw/*.jpg"), Rule("two", "raw/*.jpg"), Rule(None, "*.tif"))
    assert [str(rule) for rule in rules.rules] == ["one/raw/*.jpg", "two/raw/*.jpg", "*.tif"]
    assert rules.cover(str(tmp_path / "two/raw/a.jpg"))
    assert not rules.cover(str(tmp_path / "three/raw/a.jpg"))
    assert rules.cover(str(tmp_path / "three/raw/a.tif"))


def test_the_root_and_what_lies_outside_of_it(tmp_path):
    rules = wanted(tmp_path, "/raw/", given=(".",))
    assert rules.rules == (Rule("", "/raw/"),)
    assert str(rules.rules[0]) == "/raw/"
    assert rules.cover(str(tmp_path / "raw/a.jpg"))
    outside = make_rules(["sub/a.jpg", "x.jpg"], ["/elsewhere"], Root.at(tmp_path / ".semret", tmp_path))
    assert outside[0] == Rule("/elsewhere", "sub/a.jpg")
    assert Exclusions(outside, str(tmp_path)).cover("/elsewhere/sub/a.jpg")
    assert Exclusions(outside, str(tmp_path)).cover("/elsewhere/sub/x.jpg")
    assert not Exclusions(outside, str(tmp_path)).cover("/elsewhere/a.jpg")


def test_names_that_are_no_text(tmp_path):
    rules = wanted(tmp_path, "d\udcff/*.jpg", given=("ph\udcfe",))
    assert rules.cover(str(tmp_path) + "/ph\udcfe/d\udcff/a.jpg")


@pytest.mark.parametrize("pattern", ["", "   ", "# a remark", "[", "a\\", "a\nb", "x" * 5000])
def test_a_pattern_that_stands_for_nothing_is_refused(tmp_path, pattern):
    with pytest.raises(ArgumentError, match=r"matches nothing; give a pattern|no pattern of one line"):
        wanted(tmp_path, pattern)


def test_a_folder_that_matches_is_not_entered(tmp_path, monkeypatch):
    for name in ("a/raw/deep/1.jpg", "a/2.jpg", "b/3.mov", "b/4.jpg", "b/5.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    entered = []
    scan = os.scandir

    def watched(folder):
        entered.append(os.path.relpath(folder, tmp_path))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", watched)
    rules = wanted(tmp_path, "raw/", "*.mov", "*.txt", "4.*", given=(".",))
    found = list(find_images([tmp_path], unwanted=rules))
    assert [one.path for one in found if isinstance(one, FoundImage)] == [str(tmp_path / "a/2.jpg")]
    # What looks like no picture is not counted: it would not have been read without a pattern either.
    assert {one for one in found if isinstance(one, Excluded)} == {
        Excluded(str(tmp_path / "a/raw"), is_folder=True),
        Excluded(str(tmp_path / "b/3.mov"), is_folder=False),
        Excluded(str(tmp_path / "b/4.jpg"), is_folder=False),
    }
    assert entered == [".", "a", "b"]


def test_paths_given_by_name_are_no_exception(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/1.jpg").write_bytes(b"x")
    rules = wanted(tmp_path, "raw/", given=(".",))
    assert list(find_images([tmp_path / "raw"], unwanted=rules)) == [Excluded(str(tmp_path / "raw"), is_folder=True)]
    file = tmp_path / "raw/1.jpg"
    assert list(find_images([file], unwanted=rules)) == [Excluded(str(file), is_folder=False)]
