"""Indexing on a cluster that grows with the work, in a process of its own.

python -m tests.support.growing_cluster PHOTOS INDEX FOLDER MOST
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path

from tests.support.cluster_index import OPTIONS
from tests.support.networks import TinyBackbone

_HEAD = "f" * 51 + "00000"
_STORE_BYTES = 100 * 2**20
_SHRINKS_WITHIN_SECONDS = 60


class VerySlowBackbone(TinyBackbone):
    """Takes so long that a second node is worth it: Ray Data looks at the last ten seconds."""

    def embed(self, batch):
        time.sleep(0.15 * len(batch))
        return super().embed(batch)


def description(address, most):
    """Return what an autoscaler is told: a head that does no work, and up to so many nodes of one processor.

    Its nodes are processes of this computer, which Ray's own provider for tests starts and ends. That one is named as
    somebody else's, for Ray looks for a file of defaults of its own providers, which is not part of its package.
    """
    lists = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    node = {"resources": {"CPU": 1, "object_store_memory": _STORE_BYTES}, "node_config": {}}
    return {
        "cluster_name": "grows",
        "max_workers": most,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address,
            "head_node_id": _HEAD,
            "launch_multiple": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {**node, "min_workers": 0, "max_workers": most},
        },
        "head_node_type": "ray.head.default",
        "idle_timeout_minutes": 0.05,
        "upscaling_speed": 10,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "cluster_synced_files": [],
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{name}_commands": [] for name in lists},
    }


def start(folder, most):
    """Start the head."""
    # Ray Data asks for more at most this often, the autoscaler decides this often (ten and five seconds by default).
    os.environ |= {"RAY_DATA_MIN_GAP_BETWEEN_AUTOSCALING_REQUESTS": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    only_the_head = {"RAY_CLOUD_INSTANCE_ID": _HEAD, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD}
    os.environ |= {"RAY_TMPDIR": str(folder), "RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "1", **only_the_head}
    import ray
    from ray.cluster_utils import Cluster

    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    described = folder / "cluster.json"
    described.write_text(json.dumps(description(f"{ray.util.get_node_ip_address()}:{port}", most)))
    own = folder / "ray"
    own.mkdir()
    arguments = {"num_cpus": 0, "object_store_memory": _STORE_BYTES, "include_dashboard": False, "temp_dir": str(own)}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={**arguments, "gcs_server_port": port, "autoscaling_config": str(described)},
    )
    for name in only_the_head:
        del os.environ[name]
    return cluster


def main(photos, index_folder, folder, most):
    from tests.cluster import conftest  # noqa: F401 - what Ray reads when it is imported

    cluster = start(Path(folder), int(most))
    import ray

    from semret.cluster.connection import connected
    from semret.cluster.indexing import index
    from semret.cluster.pool import PoolOptions
    from semret.index.sync.report import SyncOptions

    def nodes():
        return sum(node["Alive"] for node in ray.nodes()) - 1

    counts = []
    ended = threading.Event()

    def watch():
        while not ended.wait(0.3):
            counts.append(nodes())

    def run():
        before = nodes()
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            report = index(
                photos,
                index=index_folder,
                load=VerySlowBackbone,
                options=SyncOptions(**OPTIONS),
                pool=PoolOptions(least=1, most=int(most)),
            )
            until = time.monotonic() + _SHRINKS_WITHIN_SECONDS
            while nodes() and time.monotonic() < until:
                time.sleep(0.3)
        finally:
            ended.set()
            watcher.join()
        outcome = {"report": report.as_json(), "before": before, "counts": counts, "after": nodes()}
        Path(f"{index_folder}.json").write_text(json.dumps(outcome))  # Ray prints, too

    try:
        with connected(cluster.address):
            run()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
