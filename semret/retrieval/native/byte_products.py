"""The innermost loop of products of int8, exact in int32, written for the processor at hand.

Where there is VNNI, ``vpdpbusd`` multiplies four unsigned int8 with four signed ones and adds them to a running sum,
without saturation. The rows are made unsigned by an offset of 128, so each sum is too large by 128 times the sum of
its column; that is known beforehand, `column_offsets`, and whoever uses the sums adds it. Elsewhere the rows are
widened to int16 for `tile_products.multiply_tile`, and offsets are 0. Both are exact, so the numbers are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from semret.retrieval.native.compiler import cgutils, compiled, numba, types
from semret.retrieval.native.tile_products import multiply_tile
from semret.retrieval.native.tiles import BYTE_INSTRUCTION, COLUMNS, LANES, ROWS, VECTORS

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_SUMS = ir.VectorType(_I32, LANES)
_OFFSET = 0x80808080
"""Added to four int8 without carry, makes each larger by 128, as unsigned."""


@numba.extending.intrinsic
def multiply_quads(typing_context, rows, panel, quads, out):  # type: ignore[no-untyped-def]
    """Compute ``out[r, c] = sum_i (rows[r, i] + 128) * panel[i // 4, c, i % 4]`` in int32.

    Called from compiled code. The parameters are Numba's types of the arguments.

    Parameters
    ----------
    typing_context : object
        Numba's.
    rows : array of shape (ROWS, at least 4 * quads), int8
    panel : array of shape (quads, COLUMNS, 4), int8
        Contiguous.
    quads : int
    out : array of shape (ROWS, COLUMNS), int32
        Written; contiguous.

    Returns
    -------
    tuple
        What Numba asks of an intrinsic: its signature, and the function that writes its code.
    """
    del typing_context
    return types.void(rows, panel, quads, out), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    arrays = [
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(signature.args, arguments, strict=True)
        if isinstance(kind, types.Array)
    ]
    left, panel, out = (builder.bitcast(array.data, _I8.as_pointer()) for array in arrays)
    stride = cgutils.unpack_tuple(builder, arrays[0].strides)[0]
    starts = [builder.gep(left, [builder.mul(stride, _I64(row))]) for row in range(ROWS)]
    sums = [[cgutils.alloca_once(builder, _SUMS) for _ in range(VECTORS)] for _ in range(ROWS)]
    for place in (place for row in sums for place in row):
        builder.store(_SUMS(None), place)
    kind = ir.FunctionType(_SUMS, [_SUMS, _SUMS, _SUMS])
    instruction = cgutils.get_or_insert_function(builder.module, kind, BYTE_INSTRUCTION)
    with cgutils.for_range(builder, arguments[2]) as loop:
        base = builder.gep(panel, [builder.mul(loop.index, _I64(4 * COLUMNS))])
        places = [builder.gep(base, [_I64(4 * LANES * vector)]) for vector in range(VECTORS)]
        columns = [builder.load(builder.bitcast(place, _SUMS.as_pointer()), align=1) for place in places]
        for start, row in zip(starts, sums, strict=True):
            spread = _spread_quad(builder, start, loop.index)
            for place, column in zip(row, columns, strict=True):
                builder.store(builder.call(instruction, [builder.load(place), spread, column]), place)
    for number, place in enumerate(place for row in sums for place in row):
        target = builder.gep(out, [_I64(4 * LANES * number)])
        builder.store(builder.load(place), builder.bitcast(target, _SUMS.as_pointer()), align=4)
    return context.get_dummy_value()


def _spread_quad(builder: Any, start: Any, quad: Any) -> Any:
    """Load four numbers of a row, make them unsigned, and repeat them along a vector."""
    place = builder.gep(start, [builder.mul(quad, _I64(4))])
    value = builder.load(builder.bitcast(place, _I32.as_pointer()), align=1)
    shifted = builder.xor(value, _I32(_OFFSET))
    single = builder.insert_element(_SUMS(ir.Undefined), shifted, _I32(0))
    return builder.shuffle_vector(single, single, _SUMS([0] * LANES))


@compiled
def _multiply_quads_of(rows, top, panel, out, rest):  # type: ignore[no-untyped-def]
    quads, width = panel.shape[0], rows.shape[1]
    if top + ROWS <= rows.shape[0] and width == 4 * quads:
        multiply_quads(rows[top : top + ROWS], panel, quads, out)
        return
    # Too few rows, or a width that is no multiple of four: what is left is copied, and the panel's zeros count.
    for row in range(min(ROWS, rows.shape[0] - top)):
        for place in range(width):
            rest[row, place] = rows[top + row, place]
    multiply_quads(rest, panel, quads, out)


@compiled
def _multiply_pairs_of(rows, top, panel, out, rest):  # type: ignore[no-untyped-def]
    for row in range(min(ROWS, rows.shape[0] - top)):
        for place in range(rows.shape[1]):
            rest[row, place] = np.int16(rows[top + row, place])
    multiply_tile(rest, panel, panel.shape[0], out)


multiply_bytes = _multiply_pairs_of if BYTE_INSTRUCTION is None else _multiply_quads_of
"""Multiply some rows of a map with a panel of columns; called from compiled code.

Parameters
----------
rows : array of shape (S, D), int8
top : int
    The first of up to ROWS rows.
panel : array of shape (ceil(D / GROUP), COLUMNS, GROUP), int8, or int16 where GROUP is 2
    Filled up with zeros.
out : array of shape (ROWS, COLUMNS), int32
    Written: sums less the column offsets. Rows beyond the map hold anything.
rest : array of shape (ROWS, at least D rounded up to a multiple of GROUP), of the panel's dtype
    Scratch, zero where it is wider than D.
"""
