"""What other libraries log while a command runs is no more than a line, and no traceback."""

from __future__ import annotations

import subprocess
import sys

_COMMAND = """
import logging
from semret.commands.process import run
def app():
    try:
        raise OSError("refused")
    except OSError:
        logging.getLogger("gcsfs").exception("out of retries")
        logging.getLogger("another.library").exception("it failed\\nin two lines")
        logging.getLogger("semret.server").exception("ours")
run(app)
"""


def test_failures_of_others_are_lines():
    done = subprocess.run([sys.executable, "-c", _COMMAND], capture_output=True, text=True, timeout=60, check=True)
    lines = done.stderr.splitlines()
    assert lines[:2] == ["semret: it failed in two lines", "semret: ours"]
    assert lines[2].startswith("Traceback")
    assert lines[-1] == "OSError: refused"
