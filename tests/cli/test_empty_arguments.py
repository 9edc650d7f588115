"""An argument of no characters, as of a variable that is not set, is not taken for the current folder."""

from __future__ import annotations

import pytest

import semret
from semret.cli import app
from semret.errors import ArgumentError
from semret.index.collection import open_collection
from semret.index.sync.sync import sync
from tests.support.commands import invoke


@pytest.fixture
def index(photos, tiny_backbone, monkeypatch):
    """Of the current folder's pictures."""
    monkeypatch.delenv("SEMRET_INDEX", raising=False)
    monkeypatch.chdir(photos)
    sync(photos / ".semret", [photos], tiny_backbone)
    return photos / ".semret"


@pytest.mark.parametrize(
    "arguments",
    [
        ["remove", ""],
        ["remove", "0.png", ""],
        ["remove", "--", ""],
        ["index", ""],
        ["index", ".", "--index", ""],
        ["index", ".", "--index="],
        ["index", ".", "--root", ""],
        ["compact", "--index", ""],
        ["export", ""],
        ["import", "a.tar", "--index", ""],
        ["query", ""],
        ["query", "0.png", "--html", ""],
        ["query", "0.png", "--folder", ""],
        ["verify", "--repair", "--index", ""],
    ],
)
def test_what_is_empty_is_refused_and_nothing_is_done(index, photos, arguments):
    before = sorted(path.name for path in photos.iterdir())
    result = invoke(app, *arguments)
    assert result.exit_code == 2
    text = " ".join(result.stderr.split())
    assert "it is empty; was a variable of the shell not set? The current folder is written ." in text
    assert sorted(path.name for path in photos.iterdir()) == before
    with open_collection(index) as collection:
        assert len(collection) == 6


def test_in_python_too(index):
    for call in (
        lambda: semret.build(""),
        lambda: semret.build([".", ""]),
        lambda: semret.build(".", index=""),
        lambda: semret.open_index(""),
        lambda: semret.duplicates(""),
    ):
        with pytest.raises(
            ArgumentError, match=r"is empty, expected the name of a file or folder; the current folder is \."
        ):
            call()


def test_the_current_folder_has_a_name(index):
    result = invoke(app, "remove", ".")
    assert result.exit_code == 0
    assert "6 removed" in result.stdout
