"""What is refused before anything is started: numbers of shards, options without a cluster, a cluster that is none."""

from __future__ import annotations

import os
import subprocess

import pytest

from semret.cli import app
from semret.errors import ArgumentError
from tests.support.commands import invoke
from tests.support.places import with_root
from tests.support.processes import command_of


@pytest.mark.parametrize(
    ("numbers", "line"),
    [
        ({"shards": 0}, "shards is 0, expected at least 1"),
        ({"copies": -1}, "copies is -1, expected at least 1"),
        ({"fronts": 0}, "fronts is 0, expected at least 1"),
        ({"cpus": -1}, "cpus is -1, expected a number of processors"),
        ({"front_cpus": float("nan")}, "front_cpus is nan, expected a number of processors"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(numbers, line):
    from semret.cluster.front import Layout

    with pytest.raises(ArgumentError, match=line):
        Layout(**numbers)


@pytest.mark.parametrize("numbers", [{"count": 0}, {"count": 1, "replicas": 0}, {"count": 1, "cpus": -1}])
def test_shards_that_cannot_be_are_refused(numbers):
    from semret.cluster.shards import Shards

    with pytest.raises(ArgumentError, match="expected at least one shard"):
        Shards(**numbers)


@pytest.mark.parametrize("option", ["--shards", "--shard-copies", "--shard-cpus", "--replicas"])
def test_options_of_a_cluster_need_one(tiny_index, option):
    result = invoke(app, "serve", "--index", tiny_index, option, 2)
    assert result.exit_code == 2
    assert "is about a cluster; give --ray as well" in " ".join(result.output.replace("│", " ").split())


def test_a_cluster_that_is_not_there_is_one_line(tiny_index):
    command = [*command_of("cli_driver"), "0", "0", "serve", "--index", str(tiny_index), "--port", "0"]
    given = {"env": with_root(os.environ), "text": True, "stderr": subprocess.PIPE, "timeout": 120}
    for address, line in (
        ("127.0.0.1:1", "semret: no cluster answers at 127.0.0.1:1: "),
        ("nonsense", "semret: 'nonsense' is no address of a cluster; expected local, auto, or HOST:PORT of its head"),
        ("ray://127.0.0.1:1", "semret: ray://127.0.0.1:1 is for clients from outside"),
    ):
        found = subprocess.run([*command, "--ray", address], check=False, **given)
        assert found.returncode == 1
        assert found.stderr.startswith(line)
        assert found.stderr.count("\n") == 1
