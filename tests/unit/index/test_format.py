"""An index of format 1, made by the version that introduced it, is read for ever."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from semret.index.care.verify import verify
from semret.index.collection import open_collection
from semret.index.store.shortlist_file import read_shortlist
from semret.index.sync.sync import sync
from tests.support.places import DATA

FIXTURE = DATA / "format-1"


@pytest.fixture
def index(tmp_path):
    """Three pictures, two of them the same, in two segments with a row nobody wants, and a refused file."""
    shutil.copytree(FIXTURE, tmp_path / "index")
    return tmp_path / "index"


def test_format_1_is_read(index, tiny_backbone, draw_picture):
    network = tiny_backbone()
    features = network.embed(np.stack([network.prepare(draw_picture(seed)) for seed in (1, 2, 1)]))
    with open_collection(index) as collection:
        assert collection.manifest.format_version == 1
        assert collection.ids.tolist() == [2, 3, 4]
        names = [Path(path).name for path, _, _ in collection.files()]
        assert names == ["1.png", "2.png", "twin.png"]
        assert collection.tokens(collection.ids).astype("f4") == pytest.approx(features.tokens, rel=1e-3, abs=1e-3)
        assert np.asarray(collection.features.pooled) == pytest.approx(features.pooled, rel=1e-5, abs=1e-6)
        assert [(Path(path).name, reason.split(" (")[0]) for path, reason in collection.skipped] == [
            ("broken.jpg", "is no picture in a supported format")
        ]
        assert read_shortlist(index / "shortlist.faiss", (3, 12), collection.mark) is not None
        assert collection.shortlist(collection.features.pooled[0][None], 2).ids.tolist() == [[2, 4]]


def test_format_1_is_sound(index):
    assert verify(index).defects == ()


def test_format_1_is_continued(index, tmp_path, tiny_backbone, draw_picture):
    (tmp_path / "photos").mkdir()
    draw_picture(2).save(tmp_path / "photos" / "2.png")
    draw_picture(5).save(tmp_path / "photos" / "5.png")
    network = tiny_backbone()
    report = sync(index, [tmp_path / "photos"], lambda: network)
    assert (report.images, report.added, report.unchanged, report.removed) == (2, 1, 1, 2)
    assert network.embedded == 1
    with open_collection(index) as collection:
        assert collection.ids.tolist() == [3, 5]
