"""Sets of representations in .npy, .npz and HDF5 files, read by slices; matrices written whole or not at all."""

from __future__ import annotations

import contextlib
import difflib
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import require_memory
from semret.errors import ArgumentError, SemretError, StorageError
from semret.foreign import UnfitFileError
from semret.outputs import replaced
from semret.retrieval.similarity.hdf5_files import open_hdf5
from semret.retrieval.similarity.numpy_files import open_npy, read_npz

SUFFIXES = (".npy", ".npz", ".h5", ".hdf5")

_MOST_SHOWN = 80
"""Characters of a name within a message."""
_MOST_COMPARED = 1000
"""Names among which a close match is looked for."""


@contextlib.contextmanager
def open_features(path: str | os.PathLike[str], key: str | None = None) -> Iterator[Any]:
    """Give the array in a file: a memory map of .npy, an HDF5 data set, or an array of .npz read into memory.

    Headers are not trusted: an array is no longer than its file can hold, and links to other files are not followed. An
    HDF5 file with a group for each image, as tools for local features write them, is one set: the data sets named
    ``descriptors``, in the order of the groups' names, each (C, N), or (N, C) where the number of keypoints or the
    other images say so.

    Parameters
    ----------
    path : path
    key : str or None
        Name of the array in a .npz or HDF5 file, or of a group that holds images; needed only when there are several.
        Links within an HDF5 file are followed.

    Yields
    ------
    object
        With `shape` and `dtype`, and read by slices of the first axis; `positions` are the numbers of tokens of maps of
        different sizes, else None.

    Raises
    ------
    ArgumentError
        If the file cannot be read, is of another kind, or has no such array; if the array holds no numbers, lies in
        another file, is packed with a filter that is not built in, or needs more memory than there is.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise ArgumentError(f"{file} is no feature file, expected a name that ends in {', '.join(SUFFIXES)}")
    if suffix == ".npy" and key is not None:
        raise ArgumentError(f"{file} holds one array without a name; leave out the key {key!r}")
    with contextlib.ExitStack() as stack:
        with _described(file):
            if suffix == ".npy":
                data: Any = open_npy(file)
            elif suffix == ".npz":
                data = read_npz(file, _chosen, key)
            else:
                data = open_hdf5(stack, file, _chosen, key)
        yield _Described(data, file)


class _Described:
    """An array of a file; errors of reading it become one line that names the file."""

    def __init__(self, data: Any, file: Path) -> None:
        self._data, self._file = data, file
        self.called = str(file)
        self.shape, self.dtype = tuple(data.shape), data.dtype
        self.positions = getattr(data, "positions", None)

    def __getitem__(self, rows: Any, /) -> NDArray[Any]:
        with _described(self._file):
            return np.asarray(self._data[rows])


def read_matrix(path: str | os.PathLike[str], key: str | None = None) -> NDArray[Any]:
    """Return the whole array in a file.

    Parameters
    ----------
    path, key
        See `open_features`.

    Returns
    -------
    ndarray

    Raises
    ------
    ArgumentError
        See `open_features`; also if the file holds descriptors of many images.
    """
    with open_features(path, key) as data:
        if data.positions is not None:
            raise ArgumentError(f"{path} holds descriptors of {data.shape[0]} images, expected one matrix")
        require_memory(math.prod(data.shape) * data.dtype.itemsize, f"the matrix in {path}")
        return np.array(data[...])


def write_matrices(path: str | os.PathLike[str], matrices: Mapping[str, NDArray[Any]]) -> None:
    """Write one matrix as .npy, or any number by name as .npz; an interrupted write leaves what was there before.

    Parameters
    ----------
    path : path
        Its suffix decides.
    matrices : mapping of str to ndarray

    Raises
    ------
    ArgumentError
        If the name ends in neither, or several matrices should go into a .npy file.
    StorageError
        If the file cannot be written.
    """
    file = Path(path)
    check_output(file, len(matrices))
    try:
        with replaced(file) as stream:
            _save(stream, file.suffix.lower(), matrices)
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error.strerror or error}; choose another file") from error


def check_output(path: str | os.PathLike[str], count: int) -> None:
    """Refuse a file that this many matrices cannot be written to: to be called before hours of work, not after.

    Parameters
    ----------
    path : path
    count : int

    Raises
    ------
    ArgumentError
        See `write_matrices`.
    StorageError
        If the folder does not exist or refuses files.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".npy", ".npz"):
        raise ArgumentError(f"cannot write {path}: expected a name that ends in .npy or .npz")
    if suffix == ".npy" and count != 1:
        raise ArgumentError(f"{count} matrices do not fit into {path}; choose a name that ends in .npz")
    folder = Path(path).parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or Path(path).is_dir():
        raise StorageError(f"cannot write {path}: {folder} is not a folder that takes it; choose another file")


def _save(stream: IO[bytes], suffix: str, matrices: Mapping[str, NDArray[Any]]) -> None:
    if suffix == ".npy":
        (matrix,) = matrices.values()
        np.save(stream, matrix, allow_pickle=False)
    else:
        # Without allow_pickle, which numpy before 2.1 takes for an array's name; numbers are never pickled.
        arrays: dict[str, Any] = dict(matrices)
        np.savez(stream, **arrays)


@contextlib.contextmanager
def _described(file: Path) -> Iterator[None]:
    """Turn what a reader may raise into one line that names the file."""
    try:
        yield
    except UnfitFileError as error:
        raise ArgumentError(f"cannot read {file}: it {error.strerror}") from error
    except OSError as error:
        raise ArgumentError(f"cannot read {file}: {error.strerror or 'it is damaged or of another format'}") from error
    except SemretError:
        raise
    except MemoryError as error:
        raise ArgumentError(f"cannot read {file}: there is not enough memory for it") from error
    # What libraries raise of damaged files is of many kinds, h5py alone has five.
    except Exception as error:
        raise ArgumentError(f"cannot read {file}: it is damaged, of another format, or holds objects") from error


def _chosen(names: list[str], key: str | None, file: Path) -> str:
    if key is None:
        if len(names) != 1:
            raise ArgumentError(f"{file} holds {len(names)} arrays ({_few(names)}); name one with the dataset option")
        return names[0]
    if key not in names:
        close = difflib.get_close_matches(key, names[:_MOST_COMPARED], n=1)
        hint = f"; did you mean {close[0][:_MOST_SHOWN]}?" if close else ""
        raise ArgumentError(f"{file} has no array {key[:_MOST_SHOWN]!r}, it holds: {_few(names)}{hint}")
    return key


def _few(names: list[str]) -> str:
    """Name the first arrays, and tell how many more there are."""
    shown = [name[:_MOST_SHOWN] for name in sorted(names)[:4]]
    more = [f"and {len(names) - len(shown)} more"] if len(names) > len(shown) else []
    return ", ".join([*shown, *more]) or "none"
