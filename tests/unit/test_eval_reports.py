"""Reports: their schema, their texts, and the paper's numbers beside ours."""

import copy
import json
import math

import numpy as np
import pytest

from semret.errors import DatasetError, StorageError
from semret.eval.paper import TABLE_1, TABLE_2, TABLE_3, table_1, table_2, table_3
from semret.eval.plots import bars, curves, heat_maps, histograms, scatters, trade_off
from semret.eval.reports import Report, Table, compare_reports, find_problems, read_report, write_report


def report(**changes):
    metric = {"name": "f1@1", "model": "m", "cell": {"kernel": "cosine"}, "mean": 0.5, "low": 0.4, "high": 0.6,
              "n": 3, "paper": None}  # fmt: skip
    fields = {
        "experiment": "x", "title": "A title", "settings": {"k": np.int64(1), "sizes": (1, 2)}, "seed": 0,
        "dataset": {"name": "d"}, "metrics": [metric], "tables": [Table("T", ["a", "b"], [["1|2", "x"]])],
        "per_query": [{"query": "q", "f1": math.nan}],
    }  # fmt: skip
    return Report(**{**fields, **changes})


def test_a_written_report_is_valid_and_reads_back(tmp_path):
    written = write_report(report(), tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["report.json", "report.md", "per_query.jsonl"]
    document = read_report(tmp_path / "new" / "folder")
    assert document["settings"] == {"k": 1, "sizes": [1, 2]}
    assert document["versions"]["numpy"] == np.__version__
    assert json.loads(written[2].read_text(encoding="utf-8")) == {"query": "q", "f1": None}
    text = written[1].read_text(encoding="utf-8")
    assert "| 1\\|2 | x |" in text
    assert text.startswith("# A title")


def test_numbers_that_are_not_finite_become_null():
    metric = {**report().metrics[0], "mean": math.nan, "low": math.inf}
    document = report(metrics=[metric]).as_json()
    assert (document["metrics"][0]["mean"], document["metrics"][0]["low"]) == (None, None)
    assert find_problems(json.loads(json.dumps(document, allow_nan=False))) == []


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda d: d.pop("seed"), "seed is missing"),
        (lambda d: d.update(extra=1), "extra is unknown"),
        (lambda d: d.update(seed="0"), "seed is a str"),
        (lambda d: d.update(schema="semret-report/0"), "expected 'semret-report/1'"),
        (lambda d: d["metrics"][0].pop("n"), "metrics[0].n is missing"),
        (lambda d: d["metrics"][0].update(mean="0.5"), "metrics[0].mean is a str"),
        (lambda d: d["tables"][0]["rows"].append(["1"]), "tables[0] has rows of [1, 2] cells"),
        (lambda d: d["comparisons"].append(7), "comparisons[0] is no object"),
    ],
)
def test_every_departure_from_the_schema_is_named(damage, problem):
    document = copy.deepcopy(json.loads(json.dumps(report().as_json())))
    damage(document)
    assert any(problem in found for found in find_problems(document))


def test_errors_of_reading_and_writing(tmp_path):
    with pytest.raises(DatasetError, match=r"give a report\.json"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text("no", encoding="utf-8")
    with pytest.raises(DatasetError, match="no JSON"):
        read_report(tmp_path)
    with pytest.raises(StorageError, match="cannot write"):
        write_report(report(), tmp_path / "report.json")


def test_comparison_keeps_cells_apart_and_leaves_gaps_empty():
    one = report().as_json()
    other = copy.deepcopy(one)
    other["metrics"][0]["cell"] = {"kernel": "rbf"}
    other["metrics"][0].update(mean=0.25, low=None, high=None)
    table = compare_reports([("a", one), ("b", other)])
    assert table.header == ["metric", "model", "cell", "a", "b"]
    assert table.rows == [["f1@1", "m", "cosine", "0.500 [0.400, 0.600]", ""], ["f1@1", "m", "rbf", "", "0.250"]]


def test_the_papers_cells():
    assert table_2("clip", 10000, "rbf", "permutation") == 0.863
    assert table_2("clipseg", 2500, "linear", "none") == 0.233
    assert table_2("clip", 4000, "rbf", "permutation") is None
    assert table_2("clip", 5000, "rbf", "maxsim") is None
    assert table_2("efficientnet-lite0", 5000, "rbf", "none") is None
    assert table_3("sam", "cosine", "permutation") == 0.702
    assert table_1("resnet18", "cosine", "permutation") == -0.326


def test_the_papers_tables_are_complete():
    assert {len(sizes) for sizes in TABLE_2.values()} == {3}
    assert (len(TABLE_2), len(TABLE_3), len(TABLE_1)) == (5, 5, 7)
    # Its main claim: under cosine, permutation invariance wins in every cell of tables 2 and 3.
    assert all(cells[0][1] > cells[0][0] for sizes in TABLE_2.values() for cells in sizes.values())
    assert all(cells[0][1] > cells[0][0] for cells in TABLE_3.values())


@pytest.mark.parametrize(
    "draw",
    [
        bars(["cosine"], {"none": [(0.5, 0.4, 0.6)]}, label="F1", title="t", lines={"oracle": 1.0}),
        curves([1.0, 2.0], {"a": [0.1, 0.2]}, x_label="x", y_label="y", title="t", log_x=True),
        histograms({"p": {"a": np.array([1.0, 2.0]), "b": np.array([1.0])}}, x_label="x", title="t"),
        heat_maps({"m": np.eye(2)}, title="t", x_label="x", y_label="y", bar_label="b", ticks=(["a", "b"], ["c", "d"])),
        heat_maps({"m": np.zeros((2, 2))}, title="t", x_label="x", y_label="y", bar_label="b", diverging=True),
        scatters({"m": (np.arange(5.0), np.arange(5.0))}, x_label="x", y_label="y", title="t"),
        trade_off({"m": {"auction": (0.1, 100.0), "greedy": (0.05, 93.0)}}, x_label="x", y_label="y", title="t"),
    ],
    ids=["bars", "curves", "histograms", "heat-maps", "differences", "scatters", "trade-off"],
)
def test_figures_are_drawn(draw, tmp_path):
    from PIL import Image

    draw(tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as figure:
        low, high = figure.convert("L").getextrema()
    assert low < 128 < high
