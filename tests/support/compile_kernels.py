"""Compile the kernels for a card that need not be there: ``python -m tests.support.compile_kernels``.

The interpreter takes what Triton's compiler refuses (a variable that changes its type in a loop, a shape that is no
power of two), so this is the other half of testing kernels without a card.
"""

from __future__ import annotations

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from semret.retrieval.matching import cuda_kernels as kernels
from semret.retrieval.matching import cuda_token_kernels as token_kernels

HOPPER = GPUTarget("cuda", 90, 32)

POINTERS = {
    "M": "*i32",
    "N": "*i32",
    "SCRATCH": "*i16",
    "ASSIGNMENTS": "*i64",
    "VALUES": "*fp64",
    "BOUNDS": "*fp64",
    "SLACK": "*fp64",
    "STATES": "*i32",
    "SCANS": "*i32",
    "X_OF": "*i64",
    "Y_OF": "*i64",
    "R_OF": "*i64",
    "C_OF": "*i64",
    "R": "*fp32",
    "C": "*fp32",
    "largest": "fp32",
}


def compile_one(kernel, constants, *, warps, fused=True, **pointers):
    """Compile a kernel and return its PTX."""
    names = kernel.arg_names
    types = POINTERS | pointers
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    source = ASTSource(kernel, signature, constexprs={(names.index(name),): value for name, value in constants.items()})
    options = {"num_warps": warps, "enable_fp_fusion": fused}
    return triton.compile(source, target=HOPPER, options=options).asm["ptx"]


def main():
    """Compile every kernel in the forms in which it is launched."""
    matching = {"LEVELS": 32_000, "BIDS": 64}
    for width, warps, phases in ((16, 1, 2), (256, 1, 4), (1024, 2, 4), (4096, 8, 4)):
        for dtype, scaled in (("*fp32", False), ("*i32", True)):
            shape = {"W": width, "PHASES": phases, "SCALED": scaled, "FINISH": True} | matching
            ptx = compile_one(kernels.match_kernel, shape, warps=warps, fused=False, A=dtype)
            assert "fma.rn.f64" not in ptx, "a product is fused with a sum"
    for dtype in ("*fp16", "*fp64"):
        shape = {"W": 256, "PHASES": 1, "SCALED": False, "FINISH": False} | matching
        compile_one(kernels.match_kernel, shape, warps=1, fused=False, A=dtype)
    for dtype, out, precision in (("*i8", "*i32", "ieee"), ("*fp16", "*fp32", "ieee"), ("*fp32", "*fp32", "tf32x3")):
        shape = {"BLOCK": 64, "DEPTH": 64, "INTEGER": dtype == "*i8", "PRECISION": precision}
        ptx = compile_one(token_kernels.form_kernel, shape, warps=4, X=dtype, Y=dtype, OUT=out)
        assert "mma" in ptx, f"{dtype} is not multiplied on the tensor cores"
    compile_one(token_kernels.value_kernel, {"BLOCK": 16, "DEPTH": 64}, warps=4, X="*fp32", Y="*fp32")
    ptx = compile_one(
        token_kernels.sweep_kernel, {"W": 256, "DEPTH": 64, "TILE": 32}, warps=4, X="*i8", Y="*i8", OUT="*fp64"
    )
    assert "mma" in ptx, "the sweep does not use the tensor cores"
    sys.stdout.write("compiled\n")


if __name__ == "__main__":
    main()
