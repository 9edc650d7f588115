"""``onnx:FILE``: any exported network, run by ONNX Runtime.

What the graph itself says is found out: its input and whether channels come first or last, the input size where it is
fixed, its outputs. What no graph says stands in a JSON file beside it (``model.json`` or ``model.onnx.json`` for
``model.onnx``), see `Description`; options of the command line come first.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from semret.errors import BackboneError, WeightsNotFoundError
from semret.foreign import open_regular, read_regular
from semret.index.backbones.onnx_network import GraphWiring, Identified, Layout, OnnxBackbone
from semret.index.backbones.onnx_session import GraphSession, pick_provider
from semret.index.backbones.preprocess import with_size
from semret.index.backbones.spec import GEOMETRIES, Preprocessing

if TYPE_CHECKING:
    from semret.index.backbones.spec import BackboneSpec, LoadOptions

logger = logging.getLogger(__name__)

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_POOLINGS = ("mean", "gem", "class")
_LARGEST_GRAPH = 2**31
_LARGEST_DESCRIPTION = 2**16
_LARGEST_BATCH = 256
"""Pictures that a graph may fix as the number of every pass."""
_MOST_NODES, _DEEPEST = 1_000_000, 64
"""Operations of a graph whose functions are expanded, and how deeply functions and branches may lie in each other."""
_UNBOUNDED = frozenset({"Loop", "Scan"})
"""Operators that can run for ever on a small input."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the JSON file beside a graph may say; every field may be left out.

    Attributes
    ----------
    size : (int, int) or None
        Height and width of the input, where the graph takes any.
    geometry : str or None
        See `semret.index.backbones.spec.Preprocessing`; default ``squash``.
    resize_edge : int or None
        Shortest edge before a centre crop.
    interpolation : str
        ``bicubic`` (default), ``bilinear``, ``lanczos`` or ``nearest``.
    mean, std : (float, float, float) or None
        Of pixel values scaled to 0..1; default: ImageNet's, with a warning.
    tokens : str or None
        Name of the output with the patch vectors; default: the only one with three or four axes.
    layout : str or None
        ``sequence`` (N, P + S, C), ``map_first`` (N, C, H, W) or ``map_last`` (N, H, W, C); default: ``sequence`` for
        three axes, ``map_first`` for four.
    prefix_tokens : int
        P, tokens in front of the patches in a sequence.
    grid : (int, int) or None
        Rows and columns of a sequence that is not square.
    pooled : str
        ``mean``, ``gem`` or ``class`` of the tokens, or the name of an output; default ``mean``.
    logits : str or None
        Name of the output with class scores.
    """

    size: tuple[int, int] | None = None
    geometry: str | None = None
    resize_edge: int | None = None
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    tokens: str | None = None
    layout: str | None = None
    prefix_tokens: int = 0
    grid: tuple[int, int] | None = None
    pooled: str = "mean"
    logits: str | None = None


def load(spec: BackboneSpec, options: LoadOptions) -> OnnxBackbone:
    """Load a graph and find out how to read it.

    Parameters
    ----------
    spec : BackboneSpec
        Its `checkpoint` is the file; `options.weights` names another place of it.
    options : LoadOptions
        `layer` names the output that the tokens are taken from.

    Returns
    -------
    OnnxBackbone

    Raises
    ------
    WeightsNotFoundError
        If the file does not exist or cannot be read.
    BackboneError
        If it is no graph that gives tokens, could run for ever, or reads files outside its folder.
    ArgumentError
        If the installed runtime has no such device.
    """
    if options.autocast not in (None, "float32"):
        raise BackboneError(f"{spec.name} computes as it was exported; leave --precision out")
    file = Path(spec.checkpoint) if options.weights is None else options.weights
    described = read_description(file)
    sha256 = check_graph(file)
    kind, _, number = (options.device or "cpu").partition(":")
    provider = pick_provider(kind, spec.name)
    session = GraphSession(file, spec.name, provider, device_number=int(number) if number.isdecimal() else 0)
    name, channels_last, own_size = _find_input(session, spec.name)
    layer = None if options.layer in (None, "last") else str(options.layer)
    tokens, layout = _find_tokens(session, layer or described.tokens, described.layout, spec.name)
    names = [output.name for output in session.outputs()]
    pooling = options.pooled or (described.pooled if described.pooled in _POOLINGS else "model")
    wiring = GraphWiring(
        images=name,
        channels_last=channels_last,
        tokens=tokens,
        layout=layout,
        prefix=described.prefix_tokens,
        grid=described.grid,
        pooled=_output(described.pooled, names, file) if pooling == "model" else None,
        logits=_output(described.logits, names, file) if described.logits else None,
        batch=_find_batch(session, spec.name),
    )
    return OnnxBackbone(
        spec=spec,
        session=session,
        wiring=wiring,
        preprocessing=_preprocessing(described, own_size, options, file),
        pooling=pooling,
        identified=Identified(layer=tokens, weights_sha256=sha256, checkpoint=Path(spec.checkpoint).name),
    )


def read_description(file: Path) -> Description:
    """Return what the JSON file beside a graph says; of a missing one, nothing.

    Parameters
    ----------
    file : Path
        The graph.

    Returns
    -------
    Description

    Raises
    ------
    BackboneError
        If it is no JSON object of fields of `Description`, or a value is of another kind.
    """
    for place in (file.with_suffix(".json"), file.with_name(file.name + ".json")):
        try:
            content = read_regular(place, most=_LARGEST_DESCRIPTION)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise BackboneError(f"cannot read {place}: {error.strerror}") from error
        try:
            return _parse(json.loads(content), place)
        except (ValueError, RecursionError) as error:
            raise BackboneError(f"{place} is no JSON: {str(error)[:100]}") from error
    return Description()


def _parse(found: Any, place: Path) -> Description:
    known = {field.name for field in fields(Description)}
    if not isinstance(found, dict) or not known.issuperset(found):
        extra = sorted(set(found) - known)[:1] if isinstance(found, dict) else [type(found).__name__]
        raise BackboneError(f"{place} holds {extra[0]!r}, expected an object with some of {', '.join(sorted(known))}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    for key, value in values.items():
        if not _fits(key, value):
            raise BackboneError(
                f"{place}: {key} is {json.dumps(found[key])[:60]}, which is no such value; see docs/models.md"
            )
    return Description(**cast("dict[str, Any]", values))


def _fits(key: str, value: Any) -> bool:
    if key in ("size", "grid"):
        return (
            isinstance(value, tuple)
            and len(value) == 2
            and all(type(side) is int and 0 < side < 2**15 for side in value)
        )
    if key in ("mean", "std"):
        numbers = isinstance(value, tuple) and len(value) == 3 and all(type(x) in (int, float) for x in value)
        return numbers and all(abs(x) < 1e6 for x in value) and (key == "mean" or all(x > 0 for x in value))
    if key in ("resize_edge", "prefix_tokens"):
        return type(value) is int and 0 <= value < 2**15
    choices: dict[str, tuple[str, ...]] = {
        "geometry": GEOMETRIES,
        "interpolation": ("nearest", "bilinear", "bicubic", "lanczos"),
        "layout": ("sequence", "map_first", "map_last"),
    }
    return isinstance(value, str) and len(value) < 1000 and value in choices.get(key, (value,))


def check_graph(file: Path) -> str:
    """Return the SHA-256 of a graph and of the files with its weights, having looked at what it would do.

    Parameters
    ----------
    file : Path

    Returns
    -------
    str
        Of the file; with external data, of its digest and theirs in the order of their names.

    Raises
    ------
    WeightsNotFoundError
        If a file is missing or cannot be read.
    BackboneError
        If it is no ONNX graph, has an operator that can run for ever, or names a file outside its folder.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        content = read_regular(file, most=_LARGEST_GRAPH)
    except OSError as error:
        raise WeightsNotFoundError(
            f"cannot read the network {file}: {error.strerror}; give the path of an exported .onnx file after onnx:"
        ) from error
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise BackboneError(f"{file} is no ONNX graph: it cannot be parsed") from error
    if not model.graph.node:
        raise BackboneError(f"{file} is no ONNX graph: it holds no operation")
    names: set[str] = set()
    for graph in (model.graph, *model.functions):
        _look_into(graph, file, names)
    if _count_expanded(model) > _MOST_NODES:
        raise BackboneError(f"{file} has more than {_MOST_NODES} operations once its functions are expanded")
    digests = [hashlib.sha256(content).hexdigest(), *(_digest(file, name) for name in sorted(names))]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _count_expanded(model: Any) -> int:
    """Return the operations of a graph when every call of a function is replaced by its body, as the runtime does.

    Functions that call others twice, those again others twice, and so on are a small file and an endless graph. A
    function that calls itself counts as too large.
    """
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Any, depth: int) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in bodies and key not in sizes:
                sizes[key] = _MOST_NODES + 1 if depth > _DEEPEST else size(bodies[key], depth + 1)
            total = min(total + sizes.get(key, 1), _MOST_NODES + 1)
            inner = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
            total += sum(size(graph.node, depth + 1) for graph in inner if depth <= _DEEPEST)
        return total

    return size(model.graph.node, 0)


def _look_into(graph: Any, file: Path, names: set[str]) -> None:
    """Collect the files that a graph names, through all graphs within its nodes."""
    waiting = [graph]
    while waiting:
        found = waiting.pop()
        tensors = list(getattr(found, "initializer", ()))
        for node in found.node:
            if node.op_type in _UNBOUNDED:
                raise BackboneError(
                    f"{file} has the operator {node.op_type}, which can run for ever; export the network without it"
                )
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs
                tensors += [attribute.t] if attribute.HasField("t") else []
                tensors += attribute.tensors
        for tensor in tensors:
            names.update(entry.value for entry in tensor.external_data if entry.key == "location")


def _digest(file: Path, name: str) -> str:
    """Return the digest of a file with weights, which must lie beside the graph."""
    if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
        raise BackboneError(f"{file} reads its weights from {name[:80]!r}, expected a file beside it")
    try:
        with open_regular(file.parent / name, follow=False) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsNotFoundError(
            f"{file} reads its weights from {name[:80]!r} beside it, which cannot be read: {error.strerror}"
        ) from error


def _find_input(session: GraphSession, what: str) -> tuple[str, bool, tuple[int, int] | None]:
    """Return the input's name, whether channels come last, and its height and width where they are fixed."""
    inputs = session.inputs()
    fitting = [given for given in inputs if given.type == "tensor(float)" and len(given.shape or ()) == 4]
    if len(fitting) != 1 or len(inputs) != 1:
        shown = ", ".join(f"{given.name[:40]} {given.type} {given.shape}" for given in inputs[:4])
        raise BackboneError(
            f"{what} has the inputs {shown or 'none'}; "
            "expected one: float32 pictures of shape (N, 3, H, W) or (N, H, W, 3)"
        )
    shape = fitting[0].shape
    if 3 not in (shape[1], shape[3]):
        raise BackboneError(f"{what}: the input has shape {shape}, expected 3 channels on axis 1 or 3")
    last = shape[1] != 3
    sides = shape[1:3] if last else shape[2:4]
    return (
        fitting[0].name,
        last,
        cast("tuple[int, int]", tuple(sides)) if all(isinstance(n, int) for n in sides) else None,
    )


def _find_batch(session: GraphSession, what: str) -> int | None:
    """Return how many pictures a graph takes at a time, None if any number."""
    count = session.inputs()[0].shape[0]
    if not isinstance(count, int):
        return None
    if not 0 < count <= _LARGEST_BATCH:
        raise BackboneError(
            f"{what} takes {count} pictures at a time, expected at most {_LARGEST_BATCH}; export it for any number"
        )
    return count


def _find_tokens(session: GraphSession, wanted: str | None, layout: str | None, what: str) -> tuple[str, Layout]:
    """Return the output with the tokens, and how it holds them."""
    outputs = {output.name: output for output in session.outputs()}
    fitting = [name for name, output in outputs.items() if len(output.shape or ()) in (3, 4)]
    name = wanted if wanted is not None else fitting[0] if len(fitting) == 1 else None
    if name is None or name not in outputs:
        came = (
            f"has no output {wanted[:60]!r}"
            if wanted is not None
            else f"has {len(fitting)} outputs that could be tokens"
        )
        raise BackboneError(
            f'{what} {came}; name one with --layer or "tokens" in the JSON beside it: '
            f"{', '.join(name[:40] for name in [*fitting, *outputs][:8])}"
        )
    axes = len(outputs[name].shape or ())
    if axes not in (3, 4) or (layout is not None and (layout == "sequence") != (axes == 3)):
        raise BackboneError(f"{what}: output {name[:60]!r} has {axes} axes, expected 3 for a sequence or 4 for a map")
    default: Literal["sequence", "map_first"] = "sequence" if axes == 3 else "map_first"
    return name, cast(Layout, layout) if layout else default


def _output(name: str, names: list[str], file: Path) -> str:
    if name not in names:
        raise BackboneError(
            f"{file} has no output {name[:60]!r}; it has {', '.join(known[:40] for known in names[:8])}"
        )
    return name


def _preprocessing(
    described: Description, own: tuple[int, int] | None, options: LoadOptions, file: Path
) -> Preprocessing:
    size = options.size or described.size or own
    if size is None:
        raise BackboneError(f'{file} takes any input size; say which with --size, or "size" in the JSON beside it')
    if own is not None and tuple(size) != own:
        raise BackboneError(f"{file} takes pictures of {own[0]}x{own[1]} only, not {size[0]}x{size[1]}")
    if described.mean is None or described.std is None:
        logger.warning(
            "%s does not say how pixels are scaled: ImageNet's mean and deviation are used; "
            'put "mean" and "std" into the JSON beside it if it was trained otherwise',
            file.name,
        )
    plain = Preprocessing(
        size=(int(size[0]), int(size[1])),
        geometry=cast(Any, described.geometry or "squash"),
        resize_edge=described.resize_edge,
        interpolation=cast(Any, described.interpolation),
        mean=described.mean or _IMAGENET["mean"],
        std=described.std or _IMAGENET["std"],
    )
    return with_size(plain, None, options.geometry)
