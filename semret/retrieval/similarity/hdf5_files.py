"""Arrays in HDF5 files that others wrote: read from the file itself, by filters that come with the library.

An HDF5 file can name other files to read from, in four ways, and filters that the library looks for among plug-ins.
None of them is followed.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import require_memory
from semret.errors import ArgumentError
from semret.foreign import open_regular

_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
_DEFLATE = 1

_MOST_LINKS = 16
_MOST_PIECE = 1 << 30
"""Bytes of one chunk: it is decompressed as a whole, however little of it is wanted."""
_HARMLESS_PIECE = 1 << 20
"""Compressed bytes that deflate cannot turn into much more than a gigabyte."""

DESCRIPTORS = "descriptors"
"""Name of the data set with an image's descriptors, in files with a group for each image."""


class PerImage:
    """The descriptors of all images of a file that has a group for each: a set of maps, in the order of their names.

    Parameters
    ----------
    datasets : list of h5py.Dataset
        One for each image.
    transposed : list of bool
        Whether its descriptors lie along the second axis, (C, N).
    file : Path
        Named in messages.

    Attributes
    ----------
    shape : tuple
        Images, the largest number of descriptors of one, channels.
    dtype : dtype
    positions : ndarray of shape (N,), intp
        Descriptors of each image. Only slices of images with equally many can be read.
    """

    def __init__(self, datasets: list[Any], transposed: list[bool], file: Path) -> None:
        self._datasets, self._transposed = datasets, transposed
        shapes = [data.shape[::-1] if flip else data.shape for data, flip in zip(datasets, transposed, strict=True)]
        channels = {shape[1] for shape in shapes}
        if len(channels) != 1:
            raise ArgumentError(f"{file} holds descriptors of {min(channels)} to {max(channels)} channels")
        self.positions = np.array([shape[0] for shape in shapes], dtype=np.intp)
        if not self.positions.all():
            empty = datasets[int(np.flatnonzero(self.positions == 0)[0])].name[:200]
            raise ArgumentError(f"{file}: {empty} holds no descriptor; leave such images out")
        self.shape = (len(shapes), int(self.positions.max()), *channels)
        self.dtype = np.result_type(*{data.dtype for data in datasets})

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        """Return these images, (n, S, C)."""
        chosen = list(zip(self._datasets, self._transposed, strict=True))[rows]
        return np.stack([data[...].T if flip else data[...] for data, flip in chosen]).astype(self.dtype, copy=False)


def open_hdf5(stack: contextlib.ExitStack, file: Path, choose: Any, key: str | None) -> Any:
    """Open a data set of an HDF5 file.

    Parameters
    ----------
    stack : ExitStack
        Closes the file.
    file : Path
    choose : callable
        ``choose(names, key, file)`` returns the name of the data set that is meant, or raises ArgumentError.
    key : str or None
        What the caller named.

    Returns
    -------
    h5py.Dataset or PerImage

    Raises
    ------
    ArgumentError
        If there is no such array, it holds no numbers, lies in another file, or needs a filter that is not built in.
    OSError, ValueError, KeyError, RuntimeError
        If the file cannot be read, or is no such file.
    """
    h5py = _library()
    with open_regular(file):
        root = stack.enter_context(h5py.File(file, "r"))
    if key is not None:
        found = _follow(root, key, file)
        if isinstance(found, h5py.Group):
            names = _dataset_names(found)
            if not _is_per_image(names):
                choose([f"{key.strip('/')}/{name}" for name in names], None if len(names) == 1 else key, file)
            return _per_image(found, names, file) if _is_per_image(names) else _checked(found[names[0]], file)
        if found is None:
            choose(_dataset_names(root), key, file)
        return _checked(found, file)
    names = _dataset_names(root)
    if len(names) > 1 and _is_per_image(names):
        return _per_image(root, names, file)
    return _checked(root[choose(names, None, file)], file)


def _library() -> ModuleType:
    """Return h5py; the first to load it, as the command line is, loads it without plug-ins."""
    if "h5py" in sys.modules:
        return importlib.import_module("h5py")
    before = os.environ.get("HDF5_PLUGIN_PRELOAD")
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
    try:
        return importlib.import_module("h5py")
    finally:
        del os.environ["HDF5_PLUGIN_PRELOAD"]
        if before is not None:
            os.environ["HDF5_PLUGIN_PRELOAD"] = before


def _dataset_names(group: Any) -> list[str]:
    """Return the data sets below a group by hard links alone, so none twice and none of another file."""
    import h5py

    names: list[str] = []
    group.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def _follow(root: Any, key: str, file: Path) -> Any:
    """Return what a path names within this file, or None; links are followed by us, who look where they lead."""
    import h5py

    parts, place, links = [part for part in key.split("/") if part], "/", 0
    while parts:
        name = parts.pop(0)
        group = root[place]
        if not isinstance(group, h5py.Group) or name not in group.keys():  # noqa: SIM118 - `in group` follows links
            return None
        try:
            link = group.get(name, getlink=True)
        except TypeError:
            link = None
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > _MOST_LINKS:
                raise ArgumentError(f"{file}: the links of {key!r} lead in a circle; name the array itself")
            target = link.path
            place = "/" if target.startswith("/") else place
            parts = [part for part in target.split("/") if part and part != "."] + parts
        elif isinstance(link, h5py.HardLink):
            place = f"{place.rstrip('/')}/{name}"
        else:
            raise ArgumentError(f"{file}: {key!r} is a link to another file, which is not followed; name that file")
    return root[place]


def _checked(data: Any, file: Path) -> Any:
    """Return the data set if it can be read from this file alone, in bounded memory."""
    import h5py

    what = f"{file}: {data.name[:200]}"
    layout = data.id.get_create_plist()
    if layout.get_layout() == h5py.h5d.VIRTUAL or (
        layout.get_layout() == h5py.h5d.CONTIGUOUS and layout.get_external_count()
    ):
        raise ArgumentError(f"{what} takes its data from another file, which is not followed; copy them into this one")
    if data.id.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        raise ArgumentError(f"{what} is a null data set: it has a type, but neither shape nor values")
    if data.dtype.kind not in "fiub":
        ragged = h5py.check_vlen_dtype(data.dtype) is not None
        kind = "lists of different lengths" if ragged else f"{str(data.dtype)[:60]} values"
        raise ArgumentError(f"{what} holds {kind}, expected numbers")
    if data.shape and data.shape[0]:
        require_memory(math.prod(data.shape[1:]) * data.dtype.itemsize, f"one representation of {what}")
    _check_filters(data, layout, what)
    return data


def _check_filters(data: Any, layout: Any, what: str) -> None:
    numbers = [layout.get_filter(index)[0] for index in range(layout.get_nfilters())]
    foreign = [number for number in numbers if number not in _FILTERS]
    if foreign:
        raise ArgumentError(
            f"{what} is packed with the filter {foreign[0]}, which HDF5 would load as a plug-in; "
            f"save it with one of {', '.join(_FILTERS.values())}, or without"
        )
    if not numbers:
        return
    piece = math.prod(data.chunks) * data.dtype.itemsize
    if piece > _MOST_PIECE or numbers.count(_DEFLATE) > 1:
        raise ArgumentError(
            f"{what} is packed in pieces of {piece} bytes, expected at most {_MOST_PIECE}; save it anew"
        )
    if _DEFLATE in numbers:
        large: list[Any] = []
        data.id.chunk_iter(lambda chunk: large.append(chunk) if chunk.size > _HARMLESS_PIECE else None)
        for chunk in large:
            _check_piece(data, chunk, numbers, piece, what)


def _check_piece(data: Any, chunk: Any, numbers: list[int], piece: int, what: str) -> None:
    """Raise ArgumentError if a large chunk inflates to more than it stands for: the library would hold all of it."""
    if chunk.size > 2 * piece + 4096:
        raise ArgumentError(
            f"{what} has a piece of {chunk.size} bytes that stands for {piece}; it is not to be trusted"
        )
    if numbers[-1] not in (_DEFLATE, 3) or chunk.filter_mask:
        return
    _, packed = data.id.read_direct_chunk(chunk.chunk_offset)
    inflater, left = zlib.decompressobj(), 2 * piece + 4096
    while packed and left > 0 and not inflater.eof:
        try:
            left -= len(inflater.decompress(packed, 1 << 20))
        except zlib.error:
            return
        packed = inflater.unconsumed_tail
    if left <= 0:
        raise ArgumentError(f"{what} has a piece that grows beyond the {piece} bytes it stands for; it is damaged")


def _is_per_image(names: list[str]) -> bool:
    """Tell whether every group with data has one named `DESCRIPTORS`: the layout of tools for local features."""
    groups = {name.rpartition("/")[0] for name in names}
    return "" not in groups and groups == {
        group for group, _, leaf in (name.rpartition("/") for name in names) if leaf == DESCRIPTORS
    }


def _per_image(root: Any, names: list[str], file: Path) -> PerImage:
    chosen = sorted(name for name in names if name.rpartition("/")[2] == DESCRIPTORS)
    datasets = [_checked(root[name], file) for name in chosen]
    for data in datasets:
        if len(data.shape) != 2:
            raise ArgumentError(f"{file}: {data.name[:200]} has shape {data.shape}, expected two axes")
    return PerImage(datasets, _orientations(root, names, datasets), file)


def _orientations(root: Any, names: list[str], datasets: list[Any]) -> list[bool]:
    """Tell of each image whether its descriptors lie along the second axis, (C, N).

    That is how these tools write them, and what is taken where nothing speaks against it: the number of keypoints
    beside them, or else the one axis that is as long in every image.
    """
    first, second = ({data.shape[axis] for data in datasets} for axis in (0, 1))
    usual = not (len(second) == 1 and len(first) > 1)
    known = set(names)
    found = []
    for data in datasets:
        beside = data.name.rpartition("/")[0].removeprefix(root.name).strip("/") + "/keypoints"
        count = root[beside].shape[:1] if beside in known else ()
        rows, columns = data.shape
        found.append(columns == count[0] if count and rows != columns and count[0] in data.shape else usual)
    return found
