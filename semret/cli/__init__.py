"""The command line: parsing and printing, nothing else.

Each command's body imports what it runs, so that ``semret --help`` loads neither torch nor faiss. This module loads
next to nothing, so that Ctrl-C is understood from the start.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
"""As `typing` has it, which takes a while to load."""

if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from semret.cli.application import app as app

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells give it."""


def main() -> None:
    """Run the command line, as the console script ``semret`` does."""
    signal.signal(signal.SIGINT, interrupt)
    from semret.cli.process import run

    run()


def interrupt(number: int, frame: FrameType | None) -> None:
    """Answer Ctrl-C: raise KeyboardInterrupt, or leave at once while a module is being imported.

    An exception in the middle of an import surfaces as whatever the modules above make of it, or is lost.
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


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'semret.cli' has no attribute {name!r}")
    from semret.cli.application import app

    return app
