"""Hash weights, and read them without running code that they may carry.

torch is imported where tensors are read, so that a digest can be had without it.
"""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semret.errors import BackboneError, WeightsNotFoundError, cut_text
from semret.foreign import UnfitFileError, open_regular

if TYPE_CHECKING:
    from torch import Tensor, nn

_WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher", "net")
_PREFIXES = ("module.", "_orig_mod.")


def digest(files: Sequence[Path]) -> str:
    """Return the digest by which an index recognises weights.

    Of one file it is the SHA-256; of several, the SHA-256 of their digests in the order of their names.

    Parameters
    ----------
    files : sequence of Path
        At least one.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    OSError
        If a file cannot be read, or is no regular file.
    """
    digests = []
    for file in sorted(files, key=lambda path: path.name):
        with open_regular(file) as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def read_state(files: Sequence[Path]) -> dict[str, Tensor]:
    """Read tensors from safetensors files or torch state dicts, without ever running code that they carry.

    Parameters
    ----------
    files : sequence of Path
        The weight file, or the parts of a split one.

    Returns
    -------
    dict of str to Tensor
        On the processor, without the wrappers that training programs put around names.

    Raises
    ------
    WeightsNotFoundError
        If a file does not exist or may not be read.
    BackboneError
        If a file is damaged, or holds anything but tensors.
    """
    state: dict[str, Tensor] = {}
    for file in files:
        state.update(_read_file(file))
    return state


def _read_file(file: Path) -> dict[str, Tensor]:
    import torch
    from safetensors.torch import load_file

    try:
        if is_safetensors(file):
            tensors: dict[str, Tensor] = load_file(file)
            return tensors
        with warnings.catch_warnings():
            # Of unusual pickle protocols: what cannot be read is refused below, in our own words.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except UnfitFileError as error:
        raise WeightsNotFoundError(f"cannot read the weights {file}: it {error.strerror}") from error
    except OSError as error:
        raise WeightsNotFoundError(f"cannot read the weights {file}: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise BackboneError(
            f"{file} holds more than tensors, and reading it could run code that it carries; "
            "save its state_dict() alone, or as safetensors"
        ) from error
    except Exception as error:  # damaged archives fail anywhere in their readers
        reason = cut_text(error)
        raise BackboneError(f"{file} is no readable weight file ({reason}); fetch it again") from error
    return _unwrap(content, file)


def is_safetensors(file: Path) -> bool:
    """Tell whether a file is one of safetensors, by its content: eight bytes of header length, then ``{``.

    Parameters
    ----------
    file : Path
        Of any kind.

    Returns
    -------
    bool

    Raises
    ------
    OSError
        If the file cannot be read, or is no regular file.
    """
    with open_regular(file) as stream:
        head = stream.read(9)
    return len(head) == 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32


def _unwrap(content: Any, file: Path) -> dict[str, Tensor]:
    """Take the tensors out of a training checkpoint's wrapping, and the wrappers' prefixes off their names."""
    import torch

    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = {}
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    for name, tensor in tensors.items():
        _require_whole(name, tensor, file)
    if not tensors:
        raise BackboneError(f"{file} holds no named tensors; give a state dict or a safetensors file")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _require_whole(name: str, tensor: Tensor, file: Path) -> None:
    """Raise BackboneError if a tensor claims more numbers than the file holds for it, which a copy would make true."""
    import torch

    dense = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not dense or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise BackboneError(f"{file}: the tensor {name[:80]} does not hold its own numbers; save it densely")


def assign(network: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Copy tensors into a network, name by name and shape by shape.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place.
    state : mapping of str to Tensor
        Exactly the tensors of the network.
    what : str
        Names the weights in the message.

    Raises
    ------
    BackboneError
        If a tensor is missing, superfluous, or of another shape.
    """
    check({name: tensor.shape for name, tensor in network.state_dict().items()}, state, what)
    network.load_state_dict(dict(state))


def check(shapes: Mapping[str, Sequence[int]], state: Mapping[str, Any], what: str) -> None:
    """Raise BackboneError unless `state` holds exactly the tensors of these names and shapes.

    Parameters
    ----------
    shapes : mapping of str to sequence of int
        What is expected.
    state : mapping of str to Tensor or ndarray
        What came.
    what : str
        Names the weights in the message.

    Raises
    ------
    BackboneError
        If a tensor is missing, superfluous, or of another shape.
    """
    missing = [name for name in shapes if name not in state]
    foreign = [name for name in state if name not in shapes]
    wrong = [name for name in shapes if name in state and tuple(shapes[name]) != tuple(state[name].shape)]
    parts = []
    if missing:
        parts.append(f"{len(missing)} tensors are missing ({missing[0]} first)")
    if foreign:
        parts.append(f"{len(foreign)} are not of this model ({foreign[0]} first)")
    if wrong:
        parts.append(f"{wrong[0]} has shape {tuple(state[wrong[0]].shape)}, expected {tuple(shapes[wrong[0]])}")
    if parts:
        raise BackboneError(f"the weights do not fit {what}: {'; '.join(parts)}; check --model and --weights")
