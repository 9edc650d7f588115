"""Triton's interpreter without what it does again and again; import this where kernels are run on the processor.

It replaces the functions of Triton's language by interpreted ones when a kernel is launched, and anew whenever the
kernel calls a function of its own, a third of all its time; and for every operation it builds the table of NumPy's
types. Both are done once here. What is computed is the same.
"""

from __future__ import annotations

import functools
import inspect

import triton.language as tl
from triton.runtime import interpreter


@functools.cache
def _languages(function):
    """Return the modules of Triton's language that a function sees, as Triton looks for them."""
    return [value for value in function.__globals__.values() if inspect.ismodule(value) and value in (tl, tl.core)]


def _patched_once(patch):
    """Have a launch replace what it has not replaced yet: once in it, Triton's `static_print` is Python's `print`."""

    @functools.wraps(patch)
    def patched(function):
        if all(language.static_print is print for language in _languages(function)):
            return interpreter._LangPatchScope()
        return patch(function)

    return patched


def _remembered(find):
    """Have NumPy's type of a type of Triton looked up once; those of pointers and blocks cannot be keys."""
    known = functools.cache(find)

    @functools.wraps(find)
    def remembered(type_):
        element = type_.element_ty if isinstance(type_, tl.block_type) else type_
        return find(element) if isinstance(element, tl.pointer_type) else known(element)

    return remembered


# Names that are Triton's own: with a release that has others, the tests are as slow as they are without this.
if hasattr(interpreter, "_patch_lang") and hasattr(interpreter, "_LangPatchScope"):
    interpreter._patch_lang = _patched_once(interpreter._patch_lang)
if hasattr(interpreter, "_get_np_dtype"):
    interpreter._get_np_dtype = _remembered(interpreter._get_np_dtype)
