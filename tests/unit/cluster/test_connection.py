"""Joining a cluster: what is said where that fails, and what Ray says by itself; no cluster is needed for it."""

import functools
import os
import socket
import threading
import time

import pytest

from semret.errors import ArgumentError, ClusterError
from tests.support.waiting import eventually


def test_a_client_from_outside_is_told_where_to_go():
    from semret.cluster.connection import connected

    with pytest.raises(ArgumentError, match="ray job submit"), connected("ray://10.0.0.1:10001"):
        pass


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


LINE = (
    b"[2026-11-26 22:36:55,383 W 17593 17593] gcs_client.cc:210: Failed to get cluster ID: InvalidAuthToken: missing\n"
)


def test_of_what_is_held_back_only_lines_of_the_core_are_lost(capfd):
    from semret.cluster.connection import _OF_THE_CORE, _stderr_without

    def connect():
        with _stderr_without(_OF_THE_CORE) as written:
            os.write(2, b"first\n" + LINE + b"[2026] second\n")
            assert not capfd.readouterr().err
            raise ClusterError(written())

    with pytest.raises(ClusterError, match=r"first\n.*InvalidAuthToken"):
        connect()
    assert capfd.readouterr().err == "first\n[2026] second\n"


@pytest.mark.parametrize(
    ("raised", "written", "said"),
    [
        ("Failed to connect to Ray cluster at 10.0.0.1:6379", LINE.decode(), "asks for its token: set RAY_AUTH_MODE"),
        (
            "Failed to connect to Ray cluster at 10.0.0.1:6379",
            "",
            "no cluster answers at 10.0.0.1:6379: Failed to conn",
        ),
        (
            "Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.13.0\n"
            "This process on node 10.0.0.1 was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n",
            "",
            "the cluster at 10.0.0.1:6379 cannot be joined: Version mismatch: The cluster was started with: Ray: "
            "2.60.0 Python: 3.13.0 This process on node 10.0.0.1 was started with: Ray: 2.60.0 Python: 3.11.7",
        ),
    ],
)
def test_why_a_cluster_is_not_joined(monkeypatch, raised, written, said):
    import ray

    from semret.cluster import connection

    def init(**_):
        os.write(2, written.encode())
        raise RuntimeError(raised)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(connection, "_require_listener", lambda _: None)
    monkeypatch.delenv("RAY_BACKEND_LOG_LEVEL", raising=False)
    with pytest.raises(ClusterError) as told, connection.connected("10.0.0.1:6379"):
        pass
    assert said in str(told.value)


def test_a_head_that_stops_answering_is_told_once(monkeypatch, caplog):
    from semret.cluster import connection

    monkeypatch.setattr(connection, "_LOOK_SECONDS", 0.01)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        head = f"127.0.0.1:{listener.getsockname()[1]}"
        ended = threading.Event()
        watcher = threading.Thread(target=connection._watch, args=(head, ended))
        watcher.start()
        # It is looked at again and again while it answers.
        for _ in range(3):
            listener.accept()[0].close()
        assert not caplog.records
    eventually(lambda: caplog.records)
    time.sleep(0.2)
    ended.set()
    watcher.join()
    assert [record.message for record in caplog.records] == [
        f"the head of the cluster, {head}, does not answer; if it stays so for a minute, this command ends, and the "
        "same command again continues"
    ]


def test_a_cluster_of_one_command_leaves_no_token_behind(monkeypatch, tmp_path):
    from semret.cluster import connection

    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    # monkeypatch puts back what is set here, too.
    monkeypatch.setenv("RAY_AUTH_TOKEN", "its own")
    connection._choose_token()
    assert os.environ["RAY_AUTH_TOKEN"] == "its own"
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of the user")
    connection._choose_token()
    assert "RAY_AUTH_TOKEN" not in os.environ
    (tmp_path / ".ray" / "auth_token").unlink()
    connection._choose_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 32


def test_a_level_that_was_asked_for_is_kept(monkeypatch):
    from semret.cluster.connection import _core_kept_quiet

    monkeypatch.delenv("RAY_BACKEND_LOG_LEVEL", raising=False)
    with _core_kept_quiet():
        assert os.environ["RAY_BACKEND_LOG_LEVEL"] == "fatal"
    assert "RAY_BACKEND_LOG_LEVEL" not in os.environ
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "debug")
    with _core_kept_quiet():
        assert os.environ["RAY_BACKEND_LOG_LEVEL"] == "debug"
