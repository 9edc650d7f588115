"""Real Ray on this machine: a cluster of several local nodes, small, quiet, and gone afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.support.places import with_root

# Ray reads these when it is imported, and its daemons when they start.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# How full the machine is that runs the tests is nobody's business: no worker is killed for it.
os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
# Workers would give way to everything else: here to the other process that runs tests.
os.environ.setdefault("RAY_worker_niceness", "0")

STORE_BYTES = 100 * 2**20
_NOTICED_SOON = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}
_HERE = Path(__file__).parent
_WARNINGS = (
    # Ray's own: sockets and processes that it leaves to the collector, and what it calls of other packages.
    "ignore::ResourceWarning",
    "ignore::DeprecationWarning:ray",
    "ignore::FutureWarning:ray",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def pytest_collection_modifyitems(items):
    """Let tests of this folder pass warnings that are Ray's."""
    for item in items:
        if _HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.slow)
            for line in _WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(line))


def start_cluster(workers):
    """Start a head and so many other nodes of one processor each, and connect to them.

    Parameters
    ----------
    workers : int

    Returns
    -------
    ray.cluster_utils.Cluster
        `stop_cluster` ends it.
    """
    import ray
    from ray.cluster_utils import Cluster

    # Short: sockets lie in it, and their paths may not be long. Ray's own folder names the cluster of this computer,
    # which is somebody else's; a head that is given another one expects it to be there.
    folder = tempfile.mkdtemp(prefix="ray-")
    before = dict(os.environ)
    # Processes of other drivers than this one import semret as well.
    os.environ |= {"PYTHONPATH": with_root()["PYTHONPATH"], "RAY_TMPDIR": folder}
    own = Path(folder) / "ray"
    own.mkdir()
    head = {"include_dashboard": False, "_system_config": dict(_NOTICED_SOON), "temp_dir": str(own)}
    cluster = Cluster(initialize_head=True, head_node_args={**node_arguments(), **head})
    cluster.folder, cluster.before = folder, before
    try:
        for _ in range(workers):
            cluster.add_node(**node_arguments())
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR", namespace="tests")
    except BaseException:
        stop_cluster(cluster)
        raise
    return cluster


def stop_cluster(cluster):
    """End a cluster, and remove what it wrote."""
    import ray

    ray.shutdown()
    cluster.shutdown()
    os.environ.clear()
    os.environ.update(cluster.before)
    shutil.rmtree(cluster.folder, ignore_errors=True)


def node_arguments():
    """Return what every node is started with."""
    return {"num_cpus": 1, "object_store_memory": STORE_BYTES}


@pytest.fixture(scope="package")
def ray_cluster():
    """A cluster of three local nodes, connected to. A test that takes a node away adds one again."""
    cluster = start_cluster(2)
    yield cluster
    stop_cluster(cluster)
