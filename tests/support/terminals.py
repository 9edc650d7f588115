"""Programs that start once their pseudo-terminal has its size.

`pexpect.spawn` sets the size after the program has begun, which on a busy machine may be too late.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

_WAIT = """
import fcntl, os, struct, sys, termios, time
rows, columns, wide, high = map(int, sys.argv[1:5])
while struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))[:2] != (rows, columns):
    time.sleep(0.001)
fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, columns * wide, rows * high))
os.execv(sys.argv[5], sys.argv[5:])
"""


def sized(command: Sequence[str], rows: int, columns: int, cell: tuple[int, int] = (0, 0)) -> list[str]:
    """Return a command that waits for these ``dimensions`` of `pexpect.spawn`, then runs another in its place.

    `cell` is the width and height of a character in pixels; the first word of `command` is a path.
    """
    size = map(str, (rows, columns, *cell))
    return [sys.executable, "-ISc", _WAIT, *size, *command]
