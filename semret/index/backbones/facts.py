"""What is known of the named backbones beside their specs: how large they are, and which to take for what."""

from __future__ import annotations

from dataclasses import dataclass

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Facts:
    """What helps to choose a backbone.

    Attributes
    ----------
    parameters : int
        Numbers in the network as it is used here, text tower included.
    purpose : str
        What to take it for, in one sentence.
    """

    parameters: int
    purpose: str

    @property
    def weight_bytes(self) -> int:
        """Bytes that the parameters take in float32, which is about what a download has."""
        return _FLOAT_BYTES * self.parameters


_TABLE1 = "For the paper's Table 1"

FACTS = {
    "efficientnet-lite0": Facts(4_631_000, "Everyday photos on any computer: quick, and nothing to download."),
    "dinov2": Facts(86_580_480, "The same as dinov2-base."),
    "dinov2-small": Facts(22_056_576, "General patches, learnt without labels; the smallest and quickest of its kind."),
    "dinov2-base": Facts(
        86_580_480, "General patches, learnt without labels, where time or a GPU allows more than dinov2-small."
    ),
    "dinov2-large": Facts(304_368_640, "As dinov2-base and larger: for a GPU, or a small collection."),
    "dinov2-giant": Facts(1_136_480_768, "The largest network of the paper: for studies, on a GPU with 8 GB or more."),
    "dinov2-small-registers": Facts(
        22_058_112, "As dinov2-small, trained to have no odd patches in plain backgrounds."
    ),
    "dinov2-base-registers": Facts(86_583_552, "As dinov2-base, trained to have no odd patches in plain backgrounds."),
    "dinov2-large-registers": Facts(
        304_372_736, "As dinov2-large, trained to have no odd patches in plain backgrounds."
    ),
    "dinov2-giant-registers": Facts(
        1_136_486_912, "As dinov2-giant, trained to have no odd patches in plain backgrounds."
    ),
    "dinov3-small": Facts(21_596_544, "The successor of dinov2-small, under a licence to be accepted first."),
    "dinov3-base": Facts(85_660_416, "The successor of dinov2-base, under a licence to be accepted first."),
    "dinov3-large": Facts(303_129_600, "The successor of dinov2-large, under a licence to be accepted first."),
    "dinov3-convnext-tiny": Facts(27_820_128, "DINOv3 as a convolutional network: few and coarse patches."),
    "clip": Facts(151_277_313, "Searching by a sentence with the least work; coarse patches."),
    "clipseg": Facts(149_620_737, "Patches of CLIP at a fine grid: 484 of them."),
    "sam": Facts(89_670_912, "Outlines and textures at 4,096 patches; slow to compute and to match."),
    "bit": Facts(25_549_352, "A convolutional classifier with fine patches, to compare transformers with."),
    "siglip": Facts(203_155_970, "Searching by a sentence; newer than clip, and four times its patches."),
    "siglip2": Facts(375_187_970, "Searching by a sentence in many languages."),
    "siglip2-naflex": Facts(375_234_050, "As siglip2, trained on pictures in their own proportions."),
    "resnet18": Facts(11_689_512, f"{_TABLE1}: a small convolutional classifier."),
    "resnet50": Facts(25_557_032, f"{_TABLE1}: the classifier that most studies compare with."),
    "resnet101": Facts(44_549_160, f"{_TABLE1}: a deep convolutional classifier."),
    "convnextv2-base": Facts(88_717_800, f"{_TABLE1}: a modern convolutional classifier; not for commercial use."),
    "vit-b16": Facts(86_567_656, f"{_TABLE1}: a transformer trained as a classifier."),
    "vit-l32": Facts(306_632_680, f"{_TABLE1}: a large transformer with coarse patches."),
    "dinov2-giant-imagenet1k": Facts(1_139_553_768, f"{_TABLE1}: dinov2-giant with a classifier on top."),
}
"""By name of the backbone: every row of the registry has its facts."""
