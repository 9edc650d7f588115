"""The run-time and approximation experiments on small maps: what they report, not how long it took."""

import json

import numpy as np
import pytest
from PIL import Image

from semret.errors import ArgumentError, DatasetError, ShapeError, UnknownNameError
from semret.eval.experiments import approximation, runtime
from semret.eval.experiments.approximation import run_approximation
from semret.eval.experiments.cost import Method, relative_qualities
from semret.eval.experiments.costs import draw_growth, draw_trade_off, merge_methods, report_costs
from semret.eval.experiments.measuring import measure
from semret.eval.experiments.runtime import run_runtime
from semret.retrieval.matching import match
from semret.retrieval.matching.solvers import SOLVERS

METHODS = [Method(solver="auction"), Method(solver="scipy"), Method(solver="batch-optimal", options={"window": 8})]


def random_maps(count=4, positions=30, channels=5):
    return np.random.default_rng(0).normal(size=(count, positions, channels)).astype(np.float32)


def test_quality_is_the_share_of_the_optimum_of_centred_maps():
    maps = random_maps() + 7  # the mean must not matter
    seen = []
    costs = measure(
        maps, label="x", methods=[*METHODS, Method(solver="identity")], center="channel",
        progress=lambda *a: seen.append(a),
    )  # fmt: skip
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
        measure(random_maps(count=1), label="x", methods=METHODS)
    with pytest.raises(ShapeError, match="3 axes"):
        measure(np.zeros((2, 3)), label="x", methods=METHODS)
    with pytest.raises(ArgumentError, match="no method"):
        measure(random_maps(), label="x", methods=[])
    with pytest.raises(ArgumentError, match="pairs is 0"):
        measure(random_maps(), label="x", methods=METHODS, pairs=0)
    with pytest.raises(UnknownNameError, match="did you mean channel"):
        measure(random_maps(), label="x", methods=METHODS, center="chanel")
    with pytest.raises(UnknownNameError, match="center 'middle'"):
        run_runtime(sides=[64], center="middle")


def test_a_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(DatasetError, match="has 0 readable pictures, expected at least 2"):
        run_runtime(tmp_path, sides=[64])


def test_both_studies_run_on_a_folder_with_the_embedded_backbone(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 96)).save(tmp_path / f"{number}.png")
    by_size = run_runtime(tmp_path, sides=[64, 96], methods=METHODS).costs
    assert [(cost.label, cost.positions) for cost in by_size[::3]] == [("64 px", 4), ("96 px", 9)]
    by_layer = run_approximation(tmp_path, side=96, largest=36, methods=METHODS).costs
    assert {cost.label: cost.positions for cost in by_layer}["last"] == 9
    assert max(cost.positions for cost in by_layer) == 36
    assert all(cost.quality == pytest.approx(1) for cost in by_layer if cost.exact)
    with pytest.raises(ArgumentError, match="at least 9 positions; raise --largest above 2"):
        run_approximation(tmp_path, side=96, largest=2)


def test_unreadable_pictures_of_a_folder_are_passed_over(tmp_path, draw_picture):
    for seed in range(3):
        draw_picture(seed).save(tmp_path / f"{seed}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    study = run_runtime(tmp_path, sides=[64], methods=METHODS)
    assert study.dataset["pictures"] == 3
    assert (study.costs[0].pairs, study.costs[0].positions, study.costs[0].channels) == (3, 4, 1280)


def test_a_folder_without_two_readable_pictures_is_refused(tmp_path, draw_picture):
    draw_picture(1).save(tmp_path / "1.png")
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="has 1 readable pictures"):
        run_runtime(tmp_path, sides=[64])


def test_maps_are_not_centred_unless_it_is_asked_for():
    maps = random_maps() + 7
    method = [Method(solver="identity")]
    plain, centred = (
        measure(maps, label="x", methods=method)[0],
        measure(maps, label="x", methods=method, center="channel")[0],
    )
    shares = [np.trace(a) / match(a).value for a in (maps[pair] @ maps[(pair + 1) % 4].T for pair in range(4))]
    assert plain.quality == pytest.approx(np.mean(shares), rel=1e-4)
    assert plain.quality > 0.9 > 0.5 > centred.quality
    # The optimal assignment does not depend on a channel mean, nor does the distance from it.
    assert plain.distance == centred.distance == 1


def test_the_distance_from_the_optimum_needs_no_positive_optimum():
    optima, identities = np.array([0.001, 10.0]), np.array([-1.0, 5.0])
    values = np.array([[0.001, 10.0], [-0.4995, 7.5], [-1.0, 5.0]])
    shares, distances = relative_qualities(values, optima, identities)
    assert np.isnan(shares).all()  # the second would be -49950 %
    np.testing.assert_allclose(distances, [[0, 0], [0.5, 0.5], [1, 1]], atol=1e-3)
    shares, _ = relative_qualities(values[:, 1:], optima[1:], identities[1:])
    np.testing.assert_allclose(shares, [[1], [0.75], [0.5]])


def test_a_method_that_falls_below_zero_leaves_no_shares():
    # Greedy takes .99 and is left with -100: -9,901 % of an optimum that the identity has; no distance is known.
    shares, distances = relative_qualities(np.array([[1.89], [-99.01]]), np.array([1.89]), np.array([1.89]))
    assert np.isnan(shares).all()
    assert distances[0, 0] == 0
    shares, _ = relative_qualities(np.array([[1.89], [-1.5]]), np.array([1.89]), np.array([1.0]))
    np.testing.assert_allclose(shares, [[1], [-1.5 / 1.89]])


def test_a_pair_whose_identity_is_optimal_has_distance_0_or_none():
    _, distances = relative_qualities(np.array([[2.0], [1.0]]), np.array([2.0]), np.array([2.0]))
    assert distances[0, 0] == 0
    assert np.isnan(distances[1, 0])


def test_negative_optima_are_reported_as_distances(monkeypatch):
    maps = random_maps()
    maps[1::2] = -np.abs(maps[1::2])
    maps[::2] = np.abs(maps[::2])  # neighbours point away from each other: every product is negative
    costs = measure(maps, label="x", methods=[*METHODS, Method(solver="identity")])
    assert all(np.isnan(cost.quality) for cost in costs)
    assert [round(cost.distance, 6) for cost in costs][:2] == [0, 0]
    assert 0 < costs[2].distance < 1
    assert costs[3].distance == 1
    report = report_costs("runtime", "t", study_of(costs), {"center": "none", "seed": 0})
    assert any("left out" in note for note in report.notes)
    assert "%" not in "".join(row[4] for row in report.tables[0].rows)


def study_of(costs):
    return runtime.Study(
        costs=costs, dataset={"name": "d", "pictures": 4, "fingerprint": "f"}, models=[{"name": "m"}], seconds={}
    )


def test_options_that_mean_the_same_are_measured_once_and_share_a_row():
    windows = [Method(solver="batch-optimal", options={"window": window}) for window in (8, 30, 64, 512)]
    costs = measure(random_maps(), label="x", methods=[Method(solver="scipy"), *windows])
    assert len({cost.milliseconds for cost in costs}) == 3
    assert merge_methods(costs) == {
        "scipy": "scipy", "batch-optimal 8": "batch-optimal 8", "batch-optimal 30": "batch-optimal 30, 64, 512",
    }  # fmt: skip
    report = report_costs("runtime", "t", study_of(costs), {"center": "channel", "seed": 0})
    assert [row[3] for row in report.tables[0].rows] == [
        "scipy", "batch-optimal 8", "batch-optimal 30, 64, 512", "the affinity itself",
    ]  # fmt: skip
    assert "Maps are centred by their common channel mean" in report.notes[0]


def test_intervals_hold_what_they_are_of():
    for cost in measure(random_maps(12), label="x", methods=[*METHODS, Method(solver="identity")]):
        for name, (low, high) in cost.intervals.items():
            assert low <= getattr(cost, name) <= high
        assert cost.quartiles[0] <= cost.milliseconds <= cost.quartiles[1]


def test_the_affinity_is_formed_on_one_thread(monkeypatch):
    from semret.eval.experiments import measuring

    seen = []
    product = measuring.float_affinities
    monkeypatch.setattr(
        measuring, "float_affinities", lambda *maps, threads: seen.append(threads) or product(*maps, threads=threads)
    )
    monkeypatch.setattr(np, "matmul", None)
    measure(random_maps(), label="x", methods=METHODS)
    assert set(seen) == {1}


def test_a_report_of_costs_says_what_it_is_of(tmp_path):
    study = run_runtime(sides=[64, 96], methods=METHODS, pairs=2)
    report = report_costs("runtime", "t", study, {"center": "none", "seed": 0})
    assert report.settings["methods"] == ["auction", "scipy", "batch-optimal 8"]
    assert report.dataset["name"] == "rendered scenes"
    assert report.dataset["pictures"] == 2
    assert len(report.dataset["fingerprint"]) == 64
    assert [model["name"] for model in report.models] == ["efficientnet-lite0@64x64", "efficientnet-lite0@96x96"]
    assert all(len(model["weights_sha256"]) == 64 for model in report.models)
    assert set(report.seconds) == {"64 px", "96 px"}
    assert report.notes[0] == "Maps are not centred, as in the paper."
    for draw in (draw_growth(study.costs), draw_trade_off(study.costs)):
        draw(tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 5000
