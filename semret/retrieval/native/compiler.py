"""Numba, imported so that no file of the current folder changes its settings.

On import and before every compilation, Numba reads ``.numba_config.yaml`` from wherever the program was started: a
folder of pictures may come from anybody. Settings are taken from the environment alone. Every module that needs Numba
takes it from here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from semret.foreign import hidden

_SETTINGS = ".numba_config.yaml"


with hidden(_SETTINGS):
    import numba
    import numba.core.config
    import numba.extending
    from numba import types
    from numba.core import cgutils
    from numba.core.registry import cpu_target
    from numba.np import arrayobj

# From now on Numba looks for its settings below a file, where none can be.
numba.core.config._config_fname = os.path.join(__file__, _SETTINGS)  # noqa: PTH118 - Numba wants text

__all__ = ["Function", "arrayobj", "cgutils", "compiled", "cpu_target", "numba", "types"]

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function as a part of machine code that stands alone: it may neither allocate nor raise.

    Numba keeps none of it on disk, `semret.retrieval.native` does, which also works where no file can be kept.

    Parameters
    ----------
    function : callable

    Returns
    -------
    callable
        Numba's dispatcher, to be called from compiled functions.
    """
    dispatcher: Function = numba.njit(nogil=True, error_model="numpy", _nrt=False)(function)
    return dispatcher
