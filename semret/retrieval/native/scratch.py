"""A promise to LLVM about scratch arrays."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from semret.retrieval.native.compiler import cgutils, numba

_POINTER = ir.IntType(8).as_pointer()


@numba.extending.intrinsic
def alone(typing_context, array):  # type: ignore[no-untyped-def]
    """Return the array, with the promise that no other one overlaps it while it is in use.

    Called from compiled code. LLVM then vectorises loops over several arrays without asking whether they overlap, as it
    does for arrays that a function allocates itself.
    """
    del typing_context
    return array(array), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    fresh = builder.call(_promise(builder.module), [builder.bitcast(array.data, _POINTER)])
    array.data = builder.bitcast(fresh, array.data.type)
    return array._getvalue()


def _promise(module: Any) -> Any:
    """Return a function that returns its argument; being weak, it must be taken at its word."""
    function = cgutils.get_or_insert_function(module, ir.FunctionType(_POINTER, [_POINTER]), "semret_alone")
    if function.is_declaration:
        function.linkage = "weak"
        function.attributes.add("noinline")
        function.return_value.add_attribute("noalias")
        ir.IRBuilder(function.append_basic_block()).ret(function.args[0])
    return function
