"""The shapes that a network gives, found out before its first picture."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from semret.errors import BackboneError, cut_text
from semret.index.backbones.layers import LayerMap, Outputs, Wiring, run_layers

logger = logging.getLogger(__name__)


class _Caller(nn.Module):
    """A network whose forward pass is what its wiring calls, so that `functional_call` can run it."""

    def __init__(self, network: nn.Module, wiring: Wiring, paths: Mapping[str, str | None]) -> None:
        super().__init__()
        self.network = network
        self._wiring = wiring
        self._paths = paths

    def forward(self, images: Tensor) -> tuple[dict[str, LayerMap], Outputs]:
        return run_layers(self.network, self._wiring, self._paths, images)


def outline(
    network: nn.Module, wiring: Wiring, paths: Mapping[str, str | None], size: tuple[int, int], backbone: str
) -> tuple[dict[str, LayerMap], Outputs]:
    """Find the shapes that a network gives, before its first picture.

    Networks are traced on torch's meta device, which computes shapes only, whatever device their weights are on. A
    light network, and one that cannot be traced, runs once on a black picture instead.

    Parameters
    ----------
    network : torch.nn.Module
    wiring : Wiring
        How to run it.
    paths : mapping of str to str or None
        The layers to read, as in `Wiring.layers`.
    size : (int, int)
        Height and width of the pictures in pixels.
    backbone : str
        Name for messages.

    Returns
    -------
    maps : dict of str to LayerMap
    outputs : Outputs
        Of one picture; where the network was traced, tensors without numbers.

    Raises
    ------
    BackboneError
        If the network does not take pictures of this size.
    """
    try:
        with torch.no_grad():
            device = next(network.parameters()).device
            if device.type == "meta":
                return _trace(network, wiring, paths, size)
            if not wiring.light:
                try:
                    return _trace(network, wiring, paths, size)
                except BackboneError:
                    raise
                except Exception as error:  # a network of somebody else's raises what it likes
                    logger.debug("%s cannot be traced: %s", backbone, error)
            black = torch.zeros(1, 3, *size, device=device).contiguous(memory_format=torch.channels_last)
            return run_layers(network, wiring, paths, black)
    except BackboneError:
        raise
    except Exception as error:
        reason = cut_text(error)
        raise BackboneError(
            f"{backbone} does not take pictures of {size[0]}x{size[1]}: {reason}; leave --size out"
        ) from error


def _trace(
    network: nn.Module, wiring: Wiring, paths: Mapping[str, str | None], size: tuple[int, int]
) -> tuple[dict[str, LayerMap], Outputs]:
    caller = _Caller(network, wiring, paths)
    tensors = [*caller.named_parameters(), *caller.named_buffers()]
    meta = {name: tensor.to("meta") for name, tensor in tensors}
    images = torch.zeros(1, 3, *size, device="meta")
    found: tuple[dict[str, LayerMap], Outputs] = functional_call(caller, meta, (images,))
    return found
