"""Read the layers of a torch network through hooks, and bring every layout to (N, S, C)."""

from __future__ import annotations

import difflib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from semret.errors import BackboneError

_MOST_PREFIX_TOKENS = 16
"""Class, distillation and register tokens; more than that means that the patch size is not what it claims to be."""


class Outputs(NamedTuple):
    """What a call of a network returns beside its layers.

    Attributes
    ----------
    pooled : Tensor of shape (N, D) or None
        The network's own image embedding.
    logits : Tensor of shape (N, L) or None
        Class scores.
    last : Tensor or None
        The final layer, where no module has it as its output.
    """

    pooled: Tensor | None = None
    logits: Tensor | None = None
    last: Tensor | None = None


class LayerMap(NamedTuple):
    """A layer as tokens.

    Attributes
    ----------
    tokens : Tensor of shape (N, S, C)
        In row-major order of the grid.
    grid : (int, int)
        H and W with ``S = H * W``.
    prefix : Tensor of shape (N, P, C)
        Class, register and distillation tokens, taken off the front; P may be 0.
    """

    tokens: Tensor
    grid: tuple[int, int]
    prefix: Tensor


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """How to read a network.

    Attributes
    ----------
    layers : mapping of str to str
        Names of the layers in order from input to output, and the dotted path of the module whose output they are;
        None where it is `Outputs.last`. The final one is called ``last``.
    call : callable
        Runs the network on an (N, 3, H, W) tensor.
    prefix : int
        Tokens in front of the patch tokens where a layer is a sequence and `patch` is None, unless another number up to
        two leaves a grid; with `patch` they are counted.
    patch : (int, int) or None
        Height and width of a patch in pixels; None where the network is convolutional or hierarchical.
    nhwc : bool
        Whether four-dimensional layers have their channels last when the patch size cannot tell.
    text : callable or None
        Sentences to (N, D) embeddings in the space of `Outputs.pooled`.
    light : bool
        Whether a pass over one picture takes less time than tracing its shapes, for which torch loads its compiler.
    """

    layers: Mapping[str, str | None]
    call: Callable[[Any, Tensor], Outputs]
    prefix: int = 0
    patch: tuple[int, int] | None = None
    nhwc: bool = False
    text: Callable[[list[str]], Tensor] | None = None
    light: bool = False


def resolve_layer(
    layer: str | int, layers: Mapping[str, str | None], network: nn.Module, backbone: str
) -> tuple[str, str | None]:
    """Return the canonical name of a layer and the path of its module.

    Parameters
    ----------
    layer : str or int
        A name of `layers`, an index into them (negative from the end), or the dotted path of any module.
    layers : mapping of str to str or None
        As `Wiring.layers`.
    network : torch.nn.Module
        Whose modules may be meant.
    backbone : str
        Name for messages.

    Returns
    -------
    name : str
        The canonical name.
    path : str or None
        Of the module; None where the layer is `Outputs.last`.

    Raises
    ------
    BackboneError
        If there is no such layer; the message offers close names.
    """
    names = list(layers)
    text = str(layer)
    if isinstance(layer, int) or text.lstrip("-").isdecimal():
        index = int(layer)
        if not -len(names) <= index < len(names):
            raise BackboneError(f"{backbone} has {len(names)} layers, there is no number {index}: {_shorten(names)}")
        return names[index], layers[names[index]]
    if text in layers:
        return text, layers[text]
    modules = dict(network.named_modules())
    if text and text in modules:
        return text, text
    close = difflib.get_close_matches(text, [*names, *modules], n=3)
    hint = f"did you mean {', '.join(close)}?" if close else f"its layers are {_shorten(names)}"
    raise BackboneError(f"{backbone} has no layer {text!r}; {hint}")


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= 8 else [*names[:3], "...", *names[-3:]])


class LayerReader:
    """Runs a network and keeps what some of its modules give; any number of threads may run it at once.

    The hooks that keep them are put on the modules once, for adding one would disturb a thread that is running the
    network. `close`, or the end of a ``with`` block, takes them off.

    Parameters
    ----------
    network : torch.nn.Module
        Must not get other weights or modules while it is read.
    wiring : Wiring
        How to run it.
    paths : mapping of str to str or None
        The layers to read: names and the paths of their modules, as in `Wiring.layers`.
    """

    def __init__(self, network: nn.Module, wiring: Wiring, paths: Mapping[str, str | None]) -> None:
        self._network = network
        self._wiring = wiring
        self._paths = paths
        self._thread = threading.local()
        self._hooks = [
            network.get_submodule(path).register_forward_hook(functools.partial(self._keep, name=name))
            for name, path in paths.items()
            if path is not None
        ]

    def __enter__(self) -> LayerReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks off the modules."""
        for hook in self._hooks:
            hook.remove()

    def run(self, images: Tensor) -> tuple[dict[str, LayerMap], Outputs]:
        """Run the network once.

        Parameters
        ----------
        images : Tensor of shape (N, 3, H, W)
            On the network's device.

        Returns
        -------
        maps : dict of str to LayerMap
            The layers that were asked for.
        outputs : Outputs

        Raises
        ------
        BackboneError
            If a layer takes no part in embedding an image, or its output is no map of the picture.
        """
        captured: dict[str, Tensor] = {}
        self._thread.captured = captured
        try:
            outputs = self._wiring.call(self._network, images)
        finally:
            del self._thread.captured
        if outputs.last is not None:
            captured |= {name: outputs.last for name, path in self._paths.items() if path is None}
        size = (int(images.shape[-2]), int(images.shape[-1]))
        missing = [name for name in self._paths if name not in captured]
        if missing:
            raise BackboneError(f"layer {missing[0]!r} takes no part in embedding an image")
        return {name: to_map(captured[name], self._wiring, size, name) for name in self._paths}, outputs

    def _keep(self, _module: nn.Module, _inputs: Any, output: Any, *, name: str) -> None:
        captured = getattr(self._thread, "captured", None)
        if captured is None:
            return
        tensor = _first_tensor(output)
        # A module that is no listed layer may be followed by one that works in place.
        captured[name] = tensor if name in self._wiring.layers else tensor.clone()


def run_layers(
    network: nn.Module, wiring: Wiring, paths: Mapping[str, str | None], images: Tensor
) -> tuple[dict[str, LayerMap], Outputs]:
    """Run a network once and read some of its layers, as `LayerReader` does.

    No other thread may run the network meanwhile.

    Parameters
    ----------
    network : torch.nn.Module
    wiring : Wiring
        How to run it.
    paths : mapping of str to str or None
        The layers to read, as in `Wiring.layers`.
    images : Tensor of shape (N, 3, H, W)
        On the network's device.

    Returns
    -------
    maps : dict of str to LayerMap
    outputs : Outputs

    Raises
    ------
    BackboneError
        As `LayerReader.run`.
    """
    with LayerReader(network, wiring, paths) as reader:
        return reader.run(images)


def _first_tensor(output: Any) -> Tensor:
    """Return the hidden state of whatever a module returned: a tensor, a tuple, or a transformers output."""
    if isinstance(output, Tensor):
        return output
    hidden = getattr(output, "last_hidden_state", None)
    if isinstance(hidden, Tensor):
        return hidden
    if isinstance(output, (tuple, list)) and output:
        return _first_tensor(output[0])
    raise BackboneError(f"a layer gave {type(output).__name__}, no tensor; choose another --layer")


def to_map(output: Tensor, wiring: Wiring, size: tuple[int, int], name: str) -> LayerMap:
    """Bring the output of a layer to (N, S, C), prefix tokens taken off.

    Parameters
    ----------
    output : Tensor of shape (N, C, H, W), (N, H, W, C) or (N, P + S, C)
        Of a module.
    wiring : Wiring
        Says what the shape leaves open.
    size : (int, int)
        Height and width of the pictures in pixels.
    name : str
        Of the layer, for messages.

    Returns
    -------
    LayerMap

    Raises
    ------
    BackboneError
        If it is no map of the picture: one vector per image, or a number of tokens that fits no grid.
    """
    grid = (size[0] // wiring.patch[0], size[1] // wiring.patch[1]) if wiring.patch else None
    if output.ndim == 4:
        first, last = tuple(output.shape[1:3]), tuple(output.shape[2:4])
        channels_last = wiring.nhwc if grid is None or (first != grid and last != grid) else last != grid
        tokens = output if channels_last else output.permute(0, 2, 3, 1)
        height, width = int(tokens.shape[1]), int(tokens.shape[2])
        tokens = tokens.reshape(tokens.shape[0], height * width, tokens.shape[3])
        return LayerMap(tokens, (height, width), tokens[:, :0])
    if output.ndim != 3 or (output.shape[1] == 1 and grid != (1, 1)):
        raise BackboneError(f"layer {name!r} gives shape {tuple(output.shape)}, no map of the picture; choose another")
    length = int(output.shape[1])
    if grid is not None:
        prefix = length - grid[0] * grid[1]
        if 0 <= prefix <= _MOST_PREFIX_TOKENS:
            return LayerMap(output[:, prefix:], grid, output[:, :prefix])
    for prefix in dict.fromkeys((wiring.prefix, 0, 1, 2)):
        found = _grid_of(length - prefix, size)
        if found is not None:
            return LayerMap(output[:, prefix:], found, output[:, :prefix])
    raise BackboneError(f"layer {name!r} gives {length} tokens for {size[0]}x{size[1]} pixels, which fits no grid")


def _grid_of(length: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Return the (H, W) with ``H * W == length`` and the aspect ratio of `size`, or None."""
    height = round((max(length, 0) * size[0] / size[1]) ** 0.5)
    if height < 1 or length % height:
        return None
    width = length // height
    return (height, width) if height * size[1] == width * size[0] else None


def find_blocks(tower: nn.Module) -> dict[str, str]:
    """Find the blocks of a network: the children of its outermost list of several modules.

    Libraries keep them in ``layer``, ``layers``, ``blocks``, ``resblocks`` or ``stages``, at a depth that changes from
    release to release. The names given here are always ``block.0``, ``block.1``, ...

    Parameters
    ----------
    tower : torch.nn.Module
        The part of a network that embeds images.

    Returns
    -------
    dict of str to str
        Name to the dotted path within `tower`; empty if there is no such list.
    """
    names = ("layer", "layers", "blocks", "resblocks", "stages")
    lists = [
        path
        for path, module in tower.named_modules()
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and path.split(".")[-1] in names and len(module) > 1
    ]
    if not lists:
        return {}
    outermost = min(lists, key=lambda path: path.count("."))
    children = _callable_children(tower.get_submodule(outermost))
    return {f"block.{index}": f"{outermost}.{path}" for index, path in enumerate(children)}


def _callable_children(modules: nn.Module) -> Iterator[str]:
    """Yield the paths of a list's modules; a list among them is never called itself, but its modules are."""
    for name, child in modules.named_children():
        if isinstance(child, nn.ModuleList):
            yield from (f"{name}.{path}" for path in _callable_children(child))
        else:
            yield name
