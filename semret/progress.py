"""Callbacks that report the progress of long work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from semret.errors import ArgumentError, cut_text

Progress = Callable[[int, int], None]
"""Called with the number of items done and their total: first with 0, as soon as the total is known."""


class Display(Protocol):
    """A `Progress` that can also show what is waited for; elsewhere any function of two numbers will do."""

    def __call__(self, done: int, total: int, /) -> None:
        """Show that so many items are done."""

    def wait_for(self, what: str | None, /) -> None:
        """Show what is waited for; None when that is over.

        Parameters
        ----------
        what : str or None
        """


@contextlib.contextmanager
def waiting_for(what: str, progress: Progress | Display | None) -> Iterator[None]:
    """Show what is waited for in a ``with`` block, such as ``loading clip``.

    Parameters
    ----------
    what : str
    progress : Progress, Display or None
        Shows it if it is a `Display`.

    Yields
    ------
    None
    """
    tell: Callable[[str | None], None] | None = getattr(progress, "wait_for", None)
    if tell is None:
        yield
        return
    tell(what)
    try:
        yield
    finally:
        tell(None)


@contextlib.contextmanager
def told(progress: Progress | bool | None, label: str) -> Iterator[Progress | None]:
    """Give what is to be called with progress, in a ``with`` block; for True that is a bar on stderr.

    Parameters
    ----------
    progress : callable, bool or None
        False and None tell nobody.
    label : str
        Of the bar.

    Yields
    ------
    callable or None

    Raises
    ------
    ArgumentError
        If it is neither.
    """
    if not isinstance(progress, bool):
        if progress is not None and not callable(progress):
            raise ArgumentError(f"progress is {cut_text(repr(progress))}, expected True, or a function of two numbers")
        yield progress
    elif not progress:
        yield None
    else:
        # Here to keep start-up light: few ask for a bar.
        from tqdm import tqdm  # type: ignore[import-untyped]

        with tqdm(desc=label) as bar:

            def tell(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield tell


Drawer = Callable[[str], "AbstractContextManager[Display | None]"]
"""Draws a bar of a label while a ``with`` block lasts; gives None where it draws none."""

_drawers: list[Drawer] = []
"""Of this process, which has one terminal; the last one draws."""


@contextlib.contextmanager
def rare_waits_drawn(drawer: Drawer) -> Iterator[None]:
    """While a ``with`` block lasts, have a bar drawn when something is waited for that seldom is: see `rare_wait`.

    Parameters
    ----------
    drawer : callable
        Called only then: a command that nearly never waits need not get a bar ready.

    Yields
    ------
    None
    """
    _drawers.append(drawer)
    try:
        yield
    finally:
        _drawers.remove(drawer)


@contextlib.contextmanager
def rare_wait(what: str) -> Iterator[bool]:
    """Show what is waited for, seldom and deep down: what is made once per installation, by whoever needs it first.

    Parameters
    ----------
    what : str

    Yields
    ------
    bool
        Whether it is shown; else it should be said in another way.
    """
    if not _drawers:
        yield False
        return
    with _drawers[-1](what) as display:
        yield display is not None
