"""An engine with a device: exhaustive searches and regions are narrowed there, and answer as without."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import semret
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.retrieval.search import device_maps, device_search
from tests.support import interpreter  # noqa: F401 - makes it quicker

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def kinds(monkeypatch):
    """Have the interpreter's device count as one that maps are compared on."""
    monkeypatch.setattr(device_search, "KINDS", (DEVICE,))


def make_index(tmp_path, draw_picture, network, codec):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        draw_picture(number).save(folder / f"{number}.png")
    sync(tmp_path / "index", [folder], network, options=SyncOptions(codec=codec, fit_from=4))
    return tmp_path / "index"


@pytest.fixture
def index(tmp_path, draw_picture, tiny_backbone):
    return make_index(tmp_path, draw_picture, tiny_backbone, "pca6-int8")


def as_told(result):
    return [(hit.id, hit.score, hit.pooled_score) for hit in result], result.stats.solved + result.stats.pruned


@pytest.mark.parametrize("options", [{}, {"kernel": "linear"}, {"score": "query"}, {"exclude_self": True}], ids=str)
def test_an_exhaustive_search_answers_as_without(index, kinds, options):
    with semret.open_index(index, device=DEVICE) as engine, semret.open_index(index) as plain:
        asked = {"k": 2, "exhaustive": True, **options}
        assert as_told(engine.query(3, **asked)) == as_told(plain.query(3, **asked))
        assert engine.device_maps == f"all on {DEVICE}"
        assert engine.why_not_on_device is None


def test_a_region_answers_as_without(index, kinds):
    with semret.open_index(index, device=DEVICE) as engine, semret.open_index(index) as plain:
        asked = {"k": 2, "region": "10%,10%,50%,50%"}
        assert as_told(engine.query(3, **asked)) == as_told(plain.query(3, **asked))
        assert engine.device_maps == f"all on {DEVICE}"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"exhaustive": True, "invariance": "maxsim"},
        {"exhaustive": True, "center": "none"},
        {"exhaustive": True, "k": 8},
    ],
    ids=str,
)
def test_what_the_device_is_not_for(index, kinds, options):
    with semret.open_index(index, device=DEVICE) as engine, semret.open_index(index) as plain:
        assert as_told(engine.query(3, **options)) == as_told(plain.query(3, **options))
        assert engine.device_maps == f"no maps on {DEVICE} yet"


def test_floats_are_for_the_processor(tmp_path, draw_picture, tiny_backbone, kinds):
    index = make_index(tmp_path, draw_picture, tiny_backbone, "none")
    with semret.open_index(index, device=DEVICE) as engine:
        assert len(engine.query(3, k=2, exhaustive=True)) == 2
        assert engine.device_maps.startswith(f"nothing on {DEVICE}: maps of floats")


def test_a_device_that_is_missing_is_said(index):
    with semret.open_index(index, device="cuda:77") as engine:
        assert [hit.id for hit in engine.query(3, k=1, exhaustive=True)] == [3]
        assert engine.device_maps.startswith("nothing on cuda:77: device 'cuda:77' ")
        assert engine.device_maps.endswith(f": {engine.why_not_on_device}")


def test_what_would_fit_is_said(index, kinds, monkeypatch):
    with semret.open_index(index) as engine:
        told = device_search.DeviceSearch(engine.collection, DEVICE)
        assert told.fitting() == f"all 8 maps fit on {DEVICE}"
        positions, dimension = engine.collection.source([]).shape
        monkeypatch.setattr(device_maps, "_room", lambda _: 6 * (positions * (dimension + 4) + 8))
        assert told.fitting() == f"3 of 8 maps fit on {DEVICE}"
        assert device_search.DeviceSearch(engine.collection, "mps").fitting().endswith("devices alone")


def test_a_processor_is_no_device(index):
    with semret.open_index(index, device="cpu") as engine:
        assert engine.device_maps is None
        assert engine.why_not_on_device is None
        assert np.isfinite(engine.query(3, k=1, exhaustive=True)[0].score)
