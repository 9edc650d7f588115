"""Storing given features, killed at every step: nothing committed is lost, and the same call completes it."""

import signal

import numpy as np
import pytest

import semret


def stored(index):
    if not (index / "manifest.json").exists():
        return {}
    with semret.open_index(index) as engine:
        return dict(zip(engine.ids.tolist(), map(bytes, engine.tokens()), strict=True))


@pytest.mark.parametrize("job", [{"images": 10}, {"images": 10, "ids": list(range(20, 30))}], ids=["counted", "ids"])
def test_a_kill_at_every_step_loses_nothing_committed(tmp_path, faults, job):
    done = faults("features", tmp_path / "count", **job)
    expected = stored(tmp_path / "count")
    assert len(expected) == 10
    assert done["passed"].count("segment:written") == 3
    for step in range(1, len(done["passed"]) + 1):
        index = tmp_path / f"killed-{step}"
        assert faults("features", index, kill_at=step, **job)["status"] == -signal.SIGKILL
        assert stored(index).items() <= expected.items(), f"after {done['passed'][step - 1]}"
        assert faults("features", index, **job)["status"] == 0
        assert stored(index) == expected, f"after {done['passed'][step - 1]}"


@pytest.mark.slow
def test_a_kill_while_the_codec_is_fitted_leaves_the_floats_or_the_codec(tmp_path, faults):
    job = {"images": 64, "codec": "pca4-int8"}
    steps = faults("features", tmp_path / "count", **job)["passed"]
    expected = stored(tmp_path / "count")
    for step in range(steps.index("codec:written"), len(steps) + 1):
        index = tmp_path / f"killed-{step}"
        assert faults("features", index, kill_at=step, **job)["status"] == -signal.SIGKILL
        assert np.array_equal(sorted(stored(index)), sorted(expected))
        assert faults("features", index, **job)["status"] == 0
        assert stored(index) == expected
