"""Real Ray on this machine: a cluster of several local nodes, small, quiet, and gone afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.pictures import age, draw_into
from tests.support.places import ROOT, with_root

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
_AUTOSCALING = "test_index_autoscaling.py"
_WARNINGS = (
    # Ray's own: sockets and processes that it leaves to the collector, and what it calls of other packages.
    "ignore::ResourceWarning",
    "ignore::DeprecationWarning:ray",
    "ignore::FutureWarning:ray",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def pytest_collection_modifyitems(items):
    """Let tests of this folder pass warnings that are Ray's; the one that waits for `growing` comes last."""
    places = [place for place, item in enumerate(items) if _HERE in Path(item.path).parents]
    ours = sorted((items[place] for place in places), key=lambda item: item.path.name == _AUTOSCALING)
    for place, item in zip(places, ours, strict=True):
        items[place] = item
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


@pytest.fixture(scope="package", autouse=True)
def growing(request, tmp_path_factory):
    """Start to index on a cluster that grows, which mostly waits: the first test starts it, the last looks at it.

    What there is: `process`, the folder `photos` of so many `pictures`, `most` nodes, the `index` that is written, and
    what was `said` on stderr so far. None where its test is not to be run.
    """
    if not any(item.path.name == _AUTOSCALING for item in request.session.items):
        yield None
        return
    place, pictures, most = tmp_path_factory.mktemp("growing"), 320, 2
    draw_into(place / "photos", range(pictures))
    # The last test makes another index of them, minutes later, which would hold stamps that this one did not.
    age(place / "photos")
    # Short: sockets lie in it.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    command = [
        sys.executable,
        "-m",
        "tests.support.growing_cluster",
        place / "photos",
        place / "many",
        folder,
        str(most),
    ]
    with (place / "said").open("w") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, cwd=ROOT, env=with_root())
    yield SimpleNamespace(
        process=process, pictures=pictures, most=most, photos=place / "photos", index=place / "many",
        said=lambda: (place / "said").read_text(encoding="utf-8"),
    )  # fmt: skip
    process.kill()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
