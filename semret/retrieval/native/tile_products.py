"""The innermost loops of the products, as LLVM's intermediate code: a few rows by two vectors of columns.

Numba's own loops reach a quarter of this speed, as compilers do not keep a block of sums in registers by themselves. On
x86 the code names the instruction that multiplies pairs of int16 and adds them (``pmaddwd``, fused with the running sum
where the processor has VNNI). Elsewhere, and where Numba was told to avoid AVX, it is written as plain arithmetic, for
which LLVM chooses the instructions.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from semret.retrieval.native.compiler import cgutils, numba, types
from semret.retrieval.native.tiles import COLUMNS, INSTRUCTION, LANES, ROWS, VECTORS

_I16, _I32, _I64, _F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_SUMS = ir.VectorType(_I32, LANES)
_FLOATS = ir.VectorType(_F32, LANES)
_PAIRS = ir.VectorType(_I16, 2 * LANES)


@numba.extending.intrinsic
def multiply_tile(typing_context, rows, panel, pairs, out):  # type: ignore[no-untyped-def]
    """Compute ``out[r, c] = sum_p rows[r, 2p] * panel[p, c, 0] + rows[r, 2p + 1] * panel[p, c, 1]`` in int32.

    Called from compiled code. The parameters are Numba's types of the arguments.

    Parameters
    ----------
    typing_context : object
        Numba's.
    rows : array of shape (ROWS, at least 2 * pairs), int16
    panel : array of shape (pairs, COLUMNS, 2), int16
        Contiguous.
    pairs : int
    out : array of shape (ROWS, COLUMNS), int32
        Written; contiguous.

    Returns
    -------
    tuple
        What Numba asks of an intrinsic: its signature, and the function that writes its code.
    """
    del typing_context
    return types.void(rows, panel, pairs, out), _generate


@numba.extending.intrinsic
def multiply_float_tile(typing_context, rows, panel, channels, out):  # type: ignore[no-untyped-def]
    """Compute ``out[r, c] = sum_k rows[r, k] * panel[k, c]`` in float32, channel after channel.

    Called from compiled code. The parameters are Numba's types of the arguments.

    Parameters
    ----------
    typing_context : object
        Numba's.
    rows : array of shape (ROWS, at least channels), float32
    panel : array of shape (channels, COLUMNS), float32
        Contiguous.
    channels : int
    out : array of shape (ROWS, COLUMNS), float32
        Written; contiguous.

    Returns
    -------
    tuple
        What Numba asks of an intrinsic: its signature, and the function that writes its code.
    """
    del typing_context
    return types.void(rows, panel, channels, out), _generate_float


def _generate_float(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    arrays = [
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(signature.args, arguments, strict=True)
        if isinstance(kind, types.Array)
    ]
    left, panel, out = (builder.bitcast(array.data, _F32.as_pointer()) for array in arrays)
    stride = builder.sdiv(cgutils.unpack_tuple(builder, arrays[0].strides)[0], _I64(4))
    starts = [builder.gep(left, [builder.mul(stride, _I64(row))]) for row in range(ROWS)]
    sums = [[cgutils.alloca_once(builder, _FLOATS) for _ in range(VECTORS)] for _ in range(ROWS)]
    for place in (place for row in sums for place in row):
        builder.store(_FLOATS(None), place)
    with cgutils.for_range(builder, arguments[2]) as loop:
        base = builder.gep(panel, [builder.mul(loop.index, _I64(COLUMNS))])
        places = [builder.gep(base, [_I64(LANES * vector)]) for vector in range(VECTORS)]
        columns = [builder.load(builder.bitcast(place, _FLOATS.as_pointer()), align=4) for place in places]
        for start, row in zip(starts, sums, strict=True):
            value = builder.load(builder.gep(start, [loop.index]), align=4)
            single = builder.insert_element(_FLOATS(ir.Undefined), value, _I32(0))
            spread = builder.shuffle_vector(single, single, _SUMS([0] * LANES))
            for place, column in zip(row, columns, strict=True):
                builder.store(_multiply_add(builder, spread, column, builder.load(place)), place)
    for number, place in enumerate(place for row in sums for place in row):
        target = builder.gep(out, [_I64(LANES * number)])
        builder.store(builder.load(place), builder.bitcast(target, _FLOATS.as_pointer()), align=4)
    return context.get_dummy_value()


def _multiply_add(builder: Any, left: Any, right: Any, total: Any) -> Any:
    """Return ``left * right + total``, rounded once where the processor can."""
    if INSTRUCTION is not None:
        kind = ir.FunctionType(_FLOATS, [_FLOATS, _FLOATS, _FLOATS])
        fused = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32")
        return builder.call(fused, [left, right, total])
    return builder.fadd(builder.fmul(left, right), total)


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    arrays = [
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(signature.args, arguments, strict=True)
        if isinstance(kind, types.Array)
    ]
    left, panel, out = (builder.bitcast(array.data, _I16.as_pointer()) for array in arrays)
    stride = builder.sdiv(cgutils.unpack_tuple(builder, arrays[0].strides)[0], ir.Constant(_I64, 2))
    starts = [builder.gep(left, [builder.mul(stride, ir.Constant(_I64, row))]) for row in range(ROWS)]
    sums = [[cgutils.alloca_once_value(builder, _SUMS(None)) for _ in range(VECTORS)] for _ in range(ROWS)]
    for row in sums:
        for place in row:
            builder.store(_SUMS(None), place)
    with cgutils.for_range(builder, arguments[2]) as loop:
        columns = [_load_columns(builder, panel, loop.index, vector) for vector in range(VECTORS)]
        for start, row in zip(starts, sums, strict=True):
            spread = _spread_pair(builder, start, loop.index)
            for place, column in zip(row, columns, strict=True):
                builder.store(builder.add(builder.load(place), _multiply_pairs(builder, spread, column)), place)
    for number, place in enumerate(place for row in sums for place in row):
        target = builder.gep(out, [ir.Constant(_I64, 2 * LANES * number)])
        builder.store(builder.load(place), builder.bitcast(target, _SUMS.as_pointer()), align=4)
    return context.get_dummy_value()


def _load_columns(builder: Any, panel: Any, pair: Any, vector: int) -> Any:
    """Load one pair of channels of as many columns as a vector holds."""
    offset = builder.mul(pair, ir.Constant(_I64, 2 * COLUMNS))
    offset = builder.add(offset, ir.Constant(_I64, 2 * LANES * vector))
    return builder.load(builder.bitcast(builder.gep(panel, [offset]), _PAIRS.as_pointer()), align=2)


def _spread_pair(builder: Any, start: Any, pair: Any) -> Any:
    """Load one pair of channels of a row, and repeat it along a vector."""
    place = builder.gep(start, [builder.mul(pair, ir.Constant(_I64, 2))])
    value = builder.load(builder.bitcast(place, _I32.as_pointer()), align=2)
    single = builder.insert_element(_SUMS(ir.Undefined), value, _I32(0))
    return builder.bitcast(builder.shuffle_vector(single, single, _SUMS([0] * LANES)), _PAIRS)


def _multiply_pairs(builder: Any, left: Any, right: Any) -> Any:
    """Multiply int16 and add neighbours, into int32."""
    if INSTRUCTION is not None:
        kind = ir.FunctionType(_SUMS, [_PAIRS, _PAIRS])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, INSTRUCTION), [left, right])

    def half(vector: Any, first: int) -> Any:
        chosen = _SUMS(list(range(first, 2 * LANES, 2)))
        return builder.sext(builder.shuffle_vector(vector, vector, chosen), _SUMS)

    return builder.add(builder.mul(half(left, 0), half(right, 0)), builder.mul(half(left, 1), half(right, 1)))
