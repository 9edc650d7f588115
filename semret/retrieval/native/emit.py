"""Machine code of a compiled loop, made by Numba.

The function made follows Numba's own convention: ``status = f(place of the result, place of the error, *arguments)``,
status 0 being success. A callback of `numba.cfunc` would report errors through the interpreter, and need all of Numba.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm

from semret.retrieval.native.code_files import Code
from semret.retrieval.native.compiler import arrayobj, cgutils, cpu_target, numba, types

_TYPES = {
    "b1": types.boolean,
    "f4": types.float32,
    "f8": types.float64,
    "i1": types.int8,
    "i2": types.int16,
    "i4": types.int32,
    "i8": types.int64,
    "u2": types.uint16,
    "u4": types.uint32,
}

_EVERYWHERE = frozenset({"memcpy", "memmove", "memset", "memset_pattern16", "sqrt"})
"""Functions of the C library: all that machine code may ask for."""


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A compiled loop.

    Attributes
    ----------
    address : int
        Where it lies in this process, while `owner` lives.
    code : Code or None
        Its machine code; None if that needs what only Numba can provide.
    owner : Any
    """

    address: int
    code: Code | None
    owner: Any


@numba.extending.intrinsic
def _view(typing_context, pointer, shape):  # type: ignore[no-untyped-def]
    """Return the C-contiguous array of this shape; unlike `numba.carray`, without an error to raise."""
    del typing_context
    return types.Array(pointer.dtype, len(shape), "C")(pointer, shape), _generate_view


def _generate_view(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kind = signature.return_type
    array = context.make_array(kind)(context, builder)
    shape = cgutils.unpack_tuple(builder, arguments[1])
    size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [size]
    for length in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    data = builder.bitcast(arguments[0], array.data.type)
    arrayobj.populate_array(array, data=data, shape=shape, strides=strides, itemsize=size, meminfo=None)
    return array._getvalue()


def compile_kernel(module: str, name: str, signature: tuple[str, ...]) -> Compiled:
    """Compile a loop for these types.

    Parameters
    ----------
    module, name : str
        See `semret.retrieval.native.Native`.
    signature : tuple of str
        Type of each argument: ``f4`` a number, ``f4x2`` an array of two axes, which is passed as its address and shape.

    Returns
    -------
    Compiled
    """
    kernel = getattr(importlib.import_module(module), name)
    names, values, kinds = [], [], []
    for number, kind in enumerate(signature):
        item, _, axes = kind.partition("x")
        lengths = [f"n{number}_{axis}" for axis in range(int(axes or 0))]
        names += [f"a{number}", *lengths]
        values.append(f"view(a{number}, ({', '.join(lengths)},))" if axes else f"a{number}")
        kinds += [types.CPointer(_TYPES[item]) if axes else _TYPES[item], *[types.int64] * len(lengths)]
    entry: dict[str, Any] = {"kernel": kernel, "view": _view}
    # Numba compiles functions of a fixed number of arguments; this one has as many as the arrays have lengths.
    exec(f"def entry({', '.join(names)}):\n    return kernel({', '.join(values)})", entry)
    options = {
        "no_cpython_wrapper": True,
        "no_cfunc_wrapper": True,
        "error_model": "numpy",
        "nogil": True,
        "_nrt": False,
    }
    dispatcher = numba.njit(tuple(kinds), **options)(entry["entry"])
    result = dispatcher.overloads[tuple(kinds)]
    symbol = result.fndesc.llvm_func_name
    return Compiled(
        address=result.library.get_pointer_to_function(symbol),
        code=_machine_code(symbol, dispatcher.inspect_llvm(tuple(kinds))),
        owner=dispatcher,
    )


def _machine_code(symbol: str, intermediate: str) -> Code | None:
    """Translate the optimised intermediate code, as Numba itself does, if it stands alone."""
    module = llvm.parse_assembly(intermediate)
    if needed_symbols(module):
        return None
    triple, processor, features = cpu_target.target_context.codegen().magic_tuple()
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=processor, features=features, opt=3, reloc=_relocation(triple), codemodel="jitdefault", jit=True
    )
    return Code(symbol=symbol, machine_code=machine.emit_object(module))


def _relocation(triple: str) -> str:
    return "static" if triple.startswith(("x86_64", "i386", "i686")) else "default"


def needed_symbols(module: Any) -> list[str]:
    """Return the names that a module uses and does not define, without LLVM's own functions and the C library's.

    Parameters
    ----------
    module : llvmlite.binding.ModuleRef

    Returns
    -------
    list of str
    """
    outside = [item.name for item in (*module.functions, *module.global_variables) if item.is_declaration]
    return [name for name in outside if not name.startswith("llvm.") and name not in _EVERYWHERE]
