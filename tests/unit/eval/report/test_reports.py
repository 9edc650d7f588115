"""Reports: their schema, their texts, and the paper's numbers beside ours."""

import copy
import json
import math

import numpy as np
import pytest

from semret.errors import DatasetError, StorageError
from semret.eval.report import schema
from semret.eval.report.comparison import compare_reports
from semret.eval.report.cost_plots import Point, trade_off
from semret.eval.report.distribution_plots import histograms, scatters
from semret.eval.report.document import Report, Table
from semret.eval.report.files import read_report, write_report
from semret.eval.report.plots import bars, curves, heat_maps
from semret.eval.report.schema import find_problems
from semret.eval.report.values import show, show_p, with_holm
from tests.support.reports import VALIDATOR as SCHEMA


def report(**changes):
    metric = {"name": "f1@1", "model": "m", "cell": {"kernel": "cosine"}, "mean": 0.5, "low": 0.4, "high": 0.6,
              "n": 3, "paper": None}  # fmt: skip
    fields = {
        "experiment": "x", "title": "A title", "settings": {"k": np.int64(1), "sizes": (1, 2)}, "seed": 0,
        "dataset": {"name": "d", "pictures": 3, "fingerprint": "0" * 64}, "metrics": [metric],
        "tables": [Table("T", ["a", "b"], [["1|2", "x"]])],
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
        (lambda d: d["metrics"][0].update(median=0.5), "metrics[0] has not exactly one of mean, median, value"),
        (lambda d: d["metrics"][0].pop("mean"), "metrics[0] has not exactly one of mean, median, value"),
        (lambda d: d["dataset"].pop("fingerprint"), "dataset.fingerprint is missing"),
        (lambda d: d["tables"][0]["rows"].append(["1"]), "tables[0] has rows of [1, 2] cells"),
        (lambda d: d["comparisons"].append(7), "comparisons[0] is no object"),
    ],
)
def test_every_departure_from_the_schema_is_named(damage, problem):
    document = copy.deepcopy(json.loads(json.dumps(report().as_json())))
    assert list(SCHEMA.iter_errors(document)) == []
    damage(document)
    assert any(problem in found for found in find_problems(document))
    if "rows of" not in problem:  # a JSON schema cannot compare the lengths of rows
        assert list(SCHEMA.iter_errors(document))


def test_the_published_schema_knows_the_same_fields():
    SCHEMA.check_schema(SCHEMA.schema)
    fields = SCHEMA.schema["properties"]
    assert (set(fields), set(SCHEMA.schema["required"])) == (set(schema.FIELDS), set(schema.FIELDS))
    for name, needed, extras in (
        ("metrics", schema.METRIC_FIELDS, schema.METRIC_EXTRAS),
        ("comparisons", schema.COMPARISON_FIELDS, schema.COMPARISON_EXTRAS),
    ):
        entry = fields[name]["items"]
        assert set(entry["required"]) == set(needed)
        assert set(entry["properties"]) == set(needed) | set(extras)
    assert set(fields["dataset"]["required"]) == set(schema.DATASET_FIELDS)


def test_a_number_stands_under_the_name_of_what_it_is():
    assert show({"median": 0.25, "low": None}) == "0.250"
    assert show({"value": -0.5, "low": -0.75, "high": 0.0}) == "-0.500 [-0.750, 0.000]"
    assert show({"mean": None}) == "-"


def test_a_column_in_which_nothing_stands_is_left_out():
    table = Table("T", ["a", "paper", "b"], [["1", "-", "-"], ["2", "-", "x"]])
    assert table.without_empty_columns() == Table("T", ["a", "b"], [["1", "-"], ["2", "x"]])
    assert Table("T", ["a"], []).without_empty_columns().header == ["a"]
    made = report(tables=[table])
    assert made.as_json()["tables"][0]["header"] == ["a", "b"]
    assert "paper |" not in made.as_markdown()


def test_p_values_are_corrected_and_their_floor_is_an_upper_limit():
    comparisons = [{"name": str(p), "p": p, "p_least": 1 / 2001} for p in (0.04, 1 / 2001, 0.01)]
    found = with_holm(comparisons)
    assert [entry["p_holm"] for entry in found] == [0.04, pytest.approx(3 / 2001), 0.02]
    assert [show_p(entry) for entry in found] == ["0.0400", "<= 0.0005", "0.0100"]
    assert [show_p(entry, "p_holm") for entry in found] == ["0.0400", "<= 0.0015", "0.0200"]
    assert "p_holm" not in comparisons[0]


def test_the_written_report_names_model_versions_machine_and_date(tmp_path):
    made = report(models=[{"name": "m", "weights_sha256": "abc"}], seconds={"all": 1.25})
    write_report(made, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    document = read_report(tmp_path)
    for fact in (
        made.created, "| weights_sha256 | abc |", f"| numpy | {np.__version__} |", "| h5py |", "| ortools |",
        "| torchvision |", f"| cpus | {document['machine']['cpus']} |", "| all | 1.2 |", "| pictures | 3 |",
        "| seed | 0 |",
    ):  # fmt: skip
        assert fact in text, fact
    assert document["created"] == made.created


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


@pytest.mark.parametrize(
    "draw",
    [
        bars(["cosine"], {"none": [(0.5, 0.4, 0.6)]}, label="F1", title="t", lines={"oracle": 1.0}),
        curves([1.0, 2.0], {"a": [0.1, 0.2]}, x_label="x", y_label="y", title="t", log_x=True),
        histograms({"p": {"a": np.array([1.0, 2.0]), "b": np.array([1.0])}}, x_label="x", title="t"),
        heat_maps({"m": np.eye(2)}, title="t", x_label="x", y_label="y", bar_label="b", ticks=(["a", "b"], ["c", "d"])),
        heat_maps({"m": np.zeros((2, 2))}, title="t", x_label="x", y_label="y", bar_label="b", diverging=True),
        scatters({"m": (np.arange(5.0), np.arange(5.0))}, x_label="x", y_label="y", title="t"),
        trade_off(
            {"m": {"auction": Point(0.1, 100.0, (0.1, 0.2), (100.0, 100.0))}},
            x_label="x",
            y_label="y",
            title="t",
            caption="c",
        ),
    ],
    ids=["bars", "curves", "histograms", "heat-maps", "differences", "scatters", "trade-off"],
)
def test_figures_are_drawn(draw, tmp_path):
    from PIL import Image

    draw(tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as figure:
        low, high = figure.convert("L").getextrema()
    assert low < 128 < high
