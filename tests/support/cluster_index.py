"""Indexing on a cluster in a process of its own, which loses a node or is killed on the way.

python -m tests.support.cluster_index lose-node PHOTOS INDEX DONE
python -m tests.support.cluster_index die PHOTOS INDEX DONE ADDRESS
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from tests.support.networks import TinyBackbone

OPTIONS = {"commit_rows": 8, "batch_size": 4, "codec": "none"}


class SlowBackbone(TinyBackbone):
    """Takes its time, so that something can happen meanwhile."""

    def embed(self, batch):
        time.sleep(0.03 * len(batch))
        return super().embed(batch)


def main(what, photos, index_folder, at, address=None):
    import ray

    from semret.cluster.indexing import index
    from semret.index.sync.report import SyncOptions
    from tests.cluster.conftest import start_cluster, stop_cluster

    happened = []

    def progress(done, total):
        if what == "index" or done < int(at) or happened:
            return
        happened.append(done)
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)

    cluster = start_cluster(1) if address is None else None
    try:
        report = index(
            photos,
            index=index_folder,
            address=address or "auto",
            load=SlowBackbone,
            options=SyncOptions(**OPTIONS),
            progress=progress,
        )
        alive = sum(node["Alive"] for node in ray.nodes()) if ray.is_initialized() else None
        outcome = {"report": report.as_json(), "alive": alive, "happened": happened}
        Path(f"{index_folder}.json").write_text(json.dumps(outcome))  # Ray prints, too
    finally:
        if cluster is not None:
            stop_cluster(cluster)


if __name__ == "__main__":
    main(*sys.argv[1:])
