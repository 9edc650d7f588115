"""The options of ``semret index --ray``; what a cluster does is tested in ``tests/cluster``."""

import functools
import json
import os
import sys
from pathlib import Path

import fsspec
import pytest

from semret.cli import app
from semret.commands.cluster_options import parse_actors
from semret.commands.ray_option import with_address
from semret.errors import ArgumentError, ClusterError
from semret.index.backbones import registry
from semret.index.sync.report import SyncOptions
from tests.support.commands import error_of, invoke


@pytest.mark.parametrize(("text", "bounds"), [(None, (None, None)), ("3", (3, 3)), ("2:8", (2, 8))])
def test_bounds_of_the_pool_are_read(text, bounds):
    assert parse_actors(text) == bounds


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--actors", "many"), "is no range of workers; write MIN:MAX"),
        (("--watch",), "does not go with --watch and --dry-run"),
        (("--dry-run",), "does not go with --watch and --dry-run"),
    ],
)
def test_options_that_mean_nothing_are_refused(photos, arguments, said):
    result = invoke(app, "index", photos, "--ray", "local", *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_addresses_are_not_watched():
    result = invoke(app, "index", "s3://bucket/photos", "--watch")
    assert result.exit_code == 2
    assert "follows folders" in result.stderr


def test_what_was_asked_for_reaches_the_cluster(photos, tmp_path, monkeypatch):
    from semret.cluster import indexing
    from semret.cluster.pool import PoolOptions
    from semret.cluster.rates import WorkerRate

    asked = {}

    def index(paths, **options):
        asked.update(options, paths=paths)
        rate = WorkerRate(node="10.0.0.2", process=7, portions=2, pictures=6, seconds=1.5)
        return indexing.ClusterReport(
            index="index", model="tiny", images=6, added=6, updated=0, renamed=0, removed=0, unchanged=0, embedded=6,
            kept=0, kept_in=(), skipped=(("a", "has 5 bytes"), ("b", "has 6 bytes")), left_out={}, seconds=3.0,
            bytes=60, workers=(rate,),
        )  # fmt: skip

    monkeypatch.setattr(indexing, "index", index)
    result = invoke(
        app, "index", "s3://bucket/photos", photos, "--index", tmp_path / "index", "--ray", "10.0.0.1:6379",
        "--actors", "1:4", "--actor-cpus", 2, "--actor-gpus", 0.5, "--batch-size", 32,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert asked["paths"] == ["s3://bucket/photos", str(photos)]
    assert (asked["address"], asked["index"]) == ("10.0.0.1:6379", tmp_path / "index")
    assert asked["pool"] == PoolOptions(least=1, most=4, cpus=2, gpus=0.5)
    assert asked["options"] == SyncOptions(batch_size=32)
    assert "worker 7 on 10.0.0.2: 2 portions, 6 embedded, 4.0 images/s while busy" in result.stderr
    assert "skipped 2 files: has N bytes" in result.stderr


@pytest.mark.parametrize(
    ("typed", "address", "paths"),
    [
        ("photos --ray", "auto", ["photos"]),
        ("--ray photos", "auto", ["photos"]),
        ("photos --ray --actors 2", "auto", ["photos"]),
        ("--ray auto photos", "auto", ["photos"]),
        ("--ray local photos", "local", ["photos"]),
        ("photos --ray 10.0.0.1:6379", "10.0.0.1:6379", ["photos"]),
        ("--ray [::1]:6379 photos", "[::1]:6379", ["photos"]),
        ("--ray=node7 photos", "node7", ["photos"]),
        ("photos --ray node7", "node7", ["photos"]),
        ("--ray s3://bucket/photos photos", "auto", ["s3://bucket/photos", "photos"]),
        ("--ray -- --ray photos", "auto", ["--ray", "photos"]),
    ],
)
def test_the_address_of_the_own_cluster_may_be_left_out(typed, address, paths, tmp_path, monkeypatch):
    from semret.cluster import indexing

    monkeypatch.chdir(tmp_path)
    for name in ("photos", "local"):
        Path(name).mkdir()
    asked = {}

    def index(paths, **options):
        asked.update(options, paths=paths)
        raise ClusterError("enough")

    monkeypatch.setattr(indexing, "index", index)
    assert "enough" in error_of(invoke(app, "index", "--index", "made", *typed.split()))
    assert (asked["address"], asked["paths"]) == (address, paths)


def test_what_follows_ray_and_exists_is_a_picture_and_no_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    assert with_address(["--ray", "photos"]) == ["--ray", "auto", "photos"]
    assert with_address(["--ray", "photo"]) == ["--ray", "photo"]
    assert with_address(["--ray", "."]) == ["--ray", "auto", "."]
    assert with_address(["--ray", "missing/photo.jpg"]) == ["--ray", "auto", "missing/photo.jpg"]
    assert with_address(["photos", "--", "--ray", "photos"]) == ["photos", "--", "--ray", "photos"]


def test_without_ray_the_extra_is_named(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    result = invoke(app, "index", photos, "--index", tmp_path / "index", "--ray", "auto")
    assert "pip install 'semret[cluster]'" in error_of(result)


def test_a_client_from_outside_is_told_where_to_go():
    from semret.cluster.connection import connected

    with pytest.raises(ArgumentError, match="ray job submit"), connected("ray://10.0.0.1:10001"):
        pass


def test_what_needs_a_folder_refuses_an_address(photos, tmp_path):
    for command in (("index", photos, "--watch"), ("index", photos, "--ray", "auto"), ("verify", "--repair")):
        result = invoke(app, *command, "--index", "s3://bucket/index")
        assert "s3://bucket/index is written by semret index (without --watch and --ray)" in error_of(result)
    result = invoke(app, "import", tmp_path / "file", "--index", "s3://bucket/index")
    assert "do this in a folder, and copy it to the store" in error_of(result)


@pytest.mark.parametrize("options", [{"least": 0}, {"least": 3, "most": 2}, {"cpus": -1.0}, {"cpus": 0.0, "gpus": 0.0}])
def test_pools_that_cannot_be_are_refused(options):
    from semret.cluster.pool import PoolOptions

    with pytest.raises(ArgumentError):
        PoolOptions(**options)


def test_a_pool_fits_the_cluster(monkeypatch, caplog):
    from semret.cluster import pool

    monkeypatch.setattr(pool.ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 1.0})
    assert pool.PoolOptions().bounds() == (8, 8)
    assert pool.PoolOptions(gpus=0.5).bounds() == (2, 2)
    assert pool.PoolOptions(least=1, most=20).bounds() == (1, 20)
    assert not caplog.records
    none_fits = "the cluster has 8 CPU, 1 GPU, an actor takes 1 CPU and 2 GPU: not one fits; "
    assert pool.PoolOptions(gpus=2, most=4).bounds() == (1, 4)
    assert caplog.messages == [none_fits + "waiting for the cluster to grow"]
    with pytest.raises(ClusterError, match=f"{none_fits}ask for less$"):
        pool.PoolOptions(gpus=2, most=4).bounds(can_grow=False)
    with pytest.raises(
        ClusterError, match="the cluster has 8 CPU, 1 GPU, an actor takes 1 CPU and 2 GPU: not one fits"
    ):
        pool.PoolOptions(gpus=2).bounds()


def test_a_cluster_that_does_not_answer_is_told_at_once(photos, tmp_path):
    result = invoke(app, "index", photos, "--index", tmp_path / "index", "--ray", "127.0.0.1:9")
    assert "no cluster answers at 127.0.0.1:9" in error_of(result)


def test_a_computer_without_a_cluster_is_told_so(monkeypatch):
    import ray
    from ray._private import services

    from semret.cluster import connection

    # Ray looks at all processes of the computer, among which may be those of other tests.
    monkeypatch.setattr(services, "find_gcs_addresses", functools.cache(lambda: set()))
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: None)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError) as told, connection.connected("auto"):
        pass
    assert str(told.value) == (
        "this computer belongs to no running Ray cluster; start one with ray start --head, name the head of another by "
        "HOST:PORT, or give local"
    )


def test_of_what_is_held_back_only_the_unwanted_is_lost(capfd):
    from semret.cluster.connection import _stderr_without

    def connect():
        with _stderr_without(b"NOISE"):
            os.write(2, b"first\nI set NOISE to 3\nsecond\n")
            assert not capfd.readouterr().err
            raise ClusterError("no cluster")

    with pytest.raises(ClusterError, match="no cluster"):
        connect()
    assert capfd.readouterr().err == "first\nsecond\n"


def test_a_level_that_was_asked_for_is_kept(monkeypatch):
    from semret.cluster.connection import _core_kept_quiet

    monkeypatch.delenv("RAY_BACKEND_LOG_LEVEL", raising=False)
    with _core_kept_quiet():
        assert os.environ["RAY_BACKEND_LOG_LEVEL"] == "fatal"
    assert "RAY_BACKEND_LOG_LEVEL" not in os.environ
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "debug")
    with _core_kept_quiet():
        assert os.environ["RAY_BACKEND_LOG_LEVEL"] == "debug"


def test_an_index_in_a_store_is_written_by_commands(photos, tmp_path, monkeypatch, tiny_backbone):
    monkeypatch.setattr(registry, "create_backbone", lambda *_, **__: tiny_backbone())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SEMRET_INDEX", "memory://commands")
    fs = fsspec.filesystem("memory")
    try:
        done = invoke(app, "index", photos, "--dry-run")
        assert done.stdout.startswith("6 images, 6 to embed, into memory://commands\n"), done.output
        assert not fs.exists("/commands")
        done = invoke(app, "index", photos)
        assert done.stdout.startswith("6 images in memory://commands: 6 added, "), done.output
        assert "6 unchanged" in invoke(app, "index", photos).stdout
        first = sorted(photos.glob("*.*"))[0]
        assert invoke(app, "remove", first).stdout == "1 removed, 5 images left in memory://commands\n"
        assert "1 row dropped" in invoke(app, "compact").stdout
        assert json.loads(invoke(app, "info", "--format", "json").stdout)["images"] == 5
        assert not fs.exists("/commands/writer.lock")
        fs.pipe_file("/commands/writer.lock", b"{}")
        for command in (("index", photos), ("remove", first), ("compact",)):
            assert "memory://commands is being written by another process" in error_of(invoke(app, *command))
    finally:
        if fs.exists("/commands"):
            fs.rm("/commands", recursive=True)
