"""Named networks filled with random numbers, for measuring how long they take where their weights are not at hand."""

from __future__ import annotations

from semret.index.backbones import hf, openclip
from semret.index.backbones.network import TorchBackbone
from semret.index.backbones.spec import BackboneSpec, LoadOptions

_NO_WEIGHTS = "0" * 64


def build_untrained(spec: BackboneSpec, device: str | None = None) -> TorchBackbone:
    """Build the network of a row of the registry as it is, but for its weights. Nothing is downloaded.

    Parameters
    ----------
    spec : BackboneSpec
        Of family ``hf`` or ``open_clip``, with its preprocessing.
    device : str or None

    Returns
    -------
    TorchBackbone
        What it gives means nothing.

    Raises
    ------
    BackboneError
        If the device is not there.
    ValueError
        If the spec has no preprocessing.
    """
    if spec.family == "open_clip":
        architecture, tag = openclip.split_name(spec)
        network = openclip.build(architecture, tag)
        wiring = openclip.wire(network, architecture)
    else:
        config = hf.registered_config(spec)
        network = hf.trim(hf.model_class(spec, config)(config))
        wiring = hf.wire(network, config)
    if spec.preprocessing is None:
        raise ValueError(f"{spec.name} is no row of the registry")
    return TorchBackbone(
        spec=spec,
        network=network,
        wiring=wiring,
        preprocessing=spec.preprocessing,
        options=LoadOptions(device=device),
        weights_sha256=_NO_WEIGHTS,
    )
