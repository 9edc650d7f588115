"""A graph on ONNX Runtime: sessions, threads, providers, and errors in one line."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semret.errors import ArgumentError, BackboneError, cut_text

if TYPE_CHECKING:
    from pathlib import Path

    import onnxruntime

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
"""Names of ``--device`` for graphs, and what ONNX Runtime calls them."""

_SILENT = 4
"""ONNX Runtime writes to stderr by itself what it also raises; only what ends the process is left."""


def processor_threads() -> int:
    """Return how many threads this process may use: ``OMP_NUM_THREADS``, or the processors it may run on.

    Returns
    -------
    int
        At least 1.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pick_provider(device: str | None, what: str) -> str:
    """Return the execution provider that a device stands for.

    Parameters
    ----------
    device : str or None
        A name of `PROVIDERS`, ``cuda:N`` included; None for the processor.
    what : str
        Names the network in messages.

    Returns
    -------
    str

    Raises
    ------
    ArgumentError
        If there is no such device, or the installed ONNX Runtime cannot use it.
    """
    import onnxruntime

    kind = (device or "cpu").partition(":")[0]
    if kind not in PROVIDERS:
        raise ArgumentError(f"{what} does not run on {device!r}; choose one of {', '.join(PROVIDERS)}")
    installed = onnxruntime.get_available_providers()
    if PROVIDERS[kind] not in installed:
        names = [name for name, provider in PROVIDERS.items() if provider in installed]
        raise ArgumentError(
            f"the installed ONNX Runtime cannot use {device!r}, only {', '.join(names)}; "
            "install the build of onnxruntime that can, or leave --device out"
        )
    return PROVIDERS[kind]


class GraphSession:
    """A loaded graph; `run` may be called from many threads.

    Parameters
    ----------
    model : bytes or Path
        The serialised graph, or its file (needed where weights lie in files beside it).
    what : str
        Names the network in messages.
    provider : str
        See `pick_provider`.
    device_number : int
        Which of several devices of a kind.

    Raises
    ------
    BackboneError
        If ONNX Runtime refuses the graph.
    """

    def __init__(
        self, model: bytes | Path, what: str, provider: str = PROVIDERS["cpu"], *, device_number: int = 0
    ) -> None:
        self._model, self._what = model, what
        self._provider, self._number = provider, device_number
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._sessions: dict[tuple[int, int], onnxruntime.InferenceSession] = {}
        self.threads = processor_threads()
        """Of each call of `run`: all, unless calls from several threads share them out."""
        self._session()

    def inputs(self) -> list[Any]:
        """Return the graph's inputs: objects with ``name``, ``shape`` and ``type``.

        Returns
        -------
        list
        """
        return list(self._session().get_inputs())

    def outputs(self) -> list[Any]:
        """Return the graph's outputs: objects with ``name``, ``shape`` and ``type``.

        Returns
        -------
        list
        """
        return list(self._session().get_outputs())

    def run(self, names: Sequence[str], feed: dict[str, NDArray[Any]], options: Any = None) -> list[NDArray[Any]]:
        """Run the graph.

        Parameters
        ----------
        names : sequence of str
            Outputs that are wanted.
        feed : dict of str to ndarray
            Inputs by name.
        options : onnxruntime.RunOptions or None

        Returns
        -------
        list of ndarray
            In the order of `names`.

        Raises
        ------
        MemoryError
            If memory runs out.
        BackboneError
            If the graph fails otherwise.
        """
        try:
            return [np.asarray(array) for array in self._session().run(list(names), feed, options)]
        except Exception as error:  # ONNX Runtime has a dozen classes without a common one below Exception
            raise _translated(error, self._what) from error

    def _session(self) -> onnxruntime.InferenceSession:
        """Return the session of this process with the present number of threads.

        A session's threads are started when it is made, and none of them follows into a forked process.
        """
        key = os.getpid(), self.threads
        if self._process != key[0]:
            # A thread of the parent may have held the lock when this process was forked off.
            self._process, self._lock = key[0], threading.Lock()
        if key not in self._sessions:
            with self._lock:
                if key not in self._sessions:
                    self._sessions[key] = self._load(self.threads)
        return self._sessions[key]

    def _load(self, threads: int) -> onnxruntime.InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        # Between two queries threads sleep instead of turning in circles for the next one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        provider: Any = self._provider
        if self._number:
            provider = (self._provider, {"device_id": str(self._number)})
        model = self._model if isinstance(self._model, bytes) else str(self._model)
        try:
            return onnxruntime.InferenceSession(model, options, providers=[provider])
        except Exception as error:
            raise _translated(error, self._what) from error


def _translated(error: Exception, what: str) -> Exception:
    """Return the error of ours that says what ONNX Runtime says, on one line of bounded length."""
    text = cut_text(error, 1000)
    if isinstance(error, MemoryError) or any(words in text.lower() for words in ("bad_alloc", "allocate memory")):
        return MemoryError(text[:200])
    shown = text.split(" : ")[-1] if text.startswith("[ONNXRuntimeError]") else text
    return BackboneError(f"ONNX Runtime cannot run {what}: {shown[:200]}")
