"""Shows a page in the browser."""

from __future__ import annotations

import os
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from semret.commands.output import printable, say
from semret.errors import StorageError


def new_page() -> Path:
    """Make an empty file for a page that nobody named; it stays, for the browser reads it when it likes.

    Returns
    -------
    Path
        Readable for its owner alone: it will hold pictures.

    Raises
    ------
    StorageError
        If there is no folder for temporary files.
    """
    try:
        handle, name = tempfile.mkstemp(prefix="semret-", suffix=".html")
    except OSError as error:
        raise StorageError(f"cannot make a temporary file: {error.strerror}; name one with --html") from error
    os.close(handle)
    return Path(name)


def show_page(file: Path) -> None:
    """Open a page in the browser, or say where it is if there is none.

    Parameters
    ----------
    file : Path
    """
    with _apart_from_results():
        opened = _has_screen() and _open(file.absolute().as_uri())
    there = printable(str(file))
    say(f"semret: {there} is opened in the browser" if opened else f"semret: found no browser; the page is {there}")


def _open(address: str) -> bool:
    try:
        return webbrowser.open(address)
    except (webbrowser.Error, OSError):
        return False


def _has_screen() -> bool:
    """Tell whether a browser could show anything; one for the terminal shows no pictures, and takes it over."""
    if os.name != "posix" or sys.platform == "darwin":
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


@contextmanager
def _apart_from_results() -> Iterator[None]:
    """Send what a browser prints to stderr: stdout is for results."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):
            os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
