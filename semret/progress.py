"""Callbacks that report the progress of long work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

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
