"""A terminal for commands: a pseudo-terminal, and an emulator that says what a person sees on it."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable

import pexpect
import pyte
import pytest

from tests.support.places import with_root
from tests.support.processes import command_of
from tests.support.terminals import sized

_BEFORE_ERASING = re.compile(rb"(?=\r?\x1b\[[0-3]?[JK])")
"""Where a line or more is going to be erased: on a busy machine a bar and its end may be read at once."""


class _Screen(pyte.Screen):
    """Renders only the lines that have changed: most of a high screen is empty, and stays so."""

    @property
    def display(self) -> list[str]:
        """What is on the screen."""
        lines: list[str] = self.__dict__.setdefault("_rendered", [" " * self.columns] * self.lines)
        for row in self.dirty:
            # Behind a wide character there is a cell of no characters.
            lines[row] = "".join(self.buffer[row][column].data for column in range(self.columns))
        self.dirty.clear()
        return lines


class Terminal:
    """A command under a pseudo-terminal of so many columns; `seen` gathers every different screen."""

    def __init__(self, command: list[str], columns: int, **options: object) -> None:
        self._screen = _Screen(columns, 300)
        self._stream = pyte.ByteStream(self._screen)
        self.seen: list[str] = []
        first, *rest = sized(command, 300, columns)
        self.child = pexpect.spawn(first, rest, dimensions=(300, columns), timeout=60, **options)

    @property
    def screen(self) -> str:
        """What is on the screen now, without the blanks at the ends of lines."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    @property
    def hidden_cursor(self) -> bool:
        """Whether the cursor is hidden, as while a bar is drawn."""
        return bool(self._screen.cursor.hidden)

    def _read(self) -> bool:
        """Take what the command has written; False once it has ended."""
        try:
            written = self.child.read_nonblocking(4096, timeout=0.2)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        for piece in _BEFORE_ERASING.split(written):
            self._stream.feed(piece)
            if not self.seen or self.screen != self.seen[-1]:
                self.seen.append(self.screen)
        return True

    def wait_for(self, found: str | Callable[[str], object], seconds: float = 60) -> None:
        """Read until the screen holds a text."""
        test = found if callable(found) else lambda screen: found in screen
        limit = time.monotonic() + seconds
        while not test(self.screen):
            assert self._read(), f"ended before {found}:\n{self.screen}"
            assert time.monotonic() < limit, f"no {found} on\n{self.screen}"

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.child.sendintr()

    def end(self) -> int:
        """Read to the end; return the exit status, 128 and the signal's number where a signal ended it."""
        while self._read():
            pass
        self.child.close()
        assert "Traceback" not in "\n".join(self.seen), self.screen
        return 128 + self.child.signalstatus if self.child.exitstatus is None else self.child.exitstatus


@pytest.fixture(params=[40, 120])
def columns(request) -> int:
    """The widths of a terminal."""
    return request.param


@pytest.fixture
def terminal(tmp_path, columns):
    """Start ``semret`` in a terminal: ``terminal("info")``; `load` and `embed` are seconds that the network takes.

    With ``tiny=False`` it is the command as it is installed.
    """
    started: list[Terminal] = []
    environment = {key: value for key, value in os.environ.items() if key not in ("SEMRET_INDEX", "NO_COLOR", "CI")}
    # Named, for there may be another index somewhere above.
    environment |= {"TERM": "xterm-256color", "COLUMNS": "", "LINES": "", "SEMRET_INDEX": ".semret"}

    def start(*arguments: object, load: float = 0, embed: float = 0, tiny: bool = True, width: int = columns):
        semret = [*command_of("cli_driver"), str(load), str(embed)] if tiny else [sys.executable, "-m", "semret"]
        started.append(Terminal([*semret, *map(str, arguments)], width, cwd=str(tmp_path), env=with_root(environment)))
        return started[-1]

    yield start
    for one in started:
        one.child.close(force=True)
