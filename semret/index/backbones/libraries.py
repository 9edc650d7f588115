"""The libraries of networks, loaded so that nothing that lies in the current folder becomes a part of them."""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import ModuleType

from semret.errors import BackboneError
from semret.foreign import UnfitFileError, apart

_MISSING = "libcuda.so.1"
"""NVIDIA's driver, for which a library that comes with torch also looks in the current folder (its ``RUNPATH`` has an
empty element). Where there is a GPU, the system has one too, and it would come second."""


def load_adapter(module: str) -> ModuleType:
    """Import a module that needs torch, which may be the first to do so.

    Parameters
    ----------
    module : str
        Its full name.

    Returns
    -------
    module

    Raises
    ------
    BackboneError
        If a file of the current folder would be run, and cannot be kept from it.
    """
    if "torch" in sys.modules:
        return importlib.import_module(module)
    try:
        return apart(lambda: importlib.import_module(module), names=places_of(_MISSING))
    except UnfitFileError as error:
        raise BackboneError(f"{error.filename} {error.strerror}") from error


def places_of(library: str) -> Iterator[str]:
    """Yield the names below a folder under which the linker of glibc looks for a library in it.

    Parameters
    ----------
    library : str
        Its file name.

    Yields
    ------
    str
        Relative to the folder.
    """
    kinds = ("tls", "haswell", "avx512_1", platform.machine())
    for count in range(len(kinds) + 1):
        for folders in combinations(kinds, count):
            yield str(Path(*folders, library))
    yield str(Path(*[platform.machine()] * 2, library))
    yield str(Path("tls", *[platform.machine()] * 2, library))
    yield from map(str, Path("glibc-hwcaps").glob(f"*/{library}"))
