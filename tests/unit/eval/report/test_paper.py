"""The paper's numbers, and where they may stand: beside its data, its sizes and its networks, nowhere else."""

from dataclasses import asdict, replace

import pytest

from semret.eval.report.paper import (
    CLASSIFIERS,
    EXTRACTORS,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    classifier,
    extractor,
    is_imagenet_test,
    table_1,
    table_2,
    table_3,
    table_4,
)
from semret.index.backbones.table import BACKBONES


def identity(name, **changes):
    spec = BACKBONES[name]
    fields = {
        "backbone": name, "checkpoint": spec.checkpoint, "revision": spec.revision, "layer": spec.layer,
        "preprocessing": asdict(spec.preprocessing), "autocast": None,
    }  # fmt: skip
    return {**fields, **changes}


def test_the_papers_cells():
    assert table_2("CLIP", 2000, 10000, "rbf", "permutation") == 0.863
    assert table_2("CLIPSeg", 2000, 2500, "linear", "none") == 0.233
    assert table_2("CLIP", 2000, 4000, "rbf", "permutation") is None
    assert table_2("CLIP", 1999, 5000, "rbf", "permutation") is None
    assert table_2("CLIP", 2000, 5000, "rbf", "maxsim") is None
    assert table_2(None, 2000, 5000, "rbf", "none") is None
    assert table_3("SAM", 500, 2975, "cosine", "permutation") == 0.702
    assert table_3("SAM", 500, 2974, "cosine", "permutation") is None
    assert table_1("ResNet18", "cosine", "permutation") == -0.326
    assert table_4("ResNet18", "pearson", "cosine", "permutation") == -0.328
    assert table_4("ViT-L/32", "spearman", "rbf", "permutation") == -0.392
    assert table_4("ViT-B/16", "spearman", "linear", "permutation") == 0.029
    assert table_4("ViT-B/16", "kendall", "linear", "permutation") is None


def test_the_papers_tables_are_complete():
    assert {len(sizes) for sizes in TABLE_2.values()} == {3}
    assert set(TABLE_2) == set(TABLE_3) == set(EXTRACTORS.values())
    assert set(TABLE_1) == set(CLASSIFIERS.values())
    assert all(set(rows) == set(TABLE_1) for rows in TABLE_4.values())
    # Its main claim: under cosine, permutation invariance wins in every cell of tables 2 and 3.
    assert all(cells[0][1] > cells[0][0] for sizes in TABLE_2.values() for cells in sizes.values())
    assert all(cells[0][1] > cells[0][0] for cells in TABLE_3.values())


def test_every_network_of_the_paper_is_known_by_our_name():
    for name, paper in EXTRACTORS.items():
        assert extractor(identity(name)) == paper
    for name, paper in CLASSIFIERS.items():
        assert classifier(identity(name)) == paper
        assert BACKBONES[name].classes == 1000, "table 1 correlates class probabilities"
    assert extractor(identity("efficientnet-lite0")) is None
    assert extractor(identity("resnet18")) is None
    assert classifier(identity("dinov2-giant")) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"checkpoint": "my/own"},
        {"revision": None},
        {"layer": "blocks.3"},
        {"autocast": "bfloat16"},
        {"preprocessing": asdict(replace(BACKBONES["clip"].preprocessing, size=(320, 320)))},
    ],
)
def test_another_checkpoint_size_layer_or_precision_is_not_the_papers_network(changes):
    assert extractor(identity("clip", **changes)) is None


def test_the_test_set_of_imagenet_is_known_by_its_names():
    names = [f"ILSVRC2012_test_{number:08d}.JPEG" for number in range(1, 2001)]
    assert is_imagenet_test(names)
    assert not is_imagenet_test(names[:-1])
    assert not is_imagenet_test([*names[:-1], "scene-001.jpg"])
