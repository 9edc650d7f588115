"""EfficientNet-Lite0 as a plain torch module, batch normalisations folded into the convolutions.

timm has the same network, and tests compare the two. This one exists because importing timm takes longer than
embedding a picture, and because without separate normalisations it runs about twice as fast on a processor.

References
----------
.. [1] Tan, Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

STEM, HEAD, CLASSES = 32, 1280, 1000


class Stage(NamedTuple):
    """Blocks of one width: kernel size, stride of the first block, expansion, channels, and how many blocks."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    repeats: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does: the output is ``ceil(input / stride)``, odd padding after the end.

    `clip` applies ReLU6 to the result.
    """

    def __init__(
        self, before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1, clip: bool = True
    ) -> None:
        super().__init__(before, after, kernel, stride=stride, groups=groups, padding=kernel // 2)
        self.clip = clip

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, after, ceil(H / stride), ceil(W / stride)) for (N, before, H, W)."""
        result = self._mix(images) if self.kernel_size == (1, 1) else self._slide(images)
        return functional.relu6(result, inplace=True) if self.clip else result

    def _mix(self, images: Tensor) -> Tensor:
        """Multiply the channels of every pixel: the same bits from any number of threads, as a convolution has not."""
        return functional.linear(images.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)

    def _slide(self, images: Tensor) -> Tensor:
        weight = self.weight
        if self.stride == (2, 2):
            # TensorFlow pads an even side by one less before its start. Instead of a padded copy of the map, which may
            # be large, the kernel gets a row of zeros there.
            before = [1 - images.shape[axis] % 2 for axis in (-1, -2)]
            weight = functional.pad(weight, (before[0], 0, before[1], 0))
        return functional.conv2d(images, weight, self.bias, self.stride, self.padding, groups=self.groups)


class Block(nn.Module):
    """Inverted residual: widen (unless `expansion` is 1), filter each channel, narrow; add the input where it fits."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.expand = SameConv(before, wide, 1) if expansion > 1 else None
        self.depthwise = SameConv(wide, wide, kernel, stride=stride, groups=wide)
        self.project = SameConv(wide, after, 1, clip=False)
        self.adds = stride == 1 and before == after

    def forward(self, images: Tensor) -> Tensor:
        """Return the map after the block."""
        hidden = images if self.expand is None else self.expand(images)
        result: Tensor = self.project(self.depthwise(hidden))
        return result.add_(images) if self.adds else result


class LiteNet(nn.Module):
    """The network: ``stem``, seven ``blocks`` of the table, ``head``, and a linear ``classifier`` on the pooled map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, stride=2)
        stages, width = [], STEM
        for stage in STAGES:
            blocks = []
            for index in range(stage.repeats):
                stride = stage.stride if index == 0 else 1
                blocks.append(Block(width, stage.channels, stage.kernel, stride, stage.expansion))
                width = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.head = SameConv(width, HEAD, 1)
        self.classifier = nn.Linear(HEAD, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, 1000) logits of (N, 3, H, W) images."""
        features: Tensor = self.head(self.blocks(self.stem(images)))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits
