"""Run index commands in processes that are killed; a driver, started by the fixture ``faults``.

A job says what to do and what goes wrong; the answer tells how it ended and the checkpoints it passed.
"""

import errno
import os
import resource
import signal
import threading
import time
from pathlib import Path

import faiss  # noqa: F401 - imported before forking, not in each fork
import h5py  # noqa: F401
import numpy as np
import scipy.linalg  # noqa: F401
import threadpoolctl  # noqa: F401

from semret.errors import SemretError
from semret.index import nearest, refresh, region_words
from semret.index.care.maintain import compact, remove
from semret.index.convert import convert
from semret.index.store import durable
from semret.index.sync.given_features import check_features
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.index.sync.sync_features import sync_features
from semret.index.writer import IndexWriter
from tests.support.networks import TinyBackbone
from tests.support.processes import Driver, fork, serve, status_of


class Faults(Driver):
    """Runs index commands in processes that may be killed."""

    def __init__(self) -> None:
        super().__init__("fault_driver")

    def __call__(self, do: str, index: Path, paths: list[Path] | None = None, **job: object) -> dict:
        """Do ``sync``, ``features``, ``remove``, ``compact`` or ``convert``; return status, checkpoints, error."""
        return super().__call__({"do": do, "index": str(index), "paths": [str(path) for path in paths or []], **job})


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
    if job.get("least_listed") is not None:
        nearest.LEAST_LISTED = refresh.LEAST_LISTED = job["least_listed"]
        region_words.LEAST_WORDED = job["least_listed"]
        refresh.LONGEST_TAIL = region_words.LONGEST_TAIL = 1
    if job["do"] == "sync":
        options = SyncOptions(
            commit_rows=job.get("commit_rows", 2),
            batch_size=job.get("batch_size", 2),
            workers=1,
            codec=job.get("codec"),
            fit_from=job.get("fit_from", 64),
        )
        sync(index, job["paths"], TinyBackbone, options=options)
    elif job["do"] == "features":
        tokens = np.random.default_rng(0).standard_normal((job["images"], 4, 8)).astype(np.float32)
        sync_features(index, check_features(tokens, None, None, job.get("ids")), codec=job.get("codec"), commit_rows=4)
    elif job["do"] == "remove":
        remove(index, job["paths"])
    elif job["do"] == "compact":
        compact(index)
    elif job["do"] == "convert":
        with IndexWriter(index) as writer:
            convert(writer, job["to"], has_text=False, fewest=1)
            writer.refresh_shortlist()


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
    process = fork(lambda: child(job, trace))
    os.close(trace)
    with os.fdopen(reading, encoding="utf-8") as lines:
        passed = lines.read().splitlines()
    status = status_of(process)
    return {
        "status": status,
        "passed": [line for line in passed if not line.startswith("! ")],
        "error": next((line[2:] for line in passed if line.startswith("! ")), None),
    }


if __name__ == "__main__":
    serve(perform)
