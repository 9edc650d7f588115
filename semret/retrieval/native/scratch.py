"""Tells LLVM that scratch arrays do not overlap, so that it vectorises loops over several of them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from semret.retrieval.native.compiler import cgutils, numba

_POINTER = ir.IntType(8).as_pointer()


@numba.extending.intrinsic
def alone(typing_context, array):  # type: ignore[no-untyped-def]
    """Mark an array as one that no other array overlaps while it is in use; called from compiled code.

    LLVM then vectorises loops over several arrays without testing at run time whether they overlap, as it does for
    arrays that a function allocates itself.

    Parameters
    ----------
    typing_context : object
        Numba's.
    array : type
        Numba's, of the array.

    Returns
    -------
    tuple
        What Numba asks of an intrinsic: its signature, and the function that writes its code.
    """
    del typing_context
    return array(array), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    fresh = builder.call(_marked(builder.module), [builder.bitcast(array.data, _POINTER)])
    array.data = builder.bitcast(fresh, array.data.type)
    return array._getvalue()


def _marked(module: Any) -> Any:
    """Return a function that returns its argument and is declared to return memory that nothing else points to.

    It is linked weakly: LLVM may then not look into it, where it would see that the memory is the argument's.
    """
    function = cgutils.get_or_insert_function(module, ir.FunctionType(_POINTER, [_POINTER]), "semret_alone")
    if function.is_declaration:
        function.linkage = "weak"
        function.attributes.add("noinline")
        function.return_value.add_attribute("noalias")
        ir.IRBuilder(function.append_basic_block()).ret(function.args[0])
    return function
