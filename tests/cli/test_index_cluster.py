"""The options of ``semret index --ray``; what a cluster does is tested in ``tests/cluster``."""

import json
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
        ("photos --ray node7", "auto", ["photos", "node7"]),
        ("--ray ./local", "auto", ["./local"]),
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


def test_no_address_at_all_is_not_the_same_as_an_empty_one(photos, tmp_path):
    result = invoke(app, "index", photos, "--index", tmp_path / "index", "--ray", "")
    assert "'' is no address of a cluster; expected local, auto, or HOST:PORT" in error_of(result)


def test_where_nothing_else_can_stand_it_is_the_address():
    assert with_address(["--ray", "node7"], takes_paths=False) == ["--ray", "node7"]
    assert with_address(["--ray", "--open"], takes_paths=False) == ["--ray", "auto", "--open"]
    assert with_address(["--open", "--ray"], takes_paths=False) == ["--open", "--ray", "auto"]
    assert with_address(["a", "--", "--ray", "b"], takes_paths=True) == ["a", "--", "--ray", "b"]


def test_without_ray_the_extra_is_named(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    result = invoke(app, "index", photos, "--index", tmp_path / "index", "--ray", "auto")
    assert "pip install 'semret[cluster]'" in error_of(result)


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

    nodes = [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}, {"Alive": True, "Resources": {"CPU": 4.0}}]
    nodes.append({"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}})
    monkeypatch.setattr(pool.ray, "nodes", lambda: nodes)
    assert pool.PoolOptions().bounds() == (8, 8)
    assert pool.PoolOptions(gpus=0.5).bounds() == (2, 2)
    assert pool.PoolOptions(least=1, most=20).bounds() == (1, 20)
    assert not caplog.records
    none_fits = (
        "computers of the cluster have 4 CPU, 0 GPU or 4 CPU, 1 GPU, an actor takes 1 CPU and 2 GPU: not one fits; "
    )
    assert pool.PoolOptions(gpus=2, most=4).bounds() == (1, 4)
    assert caplog.messages == [none_fits + "waiting for the cluster to grow"]
    with pytest.raises(ClusterError, match=f"{none_fits}ask for less$"):
        pool.PoolOptions(gpus=2, most=4).bounds(can_grow=False)
    with pytest.raises(ClusterError, match=f"{none_fits}ask for less, or give MIN:MAX actors if"):
        pool.PoolOptions(gpus=2).bounds()
    # Eight processors in all, and no computer with more than four.
    with pytest.raises(ClusterError, match="not one fits"):
        pool.PoolOptions(cpus=5).bounds()
    assert pool.PoolOptions(cpus=3).bounds() == (2, 2)


def test_a_cluster_that_does_not_answer_is_told_at_once(photos, tmp_path):
    result = invoke(app, "index", photos, "--index", tmp_path / "index", "--ray", "127.0.0.1:9")
    assert "no cluster answers at 127.0.0.1:9" in error_of(result)


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
