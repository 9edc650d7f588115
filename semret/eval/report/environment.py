"""The machine and the packages that numbers were made with."""

from __future__ import annotations

import contextlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from semret.foreign import read_regular

PACKAGES = (
    "numpy", "scipy", "numba", "ortools", "torch", "torchvision", "timm", "transformers", "open_clip_torch",
    "faiss-cpu", "h5py", "pillow",
)  # fmt: skip
"""Packages whose versions a report names: numbers depend on them."""


def machine() -> dict[str, Any]:
    """Return the system, the processor and its number of logical CPUs.

    Returns
    -------
    dict
        ``system``, ``processor`` and ``cpus``.
    """
    return {"system": platform.platform(), "processor": _processor(), "cpus": os.cpu_count() or 0}


def _processor() -> str:
    """Return the processor's name where Linux tells it, else its architecture."""
    with contextlib.suppress(OSError):
        for line in read_regular("/proc/cpuinfo", most=2**24).decode("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({platform.machine()})"
    return platform.machine()


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on.

    Returns
    -------
    dict from name to version
        Packages that are not installed are left out.
    """
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
