"""``semret rsm`` and ``semret cka`` through the application that users call."""

from __future__ import annotations

import json
from functools import partial

import h5py
import numpy as np
import pytest
import typer

from semret.commands.rsm import register
from semret.retrieval.similarity.cka import cka
from semret.retrieval.similarity.rsm import rsm
from tests.support.commands import invoke


@pytest.fixture
def run():
    app = typer.Typer()
    register(app)
    return partial(invoke, app)


@pytest.fixture
def features(tmp_path):
    generator = np.random.default_rng(31)
    x, y = generator.normal(size=(4, 6, 5)), generator.normal(size=(3, 6, 5))
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "y.npz", y=y)
    with h5py.File(tmp_path / "both.h5", "w") as file:
        file["deep/x"], file["y"] = x, y
    return x, y


def test_a_matrix_is_written(run, features, tmp_path):
    result = run("rsm", tmp_path / "x.npy", "-o", tmp_path / "k.npy")
    assert result.exit_code == 0
    assert result.stdout.split()[:5] == ["output", "kernel", "rows", "columns", "mean"]
    np.testing.assert_array_equal(np.load(tmp_path / "k.npy"), rsm(features[0]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both.h5", "k.npy", "x.npy", "y.npz"]


def test_two_sets_several_kernels_and_every_option(run, features, tmp_path):
    options = ["--invariance", "none", "--center", "position", "--sigma", "2", "--kernel", "rbf", "--kernel", "linear"]
    result = run(
        "rsm",
        tmp_path / "x.npy",
        "--against",
        tmp_path / "y.npz",
        "-o",
        tmp_path / "k.npz",
        "--format",
        "json",
        *options,
    )
    assert result.exit_code == 0
    expected = rsm(*features, kernel=["rbf", "linear"], invariance="none", center="position", sigma=2.0)
    with np.load(tmp_path / "k.npz") as found:
        assert found.files == ["rbf", "linear"]
        for kernel, matrix in expected.items():
            np.testing.assert_array_equal(found[kernel], matrix)
    rows = json.loads(result.stdout)
    assert [row["kernel"] for row in rows] == ["rbf", "linear"]
    assert rows[1]["mean"] == pytest.approx(expected["linear"].mean())
    assert (rows[0]["rows"], rows[0]["columns"]) == (4, 3)


def test_layouts_and_datasets(run, features, tmp_path):
    x, _ = features
    np.save(tmp_path / "grid.npy", x.reshape(4, 2, 3, 5).transpose(0, 3, 1, 2))
    np.save(tmp_path / "tokens.npy", np.concatenate([x[:, :1], x], axis=1))
    calls = [
        (tmp_path / "grid.npy", "--layout", "NCHW"),
        (tmp_path / "tokens.npy", "--layout", "NTD", "--prefix-tokens", "1"),
        (tmp_path / "both.h5", "--dataset", "deep/x"),
    ]
    for call in calls:
        assert run("rsm", *call, "-o", tmp_path / "k.npy").exit_code == 0
        np.testing.assert_allclose(np.load(tmp_path / "k.npy"), rsm(x), rtol=1e-12)


def test_the_name_of_a_dataset_is_for_the_files_that_have_names(run, features, tmp_path):
    arguments = [
        "rsm",
        tmp_path / "x.npy",
        "--against",
        tmp_path / "both.h5",
        "--dataset",
        "y",
        "-o",
        tmp_path / "k.npy",
    ]
    assert run(*arguments).exit_code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "k.npy"), rsm(*features))


@pytest.mark.parametrize("format_", ["table", "json", "jsonl", "csv"])
def test_cka_in_every_format(run, features, tmp_path, format_):
    k, l = rsm(features[0]), rsm(features[0], invariance="none")  # noqa: E741
    np.save(tmp_path / "k.npy", k)
    np.save(tmp_path / "l.npy", l)
    arguments = ["cka", tmp_path / "k.npy", tmp_path / "l.npy", "--estimator", "unbiased", "--format", format_]
    result = run(*arguments)
    assert result.exit_code == 0
    expected = cka(k, l, estimator="unbiased")
    if format_.startswith("json"):
        assert json.loads(result.stdout)["cka"] == expected
    elif format_ == "csv":
        assert float(result.stdout.splitlines()[1].split(",")[-1]) == expected
    else:
        assert f"{expected:.6f}" in result.stdout


def test_an_undefined_cka_is_null(run, tmp_path):
    np.save(tmp_path / "k.npy", np.ones((4, 4)))
    result = run("cka", tmp_path / "k.npy", tmp_path / "k.npy", "--format", "json")
    assert json.loads(result.stdout)["cka"] is None
    assert "undefined" in run("cka", tmp_path / "k.npy", tmp_path / "k.npy").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rsm", "none.npy", "-o", "k.npy"], "cannot read none.npy: No such file or directory"),
        (["rsm", "x.txt", "-o", "k.npy"], "x.txt is no feature file, expected a name that ends in .npy"),
        (["rsm", "bad.npy", "-o", "k.npy"], "cannot read bad.npy: it is damaged"),
        (["rsm", "bad.npz", "-o", "k.npy"], "cannot read bad.npz: it is damaged"),
        (["rsm", "bad.h5", "-o", "k.npy"], "cannot read bad.h5"),
        (["rsm", "object.npy", "-o", "k.npy"], "object.npy holds object values, expected numbers"),
        (["rsm", "words.npy", "-o", "k.npy"], "words.npy holds <U1 values, expected numbers"),
        (["rsm", "both.h5", "-o", "k.npy"], "both.h5 holds 2 arrays (deep/x, y); name one with the dataset option"),
        (["rsm", "both.h5", "--dataset", "z", "-o", "k.npy"], "both.h5 has no array 'z', it holds: deep/x, y"),
        (["rsm", "x.npy", "--dataset", "x", "-o", "k.npy"], "x.npy holds one array without a name"),
        (["rsm", "x.npy", "-o", "k.txt"], "cannot write k.txt: expected a name that ends in .npy or .npz"),
        (["rsm", "x.npy", "-o", "no/k.npy"], "cannot write no/k.npy: no is not a folder that takes it"),
        (["rsm", "x.npy", "-o", "k.npy", "--kernel", "rbf", "--kernel", "linear"], "2 matrices do not fit into k.npy"),
        (["rsm", "x.npy", "-o", "k.npy", "--solver", "aucton"], "did you mean auction"),
        (["rsm", "x.npy", "-o", "k.npy", "--layout", "NCHW"], "layout NCHW expects 4 axes"),
        (["cka", "x.npy", "x.npy"], "k has shape (4, 6, 5), expected 2 axes (n, n)"),
    ],
)
def test_errors_are_one_line_and_status_1(run, features, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.txt").write_text("1 2 3")
    for name in ("bad.npy", "bad.npz", "bad.h5"):
        (tmp_path / name).write_bytes(b"not what the name says")
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "words.npy", np.array(["a"]))
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("semret: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_failed_write_leaves_the_old_matrix(run, features, tmp_path, monkeypatch):
    np.save(tmp_path / "k.npy", np.zeros(3))

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    result = run("rsm", tmp_path / "x.npy", "-o", tmp_path / "k.npy")
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert np.load(tmp_path / "k.npy").shape == (3,)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_wrong_choice_is_a_usage_error(run, tmp_path):
    assert run("rsm", tmp_path / "x.npy", "-o", "k.npy", "--kernel", "poly").exit_code == 2
    assert run("rsm", tmp_path / "x.npy").exit_code == 2


def test_what_is_read_is_not_replaced(run, features, tmp_path):
    (tmp_path / "link.npy").symlink_to("x.npy")
    (tmp_path / "hard.npy").hardlink_to(tmp_path / "x.npy")
    before = (tmp_path / "x.npy").read_bytes()
    for output in ("x.npy", "link.npy", "hard.npy"):
        result = run("rsm", tmp_path / "y.npz", "--against", tmp_path / "x.npy", "-o", tmp_path / output)
        assert result.exit_code == 1
        assert "which is read; name another file" in result.stderr
    assert (tmp_path / "x.npy").read_bytes() == before
