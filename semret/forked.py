"""Libraries with threads of their own, after a fork.

Threads are not copied into a forked process, but a library that started some before the fork would wait for them for
ever. In the child such a library is told to work on the calling thread alone.
"""

from __future__ import annotations

import os
import sys

_THREADED = ("torch", "faiss")
_inherited: set[str] = set()


def inherited(library: str) -> bool:
    """Tell whether this process was forked from one that had loaded the library, and may have used its threads.

    Parameters
    ----------
    library : {"torch", "faiss"}

    Returns
    -------
    bool
    """
    return library in _inherited


def settle_torch() -> None:
    """Have torch compute on the calling thread, in a process that inherited it."""
    if inherited("torch"):
        import torch

        torch.set_num_threads(1)


def _note() -> None:
    _inherited.update(library for library in _THREADED if library in sys.modules)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)
