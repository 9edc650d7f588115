"""Run commands whose stdout is odd, or whose current folder is gone; a driver, started by `tests.cli.test_process`.

A job is the words of a command, its current ``folder`` or that it was deleted (``nowhere``), and what its stdout is:
``file`` (what is printed is in the answer), ``full`` (a disk without room), ``closed``, or ``gone`` (a pipe that
nobody reads). Each runs in a fork; stdout, where there is one, is the one that Python opened as the driver started,
with the encoding that it found in its environment. At the end a fork writes out what is still to be written, as
Python does, but takes nothing apart, which takes longer than most commands.
"""

import os
import sys
import tempfile
import traceback

import semret.index.care.repair
import semret.index.summary
import semret.index.sync.sync
import semret.retrieval.search.engine
import semret.retrieval.similarity.cka
import semret.retrieval.similarity.numpy_files  # noqa: F401 - imported before forking, not in each fork
from semret.__main__ import main
from semret.cli import app
from tests.support.commands import invoke
from tests.support.processes import fork, serve, status_of


def opened(stdout, kept):
    """Return the descriptor that is to be stdout, or None."""
    if stdout == "closed":
        return None
    if stdout == "full":
        return os.open("/dev/full", os.O_WRONLY)
    if stdout == "gone":
        reading, writing = os.pipe()
        os.close(reading)
        return writing
    return kept.fileno()


def become(job, kept, said):
    """Give this process the folder, the streams and the words of a command that a shell has just started."""
    if job["nowhere"]:
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        os.rmdir(folder)  # noqa: PTH106 - as the shell does
    elif "folder" in job:
        os.chdir(job["folder"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(said.fileno(), 2)
    descriptor = opened(job["stdout"], kept)
    if descriptor is None:
        # As Python finds it where a shell has closed it.
        sys.stdout = sys.__stdout__ = None
        os.close(1)
    else:
        os.dup2(descriptor, 1)
    sys.argv = ["semret", *job["words"]]


def run():
    """Run the command, and return its exit status; 120, as Python does, where the rest could not be written."""
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            traceback.print_exc()
            code = 120
    return code


def perform(job):
    """Run a command in a fork."""
    with tempfile.TemporaryFile() as kept, tempfile.TemporaryFile() as said:

        def child():
            become(job, kept, said)
            return run()

        status = status_of(fork(child))
        texts = []
        for file in (kept, said):
            file.seek(0)
            texts.append(file.read().decode("latin-1"))
        return {"status": status, "stdout": texts[0], "stderr": texts[1]}


if __name__ == "__main__":
    # What the first command of a process imports, most of all for its options, is imported for all of them.
    invoke(app, "models")
    serve(perform)
