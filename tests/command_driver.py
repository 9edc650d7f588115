"""Run commands on indexes that may be traps; a script, started by `tests.e2e.test_planted`.

Reads jobs as JSON lines. Each runs in a fork of this process with bounded memory and time, and is answered by a line
with how it ended and what it printed. ``index`` uses the tiny backbone, every other job is the real command line.
"""

import importlib.util
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from pathlib import Path

spec = importlib.util.spec_from_file_location("semret_tests_conftest", Path(__file__).with_name("conftest.py"))
conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conftest)

import h5py  # noqa: E402, F401 - imported before forking, not in each fork

import semret.index.care.repair  # noqa: E402
import semret.index.care.transfer  # noqa: E402
import semret.retrieval.search.engine  # noqa: E402, F401
from semret.cli import app  # noqa: E402
from semret.commands import output  # noqa: E402
from semret.index.sync.report import SyncOptions  # noqa: E402
from semret.index.sync.sync import sync  # noqa: E402

MEMORY = 10 * 2**30
SECONDS = 60


def run(words):
    if words[0] == "index":
        with output.reported():
            sync(words[1], words[2:], conftest.TinyBackbone, options=SyncOptions(commit_rows=2, workers=1))
    else:
        app(words)


def child(words, stdout):
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.dup2(stdout.fileno(), 1)
    os.dup2(stdout.fileno(), 2)
    try:
        run(words)
    except SystemExit as end:
        return end.code or 0
    except BaseException as error:
        if hasattr(error, "exit_code"):
            return error.exit_code
        traceback.print_exc()
        return 70
    return 0


def perform(words):
    with tempfile.TemporaryFile() as stdout:
        process = os.fork()
        if process == 0:
            code = 71
            try:
                code = child(words, stdout)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        stdout.seek(0)
        return {"status": status, "output": stdout.read().decode("utf-8", "surrogateescape")}


for line in sys.stdin:
    sys.stdout.write(json.dumps(perform(json.loads(line))) + "\n")
    sys.stdout.flush()
