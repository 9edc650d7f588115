"""The process around a command: its streams, its log, and how it ends."""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from semret.commands.interrupt import INTERRUPTED, interrupt, leave_interrupted
from semret.commands.output import say

_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EINVAL}


class _Handler(logging.StreamHandler[Any]):
    """Writes to the current `sys.stderr`: while a progress bar is drawn, that prints above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return what is printed; of other libraries one line, for what they fail with becomes an error of ours."""
        if record.name.partition(".")[0] == "semret":
            return super().format(record)
        return f"semret: {' '.join(record.getMessage().split())}"


def run(app: Callable[[], object]) -> NoReturn:
    """Run the command that was typed, and end the process.

    Parameters
    ----------
    app : callable
        The application; raises SystemExit with the exit status.
    """
    _prepare_streams()
    # Python gives signals back to the system while it ends, and that would kill a process whose work is done.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(format="semret: %(message)s", level=logging.ERROR, handlers=[_Handler()])
    logging.getLogger("semret").setLevel(logging.WARNING)
    # It prints messages about downloads by itself; without this they would appear twice.
    logging.getLogger("huggingface_hub").propagate = False
    # Whatever it raises, it has logged before, more than once.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    status, sound = _status(app)
    # Only Python's own cleaning up is left, which an interrupt would disturb.
    signal.signal(signal.SIGINT, lambda *_: leave_interrupted())
    if sound and status != INTERRUPTED:
        sys.exit(status)
    # sys.exit would try once more to write what could not be written, and wait for threads that are not needed.
    os._exit(status)


@contextlib.contextmanager
def stopped_by_interrupt(*, terminate: bool = False) -> Iterator[threading.Event]:
    """Let work end by itself when Ctrl-C is pressed; pressed a second time, it ends the program at once.

    Parameters
    ----------
    terminate : bool
        Whether SIGTERM, too, lets it end by itself.

    Yields
    ------
    threading.Event
        Set once Ctrl-C was pressed. In a thread other than the main one, which gets no signals, it never is.
    """
    pressed = threading.Event()

    def press(number: int, frame: Any) -> None:
        del number, frame
        pressed.set()
        signal.signal(signal.SIGINT, interrupt)
        say("semret: finishing what was begun; press Ctrl-C again to stop at once")

    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    before = signal.signal(signal.SIGINT, press)
    former = signal.signal(signal.SIGTERM, lambda *_: pressed.set()) if terminate else None
    try:
        yield pressed
    except KeyboardInterrupt:
        # Python's own way out would wait for the passes that are under way, which may take minutes.
        leave_interrupted()
    finally:
        signal.signal(signal.SIGINT, before)
        if terminate:
            signal.signal(signal.SIGTERM, former)


def _status(app: Callable[[], object]) -> tuple[int, bool]:
    """Return the exit status of the command, and whether its output could be written."""
    stdout = sys.stdout
    try:
        status = _run_command(app)
        stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED, True
    except BrokenPipeError:
        return 0, False
    except OSError as error:
        # Errors of a command's own files have become errors of semret: this one most likely came while printing.
        what = error.filename or ("cannot write the output" if error.errno in _OF_WRITING else "failed")
        say(f"semret: {what}: {error.strerror}")
        return 1, False
    # typer replaces stdout when the program that reads it (head, less) has ended; that is not an error.
    return (status, True) if sys.stdout is stdout else (0, False)


def _run_command(app: Callable[[], object]) -> int:
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _prepare_streams() -> None:
    """Open closed standard streams to the null device, and let the others take any text.

    Otherwise a file that is opened later could get the number of a closed stream, and printed text would go into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - open as long as the process
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
