"""Every row of the registry, built at its real size on the meta device, gives what the row claims."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from semret.errors import UnknownNameError
from semret.index.backbones import hf, lite0_torch, openclip
from semret.index.backbones.facts import FACTS
from semret.index.backbones.hub import OPEN_CLIP_HUB
from semret.index.backbones.layers import Wiring
from semret.index.backbones.preprocess import with_size
from semret.index.backbones.registry import DEFAULT_BACKBONE, list_backbones, spec_of
from semret.index.backbones.spec import BackboneSpec
from semret.index.backbones.tracing import outline

NAMES = [spec.name for spec in list_backbones()]
ASKED_FOR = [
    "dinov2", "dinov2-small", "dinov2-base", "dinov2-large", "dinov2-giant", "clip", "clipseg", "sam", "bit",
    "resnet18", "resnet50", "resnet101", "convnextv2-base", "vit-b16", "vit-l32", "dinov2-giant-imagenet1k",
    "efficientnet-lite0",
]  # fmt: skip


def on_meta(spec: BackboneSpec) -> tuple[torch.nn.Module, Wiring]:
    if spec.family == "open_clip":
        architecture, tag = openclip.split_name(spec)
        network: Any = openclip.build(architecture, tag, device="meta")
        return network, openclip.wire(network, architecture)
    with torch.device("meta"):
        if spec.family == "embedded":
            return lite0_torch.LiteNet(), lite0_torch.wire()
        config = hf.registered_config(spec)
        network = hf.trim(hf.model_class(spec, config)(config))
        return network, hf.wire(network, config)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_claims_what_its_network_gives(name: str) -> None:
    spec = spec_of(name)
    assert spec.preprocessing is not None
    network, wiring = on_meta(spec)
    maps, outputs = outline(network.eval(), wiring, wiring.layers, spec.preprocessing.size, name)
    default = maps[str(spec.layer)]
    assert default.grid == spec.grid
    assert default.tokens.shape == (1, default.grid[0] * default.grid[1], spec.channels)
    assert default.prefix.shape[1] == spec.prefix_tokens
    assert list(maps)[-1] == "last"
    assert len(maps) >= 5
    if spec.classes is None:
        assert outputs.logits is None
    else:
        assert outputs.logits is not None
        assert outputs.logits.shape == (1, spec.classes)
    if spec.pooled == "model":
        assert outputs.pooled is not None
        assert outputs.pooled.ndim == 2
    assert FACTS[name].parameters == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", [name for name in NAMES if spec_of(name).resizable])
def test_a_resizable_row_takes_a_larger_and_a_wider_picture(name: str) -> None:
    spec = spec_of(name)
    assert spec.preprocessing is not None
    assert spec.grid is not None
    height, width = spec.preprocessing.size
    size = with_size(spec.preprocessing, (height, 2 * width)).size
    if spec.family == "open_clip":
        network = openclip.build(*openclip.split_name(spec), size=size, device="meta")
        wiring = openclip.wire(network, openclip.split_name(spec)[0])
    else:
        network, wiring = on_meta(spec)
    maps, _ = outline(network.eval(), wiring, {"last": wiring.layers["last"]}, size, name)
    assert maps["last"].grid == (spec.grid[0], 2 * spec.grid[1])


def test_sam_refuses_another_size_in_one_line() -> None:
    from semret.errors import BackboneError

    network, wiring = on_meta(spec_of("sam"))
    with pytest.raises(BackboneError, match=r"does not take pictures of 512x512.*leave --size out"):
        outline(network.eval(), wiring, {"last": ""}, (512, 512), "sam")


def test_the_paper_is_covered_and_the_default_comes_first() -> None:
    assert set(ASKED_FOR) <= set(NAMES)
    assert NAMES[0] == DEFAULT_BACKBONE
    assert list(FACTS) == NAMES
    assert all(spec.licence and spec.reference.startswith("https://") for spec in list_backbones())


def test_clip_is_where_open_clip_says() -> None:
    import open_clip

    for checkpoint, (repository, _) in OPEN_CLIP_HUB.items():
        architecture, tag = checkpoint.split("/")
        assert open_clip.get_pretrained_cfg(architecture, tag)["hf_hub"].strip("/") == repository


@pytest.mark.parametrize(
    ("name", "family", "checkpoint"),
    [
        ("hf:facebook/dinov2-base", "hf", "facebook/dinov2-base"),
        ("timm:resnet18.a1_in1k", "timm", "resnet18.a1_in1k"),
        ("open_clip:ViT-B-16/openai", "open_clip", "ViT-B-16/openai"),
    ],
)
def test_generic_names(name: str, family: str, checkpoint: str) -> None:
    spec = spec_of(name)
    assert (spec.name, spec.family, spec.checkpoint) == (name, family, checkpoint)
    assert spec.grid is None


@pytest.mark.parametrize("name", ["dinov22", "Clip", "hf:", "elsewhere:net", ""])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown backbone"):
        spec_of(name)


def test_a_misspelt_name_is_answered_with_close_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*dinov2-large"):
        spec_of("dinov2-larg")


def test_revisions_are_pinned_to_commits() -> None:
    pinned = {spec.checkpoint: spec.revision for spec in list_backbones() if spec.family != "embedded"}
    assert all(re.fullmatch("[0-9a-f]{40}", str(revision)) for revision in pinned.values())
    assert len(set(pinned.values())) == len(pinned)
    assert spec_of("dinov2").revision == spec_of("dinov2-base").revision
