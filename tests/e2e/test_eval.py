"""The experiments end to end: rendered pictures, the embedded network, and what must come out of them."""

import numpy as np
import pytest
from PIL import Image

from semret.cli import evaluation as app
from semret.eval.experiments.cka import split_batches
from semret.eval.experiments.pictures import choose_layers
from semret.eval.experiments.translation import crop_pairs, shift_in_pixels
from semret.eval.pairs import resampled_correlation
from semret.eval.scenes.collection import render_collection
from semret.eval.scenes.egoobjects_layout import make_egoobjects
from tests.support.commands import error_of, invoke
from tests.support.reports import read_report


def run(*arguments):
    result = invoke(app, *arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    report = read_report(result.stdout)
    assert {"name", "pictures", "fingerprint"} <= set(report["dataset"])
    assert all(len(model["weights_sha256"]) == 64 for model in report["models"])
    return report


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    render_collection(folder, 16, seed=3)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return folder


@pytest.mark.slow
def test_permutation_invariance_wins_where_things_are_rearranged(tmp_path):
    make_egoobjects(tmp_path / "data", seed=7, scenes=16, videos=4, frames=1)
    report = run(
        "egoobjects", "--root", tmp_path / "data", "--model", "efficientnet-lite0@192x320", "--queries", 20,
        "--database", 44, "--features", tmp_path / "features", "--kernels", "cosine", "--center", "channel",
    )  # fmt: skip
    found = {tuple(m["cell"].values())[1:]: m["mean"] for m in report["metrics"] if m["name"] == "f1@1"}
    assert found["oracle",] > 0.9
    assert found["chance",] < 0.3
    assert found["cosine", "permutation"] > found["cosine", "none"] + 0.1
    assert found["cosine", "permutation"] > found["chance",] + 0.2


def test_translation_separates_shifted_views_better_with_matching(pictures, tmp_path):
    report = run(
        "translation", "--images", pictures, "--model", "efficientnet-lite0@128x128", "--pairs", 4, "--batches", 2,
        "--largest", 64, "--out", tmp_path,
    )  # fmt: skip
    areas = {(m["cell"]["layer"], m["cell"]["invariance"]): m["value"] for m in report["metrics"]}
    layers = list(dict.fromkeys(layer for layer, _ in areas))
    assert len(layers) >= 3
    gains = [areas[layer, "permutation"] - areas[layer, "none"] for layer in layers]
    assert np.mean(gains) > 0
    assert min(areas[layer, "permutation"] for layer in layers) > 0.8
    assert report["settings"]["shift_pixels"] % 32 != 0
    assert {"rsm.png", "distributions.png", "separation.png"} <= {path.name for path in tmp_path.iterdir()}
    for metric in report["metrics"]:
        assert metric["n"] == report["dataset"]["pictures"] == 8  # pictures, not batches
        assert metric["low"] <= metric["value"] <= metric["high"]
        assert metric["sigma"] > 0
    for comparison in report["comparisons"]:
        assert comparison["p_holm"] >= comparison["p"] >= comparison["p_least"]
    assert any("8 pictures in 2 batches" in note for note in report["notes"])


def test_correlation_of_a_classifier(pictures, tmp_path):
    report = run(
        "correlation", "--images", pictures, "--model", "efficientnet-lite0@128x128", "--count", 12, "--invariances",
        "none,permutation,maxsim", "--out", tmp_path,
    )  # fmt: skip
    found = {(m["name"], *m["cell"].values()): m for m in report["metrics"]}
    assert len(found) == 2 * 3 * 3
    for metric in found.values():
        assert -1 <= metric["low"] <= metric["high"] <= 1
        assert metric["n"] == 12
    # Pictures of the same things are seen as similar and classified alike.
    assert found["pearson", "cosine", "permutation"]["value"] < 0
    assert (tmp_path / "correlation_efficientnet-lite0-128x128.png").exists()
    assert found["pearson", "rbf", "permutation"]["sigma"] > 0
    assert all("sigma" not in metric for (_, kernel, _), metric in found.items() if kernel != "rbf")


def test_two_sizes_of_one_model_are_kept_apart(pictures, tmp_path):
    report = run(
        "correlation", "--images", pictures, "--model", "efficientnet-lite0@64x64", "--model",
        "efficientnet-lite0@96x96", "--count", 5, "--kernels", "cosine", "--invariances", "none", "--out", tmp_path,
    )  # fmt: skip
    names = ["efficientnet-lite0@64x64", "efficientnet-lite0@96x96"]
    assert [model["name"] for model in report["models"]] == names
    rows = report["tables"][0]["rows"]
    assert [row[0] for row in rows] == names
    assert rows[0][2:] != rows[1][2:]
    assert report["figures"] == ["correlation_efficientnet-lite0-64x64.png", "correlation_efficientnet-lite0-96x96.png"]


def test_cka_within_and_across_models(pictures, tmp_path):
    report = run(
        "cka", "--images", pictures, "--model", "efficientnet-lite0@96x96", "--model", "efficientnet-lite0@128x128",
        "--count", 10, "--batch", 5, "--layers", 2, "--largest", 36, "--out", tmp_path,
    )  # fmt: skip
    assert [model["name"] for model in report["models"]] == [
        "efficientnet-lite0@96x96", "efficientnet-lite0@128x128",
    ]  # fmt: skip
    within = [
        m
        for m in report["metrics"]
        if (m["name"], m["model"]) == ("cka of layers", m["cell"].get("other"))
        and m["cell"]["layer"] == m["cell"]["other layer"]
    ]
    assert len(within) == 2 * 2 * 2
    assert all(m["value"] == pytest.approx(1.0) for m in within)
    for metric in report["metrics"]:
        assert metric["low"] <= metric["value"] <= metric["high"] or metric["value"] == pytest.approx(metric["high"])
    kinds = [m["value"] for m in report["metrics"] if m["name"].startswith("cka of semantic")]
    assert all(0 < value < 1 for value in kinds)
    assert len(report["figures"]) == 2 + 3 * 2
    assert "unbiased estimator, 2 mini-batches of 5 pictures" in " ".join(report["notes"])


def test_cka_takes_an_approximate_solver(pictures):
    report = run(
        "cka", "--images", pictures, "--model", "efficientnet-lite0@96x96", "--count", 6, "--layers", 1, "--solver",
        "greedy", "--kernel", "rbf",
    )  # fmt: skip
    assert report["settings"]["solver"] == "greedy"
    assert [row[:2] for row in report["tables"][0]["rows"]] == [["last", "none"], ["last", "permutation"]]


def test_solver_studies_report_time_beside_quality(tmp_path):
    report = run("runtime", "--sides", "160", "--pairs", 3, "--out", tmp_path)
    assert report["settings"]["center"] == "none"
    assert report["figures"] == ["quality.png", "runtime.png"]
    medians = {m["name"] for m in report["metrics"] if "median" in m}
    assert medians == {"milliseconds", "speed-up over scipy", "affinity milliseconds"}
    quality = {m["cell"]["method"]: m["mean"] for m in report["metrics"] if m["name"] == "quality"}
    assert quality["auction"] == pytest.approx(1.0)
    assert quality["identity"] < 1.0


def test_crops_of_a_pair_show_the_same_pixels_shifted(pictures):
    class Geometry:
        class identity:  # noqa: N801
            class preprocessing:  # noqa: N801
                size = (64, 96)

            grid = (2, 3)

    assert shift_in_pixels(Geometry, 0.5) == 48  # 32 would be a multiple of the patch
    paths = sorted(pictures.glob("scene*.jpg"))[:2]
    crops = [np.asarray(crop) for crop in crop_pairs(paths, Geometry, 20)]
    assert len(crops) == 4
    assert all(crop.shape == (64, 96, 3) for crop in crops)
    np.testing.assert_array_equal(crops[0][20:], crops[2][:-20])
    np.testing.assert_array_equal(crops[1][20:], crops[3][:-20])


def test_the_interval_of_a_correlation_holds_it_and_knows_certainty():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(30, 30))
    x = noise + noise.T
    y = x + 2 * (lambda e: e + e.T)(rng.normal(size=(30, 30)))
    upper = np.triu_indices(30, 1)
    low, high = resampled_correlation(x, y, seed=0, resamples=200)
    assert low < np.corrcoef(x[upper], y[upper])[0, 1] < high
    assert high - low < 0.5
    low, high = resampled_correlation(x, -x, seed=0, resamples=20)
    assert (low, high) == (pytest.approx(-1), pytest.approx(-1))


def test_layers_are_spread_and_batches_are_of_one_size():
    assert choose_layers(list("abcde"), 3) == ["a", "c", "e"]
    assert choose_layers(list("abcde"), 1) == ["e"]
    assert choose_layers(list("ab"), None) == ["a", "b"]
    sizes = [
        [batch.stop - batch.start for batch in split_batches(*case)] for case in ((254, 250), (500, 250), (251, 50))
    ]
    assert sizes == [[127, 127], [250, 250], [42, 42, 42, 41, 42, 42]]
    assert split_batches(11, 5) == [slice(0, 6), slice(6, 11)]  # two: a third would leave fewer than five in each
    assert split_batches(5, 9) == [slice(0, 5)]


def test_experiments_refuse_what_cannot_work(pictures, tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "only.png")
    for arguments, message in (
        (("correlation", "--images", tmp_path), "expected at least 3"),
        (("translation", "--images", pictures, "--shift", "1.5"), "expected a share"),
        (("cka", "--images", pictures, "--count", "2"), "at least 5"),
        (("cka", "--images", pictures, "--estimator", "unbiassed"), "did you mean unbiased"),
        (("translation", "--images", pictures, "--kernel", "rbv"), "did you mean rbf"),
        (("correlation", "--images", pictures, "--solver", "hungarian"), "solver 'hungarian'"),
        (("runtime", "--images", pictures, "--center", "middle"), "center 'middle'"),
        (("runtime", "--images", pictures, "--pairs", "0"), "--pairs is 0"),
        (("cka", "--images", pictures, "--count", "5", "--largest", "1"), "raise --largest"),
        (("runtime", "--images", pictures, "--sides", "tiny"), "at least 32 pixels"),
    ):
        assert message in error_of(invoke(app, *arguments)), arguments
