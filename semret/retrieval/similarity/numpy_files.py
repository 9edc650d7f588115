"""Arrays in .npy and .npz files from others: no header is trusted to describe more than the bytes of its file."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from semret.arrays import require_memory
from semret.errors import ArgumentError
from semret.foreign import open_regular

_HEAD_BYTES = 1 << 16
"""Of a .npy file: NumPy itself writes headers of 128 bytes and refuses those longer than 10,000."""

_DIRECTORY_BYTES = 1 << 26
"""What may be read at once of a .npz file: its directory, at hundred bytes an array."""

_DEFLATE_RATIO = 1032
"""No deflated byte can stand for more."""


class _Head(NamedTuple):
    """The header of a .npy file, and its length in bytes."""

    shape: tuple[int, ...]
    order: str
    dtype: np.dtype[Any]
    length: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def open_npy(file: Path) -> NDArray[Any]:
    """Return the array in a .npy file, mapped into memory.

    Parameters
    ----------
    file : Path

    Returns
    -------
    ndarray
        Read-only.

    Raises
    ------
    ArgumentError
        If it holds no numbers, or fewer than it says.
    OSError, ValueError
        If it cannot be read, or is no such file.
    """
    with open_regular(file) as stream:
        head = _read_head(stream, str(file))
        _require_bytes(head, io.FileIO.seek(stream, 0, io.SEEK_END), str(file))
        if head.nbytes == 0:
            return np.zeros(head.shape, dtype=head.dtype)
        # The open file and not its name: another could have taken that meanwhile.
        return np.memmap(stream, head.dtype, "r", head.length, head.shape, _order(head))


def read_npz(file: Path, choose: Any, key: str | None) -> NDArray[Any]:
    """Return one array of a .npz file.

    Parameters
    ----------
    file : Path
    choose : callable
        ``choose(names, key, file)`` returns the name of the array that is meant, or raises ArgumentError.
    key : str or None
        What the caller named.

    Returns
    -------
    ndarray

    Raises
    ------
    ArgumentError
        If it holds no numbers, fewer or more than it says, or more than this machine has memory for.
    OSError, ValueError, zipfile.BadZipFile, RuntimeError
        If it cannot be read, is no such file, or its arrays are encrypted.
    """
    with open_regular(file) as raw, _Cautious(raw) as cautious, zipfile.ZipFile(cautious) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        name = choose(list(members), key, file)
        info, what = members[name], f"{file}: {name}"
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArgumentError(f"{what} is compressed in a way that numpy.savez does not know; save it anew")
        stored = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else _DEFLATE_RATIO)
        with archive.open(info) as stream:
            head = _read_head(stream, what)
            _require_bytes(head, min(info.file_size, stored), what)
            require_memory(head.nbytes, what)
            stream.seek(head.length)
            return _read_values(stream, head, what)


class _Cautious(io.BufferedReader):
    """A file that gives at most as many bytes at once as the directory of an archive may have."""

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = _DIRECTORY_BYTES + 1 if size is None or size < 0 else size
        found = super().read(min(wanted, _DIRECTORY_BYTES + 1))
        if len(found) > _DIRECTORY_BYTES:
            raise zipfile.BadZipFile("the directory of the archive is too long")
        return found


def _read_head(stream: IO[bytes] | io.FileIO, what: str) -> _Head:
    # Of the beginning alone: a header may claim to be four gigabytes long, and NumPy would read it.
    beginning = io.BytesIO(stream.read(_HEAD_BYTES))
    version = npy.read_magic(beginning)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(beginning)
    if dtype.kind not in "fiub":
        raise ArgumentError(f"{what} holds {str(dtype)[:60]} values, expected numbers")
    if any(length < 0 for length in shape):
        raise ValueError("negative length")
    return _Head(shape, "F" if fortran else "C", dtype, beginning.tell())


def _require_bytes(head: _Head, available: int, what: str) -> None:
    """Raise ArgumentError if an array says it is longer than its file can be."""
    if head.nbytes > available - head.length:
        raise ArgumentError(
            f"{what} says it has shape {head.shape} and so {head.nbytes} bytes, but no more than "
            f"{max(available - head.length, 0)} are there; it is damaged or not to be trusted"
        )


def _read_values(stream: IO[bytes], head: _Head, what: str) -> NDArray[Any]:
    values = np.empty(math.prod(head.shape), dtype=head.dtype)
    view, filled = values.view(np.uint8), 0
    while filled < len(view):
        part = stream.read(min(len(view) - filled, 1 << 22))
        if not part:
            raise ArgumentError(f"{what} ends after {filled} of {head.nbytes} bytes; it is damaged")
        view[filled : filled + len(part)] = np.frombuffer(part, dtype=np.uint8)
        filled += len(part)
    if stream.read(1):
        raise ArgumentError(f"{what} goes on after its {head.nbytes} bytes; it is damaged")
    return values.reshape(head.shape, order=_order(head))


def _order(head: _Head) -> Any:
    return head.order
