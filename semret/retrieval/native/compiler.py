"""Numba, imported so that no file of the current folder has a say.

On import and before every compilation, Numba reads ``.numba_config.yaml`` from wherever the program was started: a
folder of pictures may come from anybody. Settings are taken from the environment alone. Every module that needs Numba
takes it from here.
"""

from __future__ import annotations

import os

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

# What is asked for from now on is a file below one that is no folder.
numba.core.config._config_fname = os.path.join(__file__, _SETTINGS)  # noqa: PTH118 - Numba wants text

__all__ = ["arrayobj", "cgutils", "cpu_target", "numba", "types"]
