"""The shape of the products' innermost block on this processor."""

from __future__ import annotations

import os

import llvmlite.binding as llvm

_SETTINGS = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX")


def _widest() -> tuple[int, int, str | None, str | None]:
    """Return int32 lanes of a vector, rows of a tile, and the instructions for int16 and int8, for this processor."""
    # Where Numba was told what processor to compile for, no instruction is named.
    if not any(name in os.environ for name in _SETTINGS):
        features = llvm.get_host_cpu_features()
        if features.get("avx512bw"):
            bytes_ = "llvm.x86.avx512.vpdpbusd.512" if features.get("avx512vnni") else None
            return 16, 8, "llvm.x86.avx512.pmaddw.d.512", bytes_
        if features.get("avx2") and features.get("fma"):
            # Of 256 bits, LLVM has one name for both extensions that hold the instruction.
            bytes_ = "llvm.x86.avx512.vpdpbusd.256" if features.get("avxvnni") else None
            return 8, 6, "llvm.x86.avx2.pmadd.wd", bytes_
    return 4, 6, None, None


LANES, ROWS, INSTRUCTION, BYTE_INSTRUCTION = _widest()
VECTORS = 2
COLUMNS = LANES * VECTORS

GROUP = 2 if BYTE_INSTRUCTION is None else 4
"""Numbers of a token that the products of int8 multiply and add at a time: pairs of int16, or four int8."""
