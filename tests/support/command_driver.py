"""Run commands on indexes that may be traps; a driver, started by `tests.e2e.test_planted`.

A job is the words of a command; it runs with bounded memory and time, and the answer tells how it ended and what it
printed. ``index`` uses the tiny backbone, every other job is the real command line.
"""

import os
import resource
import signal
import tempfile

import h5py  # noqa: F401 - imported before forking, not in each fork

import semret.index.care.maintain
import semret.index.care.repair
import semret.index.care.transfer
import semret.index.pictures.sources
import semret.index.summary
import semret.retrieval.search.engine  # noqa: F401
from semret.cli import app
from semret.commands import output
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.commands import invoke
from tests.support.networks import TinyBackbone
from tests.support.processes import fork, serve, status_of

MEMORY = 10 * 2**30
SECONDS = 60


def run(words):
    if words[0] == "index":
        with output.reported():
            sync(words[1], words[2:], TinyBackbone, options=SyncOptions(commit_rows=2, workers=1))
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
        raise
    return 0


def perform(words):
    with tempfile.TemporaryFile() as stdout:
        status = status_of(fork(lambda: child(words, stdout)))
        stdout.seek(0)
        return {"status": status, "output": stdout.read().decode("utf-8", "surrogateescape")}


if __name__ == "__main__":
    # What the first command of a process imports, most of all for its options, is imported for all of them.
    invoke(app, "info", "--index", os.devnull)
    serve(perform)
