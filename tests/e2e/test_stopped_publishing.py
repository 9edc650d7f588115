"""A run that writes to an object store and is told to end gives its lock back, and publishes what it has."""

import os
import signal
import subprocess

import pytest

from semret.index.store.elsewhere import fetch_index
from semret.index.store.object_folder import ObjectFolder
from tests.support.object_store import BUCKET, object_store
from tests.support.pictures import draw_into
from tests.support.places import with_root
from tests.support.processes import command_of
from tests.support.stored_rows import rows_by_path

ADDRESS = f"s3://{BUCKET}/index"

MANY = 200
"""So many that a run takes half a minute, however long its first signal is under way."""


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_a_run_that_is_stopped_gives_its_lock_back(tmp_path, monkeypatch, signals):
    draw_into(tmp_path / "photos", range(MANY))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ["0", "0.5", "index", str(tmp_path / "photos"), "--index", ADDRESS, "--batch-size", "4", "--codec", "none"]
    with object_store(monkeypatch):
        there = ObjectFolder(ADDRESS)
        status, said = _stop([*command_of("cli_driver"), *words], signals, there)
        assert status == 130
        assert there.read("writer.lock", 4096) is None
        if signals == [signal.SIGTERM]:
            assert 0 < len(rows_by_path(fetch_index(ADDRESS))) < MANY
        else:
            assert "press Ctrl-C again" in said
            assert there.read("state.json", 2**25) is None


def _stop(command, signals, there):
    """Send signals to a command that embeds, each after what it says to the one before; return its status and words."""
    environment = with_root(os.environ) | {"SEMRET_TESTS_TELL": "1"}
    said = ""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "embedding\n"
        assert there.read("writer.lock", 4096) is not None
        for number in signals:
            process.send_signal(number)
            said = said or (process.stderr.readline() if number == signal.SIGINT else "")
        _, rest = process.communicate(timeout=60)
    return process.returncode, said + rest
