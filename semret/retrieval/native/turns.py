"""Lets compiled loops on several threads take their items from one counter, without the interpreter between them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from semret.retrieval.native.compiler import numba, types


@numba.extending.intrinsic
def take_turn(typing_context, counter):  # type: ignore[no-untyped-def]
    """Return a number and count it up, as one step that no other thread can come between; called from compiled code.

    Parameters
    ----------
    typing_context : object
        Numba's.
    counter : type
        Numba's, of an array of shape (1,), int64.

    Returns
    -------
    tuple
        What Numba asks of an intrinsic: its signature, and the function that writes its code.
    """
    del typing_context
    return types.int64(counter), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.atomic_rmw("add", array.data, ir.IntType(64)(1), "monotonic")
