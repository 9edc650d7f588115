"""The pool of workers grows and shrinks between its bounds, and the cluster with it, by Ray's own autoscaler."""

from __future__ import annotations

import json

from semret.index.care.verify import verify
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.cluster_index import OPTIONS
from tests.support.networks import TinyBackbone
from tests.support.stored_rows import rows_by_path


def test_a_cluster_without_workers_grows_with_the_work_and_shrinks_after_it(growing):
    assert growing.process.wait(280) == 0, growing.said()
    told = json.loads(growing.index.with_name("many.json").read_text())

    assert told["before"] == 0
    assert max(told["counts"]) == growing.most
    assert told["after"] == 0
    # One that the codec's sample went to, then one that wrote alone for some time, and the other that came to help.
    workers = told["report"]["workers"]
    assert len({rate["process"] for rate in workers}) == 1 + growing.most
    assert sum(rate["pictures"] for rate in workers) == growing.pictures
    # Nothing of Ray's: neither its line on arguments of workers, nor that its level was set.
    assert "core_worker" not in growing.said()
    assert "RAY_BACKEND_LOG_LEVEL" not in growing.said()

    alone = growing.index.with_name("one")
    sync(alone, [growing.photos], TinyBackbone, options=SyncOptions(**OPTIONS))
    assert rows_by_path(growing.index) == rows_by_path(alone)
    assert verify(growing.index).sound
