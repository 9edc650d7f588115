"""Ctrl-C, from the first moment on; this module loads next to nothing."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
"""Stands for `typing.TYPE_CHECKING`, since `typing` takes a while to load."""

if TYPE_CHECKING:
    from types import FrameType

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells give it."""


def watch() -> None:
    """Answer Ctrl-C by `interrupt` from now on."""
    signal.signal(signal.SIGINT, interrupt)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Answer Ctrl-C: raise KeyboardInterrupt, or leave at once while a module is being imported.

    An exception in the middle of an import would be turned into another one by the modules that import, or be lost.

    Parameters
    ----------
    number : int
        Of the signal.
    frame : frame or None
        What was running when the signal came.

    Raises
    ------
    KeyboardInterrupt
        Where no import is under way.
    """
    del number
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            leave_interrupted()
        frame = frame.f_back
    raise KeyboardInterrupt


def leave_interrupted() -> None:
    """End the process at once, with the cursor shown again if a progress bar had hidden it."""
    if os.isatty(2):
        os.write(2, b"\x1b[?25h\n")
    os._exit(INTERRUPTED)
