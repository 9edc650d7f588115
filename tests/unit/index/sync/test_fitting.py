"""The codec of a new index is fitted while the network goes on; what is stored is the same as if it had waited."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image

from semret.errors import ArgumentError
from semret.index.codec.fit import CodecFitter
from semret.index.collection import open_collection
from semret.index.sync import fitting
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync

SAMPLED, PICTURES = 6, 30


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(4)
    for number in range(PICTURES):
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((48, 48)).save(folder / f"{number:02d}.png")
    # A copy of a picture that the codec is fitted on, and one of another.
    for source, copy in (("00", "zz"), ("01", "zy")):
        (folder / f"{copy}.png").write_bytes((folder / f"{source}.png").read_bytes())
    return folder


@pytest.fixture(autouse=True)
def few_are_sampled(monkeypatch):
    monkeypatch.setattr(fitting, "sample_size", lambda _: SAMPLED)


def index(folder, place, backbone, **options):
    sync(place, [folder], lambda: backbone, options=SyncOptions(codec="pca6-int8", fit_from=4, **options))
    with open_collection(place) as collection:
        everyone = np.arange(len(collection))
        stored = [collection.features.read(name, everyone).tobytes() for name in ("tokens", "scales", "pooled")]
        paths = list(collection.files())
        return collection.manifest.codec_file, collection.ids.tolist(), paths, stored


def test_the_network_goes_on_while_the_codec_is_fitted(pictures, tmp_path, tiny_backbone, monkeypatch):
    went_on, finish, embed = threading.Event(), CodecFitter.finish, type(tiny_backbone()).embed
    backbone, waited = tiny_backbone(), []

    def seen(self, batch):
        features = embed(self, batch)
        if self.embedded > SAMPLED + 5:
            went_on.set()
        return features

    def late(self):
        waited.append(went_on.wait(60))
        return finish(self)

    expected = index(pictures, tmp_path / "expected", tiny_backbone())
    monkeypatch.setattr(type(backbone), "embed", seen)
    monkeypatch.setattr(CodecFitter, "finish", late)
    assert index(pictures, tmp_path / "late", backbone, batch_size=1) == expected
    assert waited == [True]
    # Each content once, those of the fit included.
    assert backbone.embedded == PICTURES


@pytest.mark.parametrize("options", [{"batch_size": 1, "workers": 1}, {"batch_size": 5, "workers": 3}])
def test_batches_and_threads_change_no_byte(pictures, tmp_path, tiny_backbone, options):
    expected = index(pictures, tmp_path / "expected", tiny_backbone())
    assert index(pictures, tmp_path / "index", tiny_backbone(), **options) == expected


def test_no_more_than_a_bound_is_held_meanwhile(pictures, tmp_path, tiny_backbone, monkeypatch):
    monkeypatch.setattr(fitting, "_HELD_BYTES", 0)
    backbone, finish = tiny_backbone(), CodecFitter.finish
    before = threading.Event()

    def late(self):
        # Nothing can be waited for here: the run waits for this.
        before.wait(0.5)
        seen.append(backbone.embedded)
        return finish(self)

    seen = []
    monkeypatch.setattr(CodecFitter, "finish", late)
    index(pictures, tmp_path / "index", backbone, batch_size=1)
    # One is held; what the embedder has on its way comes besides.
    assert seen[0] < PICTURES


def test_no_pixels_are_held(pictures, tmp_path, tiny_backbone, monkeypatch):
    held, until = [], fitting.UntilFitted

    class Looked(until):
        def __init__(self, sample, *rest):
            held.extend(loaded for embedded in sample.embedded for loaded in embedded.files + embedded.pictures)
            super().__init__(sample, *rest)

    monkeypatch.setattr("semret.index.sync.local_run.UntilFitted", Looked)
    index(pictures, tmp_path / "index", tiny_backbone())
    assert len({loaded.sha256 for loaded in held}) == SAMPLED
    assert all(loaded.pixels is None and loaded.sha256 for loaded in held)


def test_a_failed_fit_ends_the_run_and_leaves_nothing(pictures, tmp_path, tiny_backbone, monkeypatch):
    def fail(self):
        raise ArgumentError("cannot be fitted")

    monkeypatch.setattr(CodecFitter, "finish", fail)
    with pytest.raises(ArgumentError, match="cannot be fitted"):
        index(pictures, tmp_path / "index", tiny_backbone())
    assert not (tmp_path / "index").exists()


def test_a_run_that_is_stopped_during_the_fit_keeps_what_was_embedded(pictures, tmp_path, tiny_backbone):
    backbone = tiny_backbone()
    options = SyncOptions(codec="pca6-int8", fit_from=4, batch_size=1)
    stop = lambda: backbone.embedded > SAMPLED + 3  # noqa: E731
    report = sync(tmp_path / "index", [pictures], lambda: backbone, options=options, stop=stop)
    assert report.interrupted
    assert SAMPLED < report.images < PICTURES
    assert report.embedded == backbone.embedded
    assert sync(tmp_path / "index", [pictures], tiny_backbone, options=options).images == PICTURES + 2
