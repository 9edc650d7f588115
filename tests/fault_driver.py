"""Run index commands in processes that are killed; a script, started by the fixture ``faults``.

Reads jobs as JSON lines. Each runs in a fork of this process, which has nothing but one thread, and is answered by a
line with how it ended and the checkpoints it passed.
"""

import errno
import importlib.util
import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

spec = importlib.util.spec_from_file_location("semret_tests_conftest", Path(__file__).with_name("conftest.py"))
conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conftest)

import h5py  # noqa: E402, F401 - imported before forking, not in each fork

from semret.errors import SemretError  # noqa: E402
from semret.index.care.maintain import compact, remove  # noqa: E402
from semret.index.store import durable  # noqa: E402
from semret.index.sync.build import SyncOptions, sync  # noqa: E402


def set_trap(job, trace):
    passed = 0

    def checkpoint(label):
        nonlocal passed
        passed += 1
        os.write(trace, f"{label}\n".encode())
        if passed == job.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if passed == job.get("fail_at"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    durable.checkpoint = checkpoint
    if job.get("largest_file") is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"], job["largest_file"]))
    if job.get("kill_after") is not None:
        delay = job["kill_after"]

        def strike():
            time.sleep(delay)
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=strike, daemon=True).start()


def run(job):
    index = Path(job["index"])
    if job["do"] == "sync":
        options = SyncOptions(commit_rows=job.get("commit_rows", 2), batch_size=job.get("batch_size", 2), workers=1)
        sync(index, job["paths"], conftest.TinyBackbone, options=options)
    elif job["do"] == "remove":
        remove(index, job["paths"])
    elif job["do"] == "compact":
        compact(index)


def child(job, trace):
    try:
        set_trap(job, trace)
        run(job)
    except SemretError as error:
        os.write(trace, f"! {type(error).__name__}: {error}\n".encode())
        return 1
    return 0


def perform(job):
    reading, trace = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        code = 70
        try:
            code = child(job, trace)
        finally:
            os._exit(code)
    os.close(trace)
    with os.fdopen(reading, encoding="utf-8") as lines:
        passed = lines.read().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return {
        "status": status,
        "passed": [line for line in passed if not line.startswith("! ")],
        "error": next((line[2:] for line in passed if line.startswith("! ")), None),
    }


for line in sys.stdin:
    sys.stdout.write(json.dumps(perform(json.loads(line))) + "\n")
    sys.stdout.flush()
