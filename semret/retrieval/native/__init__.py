"""Compiled loops, called without importing the compiler.

Numba takes most of a second to import and to get ready for its first call, ten times what a query computes. What it
makes of a loop is therefore kept as plain machine code: `code_files` finds it again, `Native` loads it with LLVM's
linker alone and calls it through ctypes. Only where there is none yet, `emit` imports Numba and makes it.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from semret.errors import ShapeError, SolverError
from semret.retrieval.native import code_files as store

_logger = logging.getLogger(__name__)
_lock = threading.Lock()
_loaded: list[Any] = []
_announced = False

_SCALARS: dict[type, tuple[str, Any]] = {
    bool: ("b1", ctypes.c_bool),
    int: ("i8", ctypes.c_int64),
    float: ("f8", ctypes.c_double),
}


class Native:
    """A compiled loop that takes arrays, numbers and truth values, and writes its results into the arrays.

    Machine code is made once for each combination of types that it is called with. A call releases the interpreter's
    lock.

    Parameters
    ----------
    module, name : str
        Where the function is defined, under `numba.njit`. It may neither allocate nor raise, and returns a truth value
        or None. Its module is imported when it must be compiled, not before.
    """

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name
        self._functions: dict[tuple[Any, ...], Callable[..., int]] = {}
        self._dispatcher: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> bool:
        """Call the loop.

        Parameters
        ----------
        *arguments : ndarray, int, float or bool
            Arrays must be C-contiguous.

        Returns
        -------
        bool
            What the loop returned; False for None.

        Raises
        ------
        ShapeError
            If an array is not contiguous.
        SolverError
            If the machine code reports an error.
        """
        if self._dispatcher is not None:
            return bool(self._dispatcher(*arguments))
        kinds: list[Any] = []
        values: list[Any] = []
        for argument in arguments:
            kinds.append(type(argument))
            if isinstance(argument, np.ndarray):
                flags = argument.flags
                if not (flags.c_contiguous and flags.aligned):
                    raise ShapeError(
                        f"{self.name} got an array of strides {argument.strides}, expected a contiguous one"
                    )
                kinds += (argument.dtype, argument.ndim)
                values += (argument.__array_interface__["data"][0], *argument.shape)
            else:
                values.append(argument)
        function = self._functions.get(tuple(kinds))
        if function is None:
            try:
                function = self._prepare(tuple(kinds), arguments)
            except Exception as reason:  # whatever a compiler whose internals have changed may raise
                return bool(self._fall_back(reason)(*arguments))
        answer, error = ctypes.c_int64(0), ctypes.c_void_p()
        if function(ctypes.byref(answer), ctypes.byref(error), *values):
            raise SolverError(f"the compiled loop {self.name} failed; report this with the settings of NUMBA_*")
        return bool(answer.value)

    def _prepare(self, kinds: tuple[Any, ...], arguments: tuple[Any, ...]) -> Callable[..., int]:
        """Load the machine code for arguments like these, or make it."""
        with _lock:
            if kinds not in self._functions:
                signature = tuple(_kind(argument) for argument in arguments)
                prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *_c_types(arguments))
                self._functions[kinds] = prototype(self._address(signature))
            return self._functions[kinds]

    def _fall_back(self, reason: Exception) -> Callable[..., Any]:
        """Use the loop as Numba's own dispatcher from now on: slower to start, and the same results."""
        _logger.info("%s cannot be kept as machine code (%s); Numba loads it", self.name, reason)
        self._dispatcher = getattr(importlib.import_module(self.module), self.name)
        return self._dispatcher

    def _address(self, signature: tuple[str, ...]) -> int:
        title = "-".join([self.name, *signature])
        identity = store.identity(title)
        folders = store.folders()
        for folder in folders:
            code = store.read(folder, title, identity)
            address = 0 if code is None else _link(code)
            if address:
                return address
        return self._compile(signature, title, identity, folders)

    def _compile(self, signature: tuple[str, ...], title: str, identity: str, folders: list[Path]) -> int:
        _announce(folders)
        # The compiler takes seconds to import, and what was compiled before does without it.
        from semret.retrieval.native import emit

        made = emit.compile_kernel(self.module, self.name, signature)
        _loaded.append(made)
        if made.code is not None:
            any(store.write(folder, title, identity, made.code) for folder in folders)
        return made.address


def _announce(folders: list[Path]) -> None:
    """Say once that a compiler is at work, and whether it will be again in the next process."""
    global _announced
    if _announced:
        return
    _announced = True
    if any(store.can_keep(folder) for folder in folders):
        _logger.warning("compiling the matching solvers; this happens once per installation and takes some seconds")
        return
    _logger.warning(
        "compiling the matching solvers in memory; this takes some seconds in every run, for there is no folder of "
        "your own to keep them (tried %s); name one with NUMBA_CACHE_DIR",
        " and ".join(map(str, folders)),
    )


def _kind(argument: Any) -> str:
    """Name the type of an argument: that of a number, or of an array's items and how many axes it has."""
    if isinstance(argument, np.ndarray):
        return f"{argument.dtype.str[1:]}x{argument.ndim}"
    return _SCALARS[type(argument)][0]


def _c_types(arguments: tuple[Any, ...]) -> list[Any]:
    kinds: list[Any] = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            kinds += [ctypes.c_void_p, *[ctypes.c_int64] * argument.ndim]
        else:
            kinds.append(_SCALARS[type(argument)][1])
    return kinds


def _link(code: store.Code) -> int:
    """Make machine code executable, for as long as the process lives; return where its function is, 0 if that fails."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(codemodel="jitdefault", jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    try:
        engine.add_object_file(llvm.ObjectFileRef.from_data(code.machine_code))
        engine.finalize_object()
    except RuntimeError:
        _logger.info("machine code could not be linked; it is made anew", exc_info=True)
        return 0
    _loaded.append(engine)
    address: int = engine.get_function_address(code.symbol)
    return address
