"""``semret query --region`` in an index that has words: what was compared is said, in every form of the answer."""

import json
from functools import partial

import pytest

from semret.cli import app
from semret.index import region_words
from semret.index.shortlist import word_training
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.commands import invoke
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw

BOX = ("--region", "0%,0%,50%,100%", "-k", 3)
NOTE = "the region was compared with 6 images that a first stage by patches found"


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        draw(number).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def run(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(region_words, "LEAST_WORDED", 4)
    write = word_training.write_trained_words
    monkeypatch.setattr(region_words, "write_trained_words", lambda *given: write(*given, least_examined=6))
    monkeypatch.setattr(word_training, "LEAST_RECALL", 0.1)
    options = SyncOptions(codec="pca6-int8", fit_from=4)
    sync(tmp_path / "index", [pictures], TinyBackbone, options=options)
    monkeypatch.setenv("SEMRET_INDEX", str(tmp_path / "index"))
    return partial(invoke, app)


def test_the_table_says_that_not_all_was_compared(run, pictures):
    done = run("query", pictures / "03.png", *BOX)
    said = " ".join(done.stdout.split())
    assert "20 images searched \N{MIDDLE DOT} 6 candidates" in said
    assert "exact among the candidates of a first stage by patches" in said
    assert NOTE in " ".join(done.stderr.split())
    assert done.stdout.splitlines()[0].split()[0] == "1" or "03.png" in done.stdout


def test_json_says_it_too_and_exhaustive_compares_all(run, pictures):
    (answer,) = json.loads(run("query", pictures / "03.png", *BOX, "--format", "json").stdout)
    stats = answer["stats"]
    assert (stats["candidates"], stats["shortlist"], stats["exact_among_candidates"]) == ("patches", 6, True)
    assert 0.1 <= stats["expected_recall"] <= 1
    done = run("query", pictures / "03.png", *BOX, "--exhaustive", "--format", "json")
    (answer,) = json.loads(done.stdout)
    stats = answer["stats"]
    assert (stats["candidates"], stats["shortlist"], stats["shortlist_tried"]) == ("all", 20, 6)
    assert stats["expected_recall"] is None
    assert NOTE not in " ".join(done.stderr.split())


def test_info_tells_what_regions_are_compared_with(run, tmp_path):
    said = " ".join(run("info").stdout.split())
    assert "regions compared with 6 images that a first stage by" in said
    found = json.loads(run("info", "--format", "json").stdout)
    assert (found["regions"], found["region_candidates"]) == ("patches", 6)
