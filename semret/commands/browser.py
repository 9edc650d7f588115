"""Writes a page, and shows it in the browser."""

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
from semret.outputs import replaced


def give_page(page: str, file: Path | None, *, shown: bool = False) -> None:
    """Write a page whole or not at all, and show it in the browser or say where it is.

    Parameters
    ----------
    page : str
    file : Path or None
        A page that is there already is replaced; None makes a temporary file.
    shown : bool
        Whether it is opened in the browser.

    Raises
    ------
    StorageError
        If it cannot be written. A page that was there before then is as it was.
    """
    place = _new_page() if file is None else file
    try:
        with replaced(place) as stream:
            stream.write(page.encode("utf-8"))
    except OSError as error:
        raise StorageError(f"cannot write {place}: {error.strerror}; choose another file with --html") from error
    if shown:
        _show_page(place)
    else:
        say(f"semret: page written to {printable(str(place))}")


def _new_page() -> Path:
    """Make an empty file, readable for its owner alone: it will hold pictures. It stays, for the browser to read."""
    try:
        handle, name = tempfile.mkstemp(prefix="semret-", suffix=".html")
    except OSError as error:
        raise StorageError(f"cannot make a temporary file: {error.strerror}; name one with --html") from error
    os.close(handle)
    return Path(name)


def _show_page(file: Path) -> None:
    """Open a page in the browser, or say where it is if there is none."""
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
