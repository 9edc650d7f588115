"""Pseudo-terminals that have their size before the program in them starts."""

from __future__ import annotations

import fcntl
import struct
import termios
from collections.abc import Callable


def sized(rows: int, columns: int, cell: tuple[int, int] = (0, 0)) -> Callable[[], None]:
    """Return what `pexpect.spawn` is to run in the child first.

    Its own ``dimensions`` are set by the parent after the program has begun, which on a busy machine may be too late.
    `cell` is the width and height of a character in pixels.
    """
    size = struct.pack("HHHH", rows, columns, columns * cell[0], rows * cell[1])

    def set_size() -> None:
        fcntl.ioctl(0, termios.TIOCSWINSZ, size)

    return set_size
