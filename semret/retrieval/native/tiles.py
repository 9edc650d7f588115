"""The shape of the products' innermost block on this processor."""

from __future__ import annotations

import os

import llvmlite.binding as llvm

_SETTINGS = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX")


def _widest() -> tuple[int, int, str | None]:
    """Return int32 lanes of a vector, rows of a tile, and the instruction, for this processor."""
    # Where Numba was told what processor to compile for, no instruction is named.
    if not any(name in os.environ for name in _SETTINGS):
        features = llvm.get_host_cpu_features()
        if features.get("avx512bw"):
            return 16, 8, "llvm.x86.avx512.pmaddw.d.512"
        if features.get("avx2") and features.get("fma"):
            return 8, 6, "llvm.x86.avx2.pmadd.wd"
    return 4, 6, None


LANES, ROWS, INSTRUCTION = _widest()
VECTORS = 2
COLUMNS = LANES * VECTORS
