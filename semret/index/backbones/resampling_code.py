"""Machine code for resizing pictures, made of a page of LLVM's language in memory, in a tenth of a second.

LLVM comes with the compiler of the search's loops. That compiler itself would take a second to import, and its code
would have to be kept in files to be worth it; what these loops do is said in a page.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BITS = 22
"""Of a coefficient after the point, as in Pillow."""

_LANES = 16

SPARE = 4 * _LANES
"""Bytes behind a picture that whole vectors may be read from or written to."""

_IR = f"""
; Rows: three channels of a pixel at a time. What is stored as a fourth is overwritten by the pixel that follows.
define void @rows(ptr noalias %source, ptr noalias %target, ptr noalias %starts, ptr noalias %coefficients,
                  i64 %height, i64 %before, i64 %after, i64 %taps) {{
entry:
  %in_row = mul i64 %before, 3
  %out_row = mul i64 %after, 3
  br label %each_row
each_row:
  %y = phi i64 [ 0, %entry ], [ %y_next, %row_done ]
  %in_offset = mul i64 %y, %in_row
  %in = getelementptr i8, ptr %source, i64 %in_offset
  %out_offset = mul i64 %y, %out_row
  %out = getelementptr i8, ptr %target, i64 %out_offset
  br label %each_pixel
each_pixel:
  %x = phi i64 [ 0, %each_row ], [ %x_next, %pixel_done ]
  %start_at = getelementptr i64, ptr %starts, i64 %x
  %start = load i64, ptr %start_at
  %byte = mul i64 %start, 3
  %first = getelementptr i8, ptr %in, i64 %byte
  %set = mul i64 %x, %taps
  %weights = getelementptr i32, ptr %coefficients, i64 %set
  br label %each_tap
each_tap:
  %k = phi i64 [ 0, %each_pixel ], [ %k_next, %each_tap ]
  %sum = phi <4 x i32> [ splat (i32 {1 << (BITS - 1)}), %each_pixel ], [ %sum_next, %each_tap ]
  %skip = mul i64 %k, 3
  %place = getelementptr i8, ptr %first, i64 %skip
  %levels = load <4 x i8>, ptr %place, align 1
  %wide = zext <4 x i8> %levels to <4 x i32>
  %weight_at = getelementptr i32, ptr %weights, i64 %k
  %weight = load i32, ptr %weight_at
  %one = insertelement <4 x i32> poison, i32 %weight, i64 0
  %all = shufflevector <4 x i32> %one, <4 x i32> poison, <4 x i32> zeroinitializer
  %product = mul <4 x i32> %wide, %all
  %sum_next = add <4 x i32> %sum, %product
  %k_next = add i64 %k, 1
  %more_taps = icmp ult i64 %k_next, %taps
  br i1 %more_taps, label %each_tap, label %pixel_done
pixel_done:
  %shifted = ashr <4 x i32> %sum_next, splat (i32 {BITS})
  %positive = call <4 x i32> @llvm.smax.v4i32(<4 x i32> %shifted, <4 x i32> zeroinitializer)
  %level = call <4 x i32> @llvm.smin.v4i32(<4 x i32> %positive, <4 x i32> splat (i32 255))
  %rounded = trunc <4 x i32> %level to <4 x i8>
  %to_byte = mul i64 %x, 3
  %to = getelementptr i8, ptr %out, i64 %to_byte
  store <4 x i8> %rounded, ptr %to, align 1
  %x_next = add i64 %x, 1
  %more_pixels = icmp ult i64 %x_next, %after
  br i1 %more_pixels, label %each_pixel, label %row_done
row_done:
  %y_next = add i64 %y, 1
  %more_rows = icmp ult i64 %y_next, %height
  br i1 %more_rows, label %each_row, label %done
done:
  ret void
}}

; Columns: a vector of bytes at a time. A row's last vector reaches into the next row, which is written after it.
define void @columns(ptr noalias %source, ptr noalias %target, ptr noalias %starts, ptr noalias %coefficients,
                     i64 %height, i64 %row, i64 %taps) {{
entry:
  br label %each_row
each_row:
  %y = phi i64 [ 0, %entry ], [ %y_next, %row_done ]
  %start_at = getelementptr i64, ptr %starts, i64 %y
  %start = load i64, ptr %start_at
  %in_offset = mul i64 %start, %row
  %in = getelementptr i8, ptr %source, i64 %in_offset
  %set = mul i64 %y, %taps
  %weights = getelementptr i32, ptr %coefficients, i64 %set
  %out_offset = mul i64 %y, %row
  %out = getelementptr i8, ptr %target, i64 %out_offset
  br label %each_vector
each_vector:
  %x = phi i64 [ 0, %each_row ], [ %x_next, %vector_done ]
  %first = getelementptr i8, ptr %in, i64 %x
  br label %each_tap
each_tap:
  %k = phi i64 [ 0, %each_vector ], [ %k_next, %each_tap ]
  %sum = phi <{_LANES} x i32> [ splat (i32 {1 << (BITS - 1)}), %each_vector ], [ %sum_next, %each_tap ]
  %skip = mul i64 %k, %row
  %place = getelementptr i8, ptr %first, i64 %skip
  %levels = load <{_LANES} x i8>, ptr %place, align 1
  %wide = zext <{_LANES} x i8> %levels to <{_LANES} x i32>
  %weight_at = getelementptr i32, ptr %weights, i64 %k
  %weight = load i32, ptr %weight_at
  %one = insertelement <{_LANES} x i32> poison, i32 %weight, i64 0
  %all = shufflevector <{_LANES} x i32> %one, <{_LANES} x i32> poison, <{_LANES} x i32> zeroinitializer
  %product = mul <{_LANES} x i32> %wide, %all
  %sum_next = add <{_LANES} x i32> %sum, %product
  %k_next = add i64 %k, 1
  %more_taps = icmp ult i64 %k_next, %taps
  br i1 %more_taps, label %each_tap, label %vector_done
vector_done:
  %shifted = ashr <{_LANES} x i32> %sum_next, splat (i32 {BITS})
  %positive = call <{_LANES} x i32> @llvm.smax.v{_LANES}i32(<{_LANES} x i32> %shifted, <{_LANES} x i32> zeroinitializer)
  %level = call <{_LANES} x i32> @llvm.smin.v{_LANES}i32(<{_LANES} x i32> %positive, <{_LANES} x i32> splat (i32 255))
  %rounded = trunc <{_LANES} x i32> %level to <{_LANES} x i8>
  %to = getelementptr i8, ptr %out, i64 %x
  store <{_LANES} x i8> %rounded, ptr %to, align 1
  %x_next = add i64 %x, {_LANES}
  %more_vectors = icmp ult i64 %x_next, %row
  br i1 %more_vectors, label %each_vector, label %row_done
row_done:
  %y_next = add i64 %y, 1
  %more_rows = icmp ult i64 %y_next, %height
  br i1 %more_rows, label %each_row, label %done
done:
  ret void
}}

; From bytes to numbers. LLVM makes vectors of this loop by itself.
define void @normalise(ptr noalias %source, ptr noalias %target, ptr noalias %means, ptr noalias %deviations,
                       i64 %height, i64 %row) {{
entry:
  br label %each_row
each_row:
  %y = phi i64 [ 0, %entry ], [ %y_next, %row_done ]
  %offset = mul i64 %y, %row
  %in = getelementptr i8, ptr %source, i64 %offset
  %out = getelementptr float, ptr %target, i64 %offset
  br label %each_byte
each_byte:
  %x = phi i64 [ 0, %each_row ], [ %x_next, %each_byte ]
  %from = getelementptr i8, ptr %in, i64 %x
  %level = load i8, ptr %from
  %number = uitofp i8 %level to float
  %mean_at = getelementptr float, ptr %means, i64 %x
  %mean = load float, ptr %mean_at
  %centred = fsub float %number, %mean
  %deviation_at = getelementptr float, ptr %deviations, i64 %x
  %deviation = load float, ptr %deviation_at
  %normalised = fdiv float %centred, %deviation
  %to = getelementptr float, ptr %out, i64 %x
  store float %normalised, ptr %to
  %x_next = add i64 %x, 1
  %more_bytes = icmp ult i64 %x_next, %row
  br i1 %more_bytes, label %each_byte, label %row_done
row_done:
  %y_next = add i64 %y, 1
  %more_rows = icmp ult i64 %y_next, %height
  br i1 %more_rows, label %each_row, label %done
done:
  ret void
}}

declare <4 x i32> @llvm.smax.v4i32(<4 x i32>, <4 x i32>)
declare <4 x i32> @llvm.smin.v4i32(<4 x i32>, <4 x i32>)
declare <{_LANES} x i32> @llvm.smax.v{_LANES}i32(<{_LANES} x i32>, <{_LANES} x i32>)
declare <{_LANES} x i32> @llvm.smin.v{_LANES}i32(<{_LANES} x i32>, <{_LANES} x i32>)
"""


@dataclass(frozen=True, kw_only=True)
class Code:
    """The loops. Addresses are of contiguous memory; a call releases the interpreter's lock.

    Attributes
    ----------
    rows : callable
        Resizes along rows: ``(source, target, starts, coefficients, height, width before, width after, taps)``; three
        bytes a pixel, and `SPARE` bytes behind `target`, one behind `source`.
    columns : callable
        Resizes along columns: ``(source, target, starts, coefficients, height after, bytes of a row, taps)``; `SPARE`
        bytes behind both.
    normalise : callable
        ``(source, target, means, deviations, height, bytes of a row)``: from bytes to float32, less the mean, over the
        deviation; those have the length of a row.
    owner : Any
        Keeps the code in memory.
    """

    rows: Callable[..., None]
    columns: Callable[..., None]
    normalise: Callable[..., None]
    owner: Any


def make_code() -> Code:
    """Make machine code for this processor.

    Returns
    -------
    Code

    Raises
    ------
    Exception
        Whatever LLVM raises where it cannot.
    """
    # Who embeds a few pictures does not need it.
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        codemodel="jitdefault",
        jit=True,
    )
    module = llvm.parse_assembly(_IR)
    module.verify()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()

    def function(name: str, pointers: int, numbers: int) -> Callable[..., None]:
        kinds = [ctypes.c_void_p] * pointers + [ctypes.c_int64] * numbers
        return ctypes.CFUNCTYPE(None, *kinds)(engine.get_function_address(name))

    return Code(
        rows=function("rows", 4, 4),
        columns=function("columns", 4, 3),
        normalise=function("normalise", 4, 2),
        owner=engine,
    )
