"""Processes of tests: a driver is a script of this folder that does one job after another, each in a fork of itself.

A job is a line of JSON on its stdin, the answer a line on its stdout. Forks start from a process that has imported
everything and has one thread: they are quick, and may be killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.places import with_root


def command_of(driver: str) -> list[str]:
    """Return the command line of a module of this folder; it needs the environment `with_root`."""
    # -P: the folder in which it is started is not searched for modules, as with the installed command.
    return [sys.executable, "-P", "-m", f"tests.support.{driver}"]


class Driver:
    """A running driver: call it with a job for the answer."""

    def __init__(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command_of(name), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=with_root(environment)
        )

    def __call__(self, job: object) -> Any:
        """Have a job done, and return the answer."""
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the driver."""
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def serve(perform: Callable[[Any], object]) -> None:
    """Answer jobs until stdin ends; the main function of a driver."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(perform(json.loads(line))) + "\n")
        sys.stdout.flush()


def fork(work: Callable[[], int]) -> int:
    """Run a function in a fork of this process, which ends with the status it returns; return the fork's id.

    What it raises is printed, and gives the status 70.
    """
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # it may have closed them
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def status_of(process: int) -> int:
    """Wait for a fork to end; return its exit status, or less than 0 for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
