"""Features of a data set's pictures: the size that a picture is brought to before a network sees it."""

from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from semret.eval.data.dataset import Dataset
from semret.eval.features import FramedBackbone, extract, name_index
from semret.index.backbones.spec import Streams
from semret.index.model_choice import ModelChoice, NetworkLoader


@pytest.fixture
def sizes(tiny_backbone, monkeypatch):
    """Sizes of the pictures that reach a framed network, and the network in it."""
    seen = {"framed": set(), "network": set()}
    for name, kind in (("framed", FramedBackbone), ("network", tiny_backbone)):

        def note(self, image, name=name, prepare=kind.prepare):
            seen[name].add(image.size)
            return prepare(self, image)

        monkeypatch.setattr(kind, "prepare", note)
    return seen


@dataclass(frozen=True)
class Choice:
    """Stands for a choice of the registry."""

    backbone: object
    model: str = "tiny"
    size: None = None
    geometry: None = None
    layer: None = None
    autocast: None = None
    weights: None = None

    def loader(self, index):
        del index
        return NetworkLoader(self.model, lambda: self.backbone)


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for number, size in enumerate([(1600, 900), (320, 180), (300, 300)]):
        pixels = rng.integers(0, 256, size=(9, 16, 3), dtype=np.uint8)
        paths.append(tmp_path / f"{number}.jpg")
        Image.fromarray(pixels).resize(size).save(paths[-1])
    names = np.array(["a", "b", "c"])
    return Dataset(
        name="made up", paths=tuple(paths), classes=("x",), counts=np.ones((3, 1), dtype=np.int64), videos=names,
        scenes=names, measure="f1",
    )  # fmt: skip


def test_every_picture_is_decoded_whole_and_brought_to_one_frame_first(dataset, tiny_backbone, sizes, tmp_path):
    extract(dataset, np.arange(3), Choice(tiny_backbone()), tmp_path / "cache", frame=(450, 800))
    assert sizes["framed"] == {(1600, 900), (320, 180), (300, 300)}
    assert sizes["network"] == {(800, 450)}


def test_without_a_frame_pictures_reach_the_network_as_they_are(dataset, tiny_backbone, sizes, tmp_path):
    extract(dataset, np.arange(3), Choice(tiny_backbone()), tmp_path / "cache")
    assert sizes["framed"] == set()
    assert (800, 450) not in sizes["network"]


def test_a_framed_network_sees_what_it_would_see_of_a_resized_picture(tiny_backbone, draw_picture):
    picture = draw_picture(3, (64, 48))
    network = tiny_backbone()
    framed = FramedBackbone(network, (20, 40))
    small = picture.resize((40, 20), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(framed.prepare(picture), network.prepare(small))
    np.testing.assert_array_equal(framed.prepare(small), network.prepare(small))
    batch = framed.prepare(picture)[None]
    np.testing.assert_array_equal(framed.embed(batch).tokens, network.embed(batch).tokens)
    assert framed.identity == network.identity
    with framed.streams(4) as streams:
        assert isinstance(streams, Streams)


def test_features_of_another_frame_are_kept_apart():
    choice = ModelChoice(model="clip")
    names = {name_index("d", choice, "float16", frame) for frame in (None, (1080, 1920), (450, 800))}
    assert names == {"d-clip", "d-clip-frames-1080x1920", "d-clip-frames-450x800"}
