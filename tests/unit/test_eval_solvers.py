"""The run-time and approximation experiments on small maps: what they report, not how long it took."""

import json

import numpy as np
import pytest
from PIL import Image

from semret.errors import ArgumentError, DatasetError, ShapeError
from semret.eval.experiments import approximation, runtime
from semret.eval.experiments.approximation import measure_layers, run_approximation
from semret.eval.experiments.runtime import Method, format_table, measure, run_runtime
from semret.retrieval.matching import SOLVERS, match

METHODS = [Method(solver="auction"), Method(solver="scipy"), Method(solver="batch-optimal", options={"window": 8})]


def random_maps(count=4, positions=30, channels=5):
    return np.random.default_rng(0).normal(size=(count, positions, channels)).astype(np.float32)


def test_quality_is_the_share_of_the_optimum_of_centred_maps():
    maps = random_maps() + 7  # the mean must not matter
    seen = []
    costs = measure(maps, label="x", methods=[*METHODS, Method(solver="identity")], progress=lambda *a: seen.append(a))
    centred = maps - maps.mean(axis=(0, 1))
    shares = [
        np.trace(affinity) / match(affinity).value
        for affinity in (centred[pair] @ centred[(pair + 1) % 4].T for pair in range(4))
    ]
    assert [cost.method for cost in costs] == ["auction", "scipy", "batch-optimal 8", "identity"]
    assert [cost.exact for cost in costs] == [True, True, False, False]
    assert costs[0].quality == costs[1].quality == pytest.approx(1, abs=1e-12)
    assert costs[3].quality == pytest.approx(np.mean(shares), rel=1e-4)
    assert costs[3].quality < costs[2].quality < 1
    assert all(cost.milliseconds > 0 and cost.affinity_milliseconds > 0 for cost in costs)
    assert (costs[0].positions, costs[0].channels, costs[0].pairs, costs[0].label) == (30, 5, 4, "x")
    assert costs[1].speedup == 1.0
    assert seen[-1] == (4, 4)


def test_without_scipy_there_is_no_speedup():
    cost = measure(random_maps(), label="x", methods=METHODS[:1], pairs=2)[0]
    assert np.isnan(cost.speedup)
    assert cost.pairs == 2
    assert json.loads(json.dumps(cost.as_json(), allow_nan=False))["speedup"] is None


def test_maps_that_match_nothing_count_as_solved():
    assert [cost.quality for cost in measure(np.zeros((2, 9, 3)), label="x", methods=METHODS)] == [1.0, 1.0, 1.0]


def test_every_solver_and_option_of_the_tables_exists():
    for method in (*runtime.METHODS, *approximation.METHODS):
        assert SOLVERS[method.solver].settings(method.options) == {**SOLVERS[method.solver].options, **method.options}
    assert {method.solver for method in runtime.METHODS} == set(SOLVERS)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ShapeError, match="at least two maps"):
        measure(random_maps(count=1), label="x")
    with pytest.raises(ShapeError, match="3 axes"):
        measure(np.zeros((2, 3)), label="x")
    with pytest.raises(ArgumentError, match="no method"):
        measure(random_maps(), label="x", methods=[])
    with pytest.raises(ArgumentError, match="pairs is 0"):
        measure(random_maps(), label="x", pairs=0)


def test_the_table_has_a_row_for_each_method_and_a_column_for_each_label():
    costs = measure_layers({"first": random_maps(), "second": random_maps(positions=12)}, methods=METHODS)
    lines = format_table(costs).splitlines()
    assert lines[0] == "| method | first, S=30 | second, S=12 |"
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| auction",
        "| scipy",
        "| batch-optimal 8",
        "| *the affinity itself*",
    ]
    assert "100.0 %" in lines[2]
    assert "(1.0x)" in lines[3]


def test_a_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(DatasetError, match="holds 0 pictures"):
        run_runtime(tmp_path, sides=[64])


def test_both_studies_run_on_a_folder_with_the_embedded_backbone(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 96)).save(tmp_path / f"{number}.png")
    by_size = run_runtime(tmp_path, sides=[64, 96], methods=METHODS)
    assert [(cost.label, cost.positions) for cost in by_size[::3]] == [("64 px", 4), ("96 px", 9)]
    by_layer = run_approximation(tmp_path, side=96, largest=36, methods=METHODS)
    assert {cost.label: cost.positions for cost in by_layer}["last"] == 9
    assert max(cost.positions for cost in by_layer) == 36
    assert all(cost.quality == pytest.approx(1) for cost in by_layer if cost.exact)
    with pytest.raises(ArgumentError, match="at least 9 positions at 96 pixels"):
        run_approximation(tmp_path, side=96, largest=2)


def test_unreadable_pictures_of_a_folder_are_passed_over(tmp_path, draw_picture):
    for seed in range(3):
        draw_picture(seed).save(tmp_path / f"{seed}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert runtime.embed_pictures(tmp_path, side=64, count=4)["last"].shape == (3, 4, 1280)


def test_a_folder_without_two_readable_pictures_is_refused(tmp_path, draw_picture):
    draw_picture(1).save(tmp_path / "1.png")
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="fewer than two readable"):
        runtime.embed_pictures(tmp_path, side=64, count=4)
