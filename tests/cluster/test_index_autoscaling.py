"""The pool of workers grows and shrinks between its bounds, and the cluster with it, by Ray's own autoscaler."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from semret.index.care.verify import verify
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.cluster_index import OPTIONS
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw
from tests.support.places import ROOT, with_root
from tests.support.stored_rows import rows_by_path

PICTURES = 320
MOST = 2


def test_a_cluster_without_workers_grows_with_the_work_and_shrinks_after_it(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(PICTURES):
        draw(seed).save(photos / f"{seed}.png")
    # Short: sockets lie in it.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    try:
        command = [sys.executable, "-m", "tests.support.growing_cluster", photos, tmp_path / "many", folder, str(MOST)]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=ROOT, env=with_root(), timeout=280
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "many.json").read_text())

    assert told["before"] == 0
    assert max(told["counts"]) == MOST
    assert told["after"] == 0
    # One that the codec's sample went to, then one that wrote alone for some time, and the other that came to help.
    workers = told["report"]["workers"]
    assert len({rate["process"] for rate in workers}) == 1 + MOST
    assert sum(rate["pictures"] for rate in workers) == PICTURES
    # Nothing of Ray's: neither its line on arguments of workers, nor that its level was set.
    assert "core_worker" not in done.stderr
    assert "RAY_BACKEND_LOG_LEVEL" not in done.stderr

    sync(tmp_path / "one", [photos], TinyBackbone, options=SyncOptions(**OPTIONS))
    assert rows_by_path(tmp_path / "many") == rows_by_path(tmp_path / "one")
    assert verify(tmp_path / "many").sound
