"""Tensors of a file that torch saved before 2020, read without torch.

The weights of the default backbone come in such a file, and importing torch takes longer than everything else that a
query does. The file is a row of pickles: a magic number, a protocol number, the machine's properties, the tensors by
name (each a storage's key, offset, shape and strides), the keys in order; then the storages' bytes.

A pickle can name any function to be called. Here only the few names are known that describe tensors, and they lead to
functions of this module; every other name is refused, as torch's own ``weights_only=True`` does.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.errors import BackboneError, WeightsNotFoundError, cut_text
from semret.foreign import read_regular

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_LARGEST = 2**30
"""Bytes of a file that is read; the default backbone's has 18 million."""

_DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


@dataclass(frozen=True)
class _View:
    """A tensor that is described but not read yet."""

    key: str
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def is_legacy(head: bytes) -> bool:
    """Tell from the first bytes of a file whether torch saved it in this way.

    Parameters
    ----------
    head : bytes
        At least the first 15 bytes.

    Returns
    -------
    bool
    """
    return head[:15] == b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def read_legacy(file: Path) -> dict[str, NDArray[Any]]:
    """Read the tensors of a file by name.

    Parameters
    ----------
    file : Path
        Of at most 2**30 bytes.

    Returns
    -------
    dict of str to ndarray
        Contiguous arrays of the types that the file has.

    Raises
    ------
    WeightsNotFoundError
        If the file cannot be read.
    BackboneError
        If it is damaged, or holds anything but tensors.
    """
    try:
        stream = io.BytesIO(read_regular(file, most=_LARGEST))
    except OSError as error:
        raise WeightsNotFoundError(f"cannot read the weights {file}: {error.strerror or error}") from error
    try:
        if [_Described(stream).load(), _Described(stream).load()] != [_MAGIC, _PROTOCOL]:
            raise pickle.UnpicklingError("it does not begin as such a file does")
        _Described(stream).load()  # the machine that saved it; storages are little-endian on all that torch runs on
        views = _Described(stream).load()
        keys = _Described(stream).load()
        storages = {key: _read_storage(stream, views, key) for key in keys}
        return {str(name): _tensor(view, storages) for name, view in views.items()}
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise BackboneError(f"{file} is no readable weight file ({cut_text(error)}); install it again") from error


class _Described(pickle.Unpickler):
    """Unpickles descriptions of tensors and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name of the file stands for."""
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _describe,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no tensor")

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype[Any]]:
        """Return key and type of a storage."""
        kind, storage, key, *_ = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"it refers to a {kind!s:.20}, which is no storage")
        return str(key), _DTYPES[storage]


def _describe(storage: tuple[str, np.dtype[Any]], offset: int, shape: Any, stride: Any, *_: Any) -> _View:
    return _View(storage[0], storage[1], int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


def _read_storage(stream: io.BytesIO, views: dict[str, _View], key: str) -> NDArray[Any]:
    """Read one storage: the number of its elements, then these."""
    dtype = next(view.dtype for view in views.values() if view.key == key)
    count = int.from_bytes(stream.read(8), "little")
    data = stream.read(count * dtype.itemsize) if count < _LARGEST else b""
    if len(data) != count * dtype.itemsize:
        raise ValueError("it ends too early")
    return np.frombuffer(data, dtype)


def _tensor(view: _View, storages: dict[str, NDArray[Any]]) -> NDArray[Any]:
    storage = storages[view.key]
    if len(view.shape) != len(view.stride) or min((view.offset, *view.shape, *view.stride), default=0) < 0:
        raise ValueError("a tensor has an impossible shape")
    last = view.offset + sum((side - 1) * step for side, step in zip(view.shape, view.stride, strict=True))
    if 0 not in view.shape and last >= storage.size:
        raise ValueError("a tensor is larger than its storage")
    strides = [step * storage.itemsize for step in view.stride]
    return np.array(np.lib.stride_tricks.as_strided(storage[view.offset :], view.shape, strides), order="C")
