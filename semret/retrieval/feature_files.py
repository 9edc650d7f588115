"""Sets of representations in .npy, .npz and HDF5 files, read by slices; matrices written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from semret.errors import ArgumentError, StorageError

SUFFIXES = (".npy", ".npz", ".h5", ".hdf5")


@contextlib.contextmanager
def open_features(path: str | os.PathLike[str], key: str | None = None) -> Iterator[Any]:
    """Give the array in a file: a memory map of .npy, an HDF5 dataset, or an array of .npz read into memory.

    Parameters
    ----------
    path : path
    key : str or None
        Name of the array in a .npz or HDF5 file; needed only when there are several.

    Raises
    ------
    ArgumentError
        If the file cannot be read, is of another kind, or has no such array.
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
                data: Any = np.load(file, mmap_mode="r", allow_pickle=False)
            elif suffix == ".npz":
                archive = stack.enter_context(np.load(file, allow_pickle=False))
                data = archive[_chosen(archive.files, key, file)]
            else:
                data = _open_dataset(stack, file, key)
        if data.dtype.kind not in "fiub":
            raise ArgumentError(f"{file} holds {data.dtype} values, expected numbers")
        yield data


def read_matrix(path: str | os.PathLike[str], key: str | None = None) -> NDArray[Any]:
    """Return the whole array in a file; see `open_features`."""
    with open_features(path, key) as data:
        return np.array(data[...])


def write_matrices(path: str | os.PathLike[str], matrices: Mapping[str, NDArray[Any]]) -> None:
    """Write one matrix as .npy, or any number by name as .npz; an interrupted write leaves what was there before.

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
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as temporary:
            try:
                _save(temporary, file.suffix.lower(), matrices)
                temporary.flush()
                os.fsync(temporary.fileno())
                temporary.close()
                Path(temporary.name).chmod(0o666 & ~_umask())
                Path(temporary.name).replace(file)
            except BaseException:
                Path(temporary.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error.strerror or error}; choose another file") from error


def check_output(path: str | os.PathLike[str], count: int) -> None:
    """Raise unless this many matrices can go into a file of this name; better asked before hours of work than after.

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
        np.savez(stream, allow_pickle=False, **dict(matrices))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def _described(file: Path) -> Iterator[None]:
    """Turn what a reader may raise into one line that names the file."""
    try:
        yield
    except OSError as error:
        raise ArgumentError(f"cannot read {file}: {error.strerror or 'it is damaged or of another format'}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"cannot read {file}: it is damaged, of another format, or holds objects") from error


def _open_dataset(stack: contextlib.ExitStack, file: Path, key: str | None) -> Any:
    import h5py

    root = stack.enter_context(h5py.File(file, "r"))
    names: list[str] = []
    root.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return root[_chosen(names, None if key is None else key.strip("/"), file)]


def _chosen(names: list[str], key: str | None, file: Path) -> str:
    shown = ", ".join(sorted(names)) or "none"
    if key is None:
        if len(names) != 1:
            raise ArgumentError(f"{file} holds {len(names)} arrays ({shown}); name one with the dataset option")
        return names[0]
    if key not in names:
        raise ArgumentError(f"{file} has no array {key!r}, it holds: {shown}")
    return key
