"""``semret eval``: options, output, files and errors, with the embedded network on rendered data."""

import json

import pytest
from PIL import Image

from semret.cli import evaluation as app
from semret.eval.data import egoobjects
from semret.eval.report import paper
from semret.index.backbones import registry
from tests.support.commands import error_of, invoke
from tests.support.reports import read_report

NAME = "efficientnet-lite0"
MODEL = f"{NAME}@96x160"


def run(*arguments):
    return invoke(app, *arguments)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("eval")
    made = run("make-data", "egoobjects", root / "ego", "--scenes", 5, "--videos", 3, "--frames", 1, "--seed", 2)
    assert made.exit_code == 0, made.output
    made = run("make-data", "cityscapes", root / "city", "--train", 8, "--val", 3)
    assert made.exit_code == 0, made.output
    return root


@pytest.fixture(scope="module")
def ego_report(data):
    out = data / "out"
    done = run(
        "egoobjects", "--root", data / "ego", "--model", MODEL, "--queries", 4, "--database", 9, "--database", 6,
        "--features", data / "features", "--out", out, "--metric", "f1@3", "--format", "json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    return out, json.loads(done.stdout)


def test_help_names_every_experiment():
    result = run("--help")
    assert result.exit_code == 0
    for command in (
        "egoobjects", "cityscapes", "translation", "correlation", "cka", "runtime", "approximation", "regions",
        "make-data", "compare",
    ):  # fmt: skip
        assert command in result.stdout
        assert run(command, "--help").exit_code == 0


def test_egoobjects_writes_a_valid_report_and_prints_the_same(ego_report):
    out, printed = ego_report
    written = read_report((out / "report.json").read_text(encoding="utf-8"))
    assert {**written, "created": ""} == {**printed, "created": ""}
    names = {path.name for path in out.iterdir()}
    assert {"report.json", "report.md", "per_query.jsonl", "shortlist_recall.png"} <= names
    assert set(written["figures"]) <= names
    with Image.open(out / "shortlist_recall.png") as figure:
        assert figure.width > 600


def test_egoobjects_reports_every_cell_with_references_and_tests(ego_report):
    _, report = ego_report
    first = [m for m in report["metrics"] if m["name"] == "f1@1" and "kernel" in m["cell"]]
    cells = {(m["cell"]["database"], m["cell"]["kernel"], m["cell"]["invariance"]) for m in first}
    assert len(cells) == 2 * 3 * 4
    assert {m["name"] for m in report["metrics"]} == {"f1@1", "f1@3 best", "f1@3 mean", "shortlist recall"}
    assert len(report["comparisons"]) == 2 * 3 * 3
    oracle = {m["cell"]["database"]: m["mean"] for m in report["metrics"] if m["cell"].get("reference") == "oracle"}
    for metric in first:
        assert metric["mean"] <= oracle[metric["cell"]["database"]] + 1e-12
        assert metric["low"] <= metric["mean"] <= metric["high"]
    assert report["models"][0]["preprocessing"]["size"] == [96, 160]
    assert len(report["models"][0]["weights_sha256"]) == 64


def test_per_query_lines_add_up_to_the_means(ego_report):
    out, report = ego_report
    lines = [json.loads(line) for line in (out / "per_query.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 4 * 2 * 12
    chosen = [
        line["answers"][0]["f1"]
        for line in lines
        if (line["database"], line["kernel"], line["invariance"]) == (9, "linear", "permutation")
    ]
    cell = {"database": 9, "kernel": "linear", "invariance": "permutation"}
    (metric,) = [m for m in report["metrics"] if m["name"] == "f1@1" and m["cell"] == cell]
    assert sum(chosen) / len(chosen) == pytest.approx(metric["mean"])
    for line in lines:
        scene, video = line["query"].split("_")[:2]
        assert all(answer["path"].split("_")[:2] != [scene, video] for answer in line["answers"])


def test_a_second_run_embeds_nothing_and_finds_the_same(data, ego_report, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the network was loaded")

    monkeypatch.setattr(registry, "create_backbone", refuse)
    done = run(
        "egoobjects", "--root", data / "ego", "--model", MODEL, "--queries", 4, "--database", 9, "--database", 6,
        "--features", data / "features", "--metric", "f1@3", "--format", "json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["metrics"] == ego_report[1]["metrics"]


def test_the_full_matrix_gives_the_same_answers(data, ego_report):
    done = run(
        "egoobjects", "--root", data / "ego", "--model", MODEL, "--queries", 4, "--database", 9, "--database", 6,
        "--features", data / "features", "--metric", "f1@3", "--full-matrix", "--format", "json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found, expected = (
        [{name: value for name, value in m.items() if name != "sigma"} for m in metrics]
        for metrics in (json.loads(done.stdout)["metrics"], ego_report[1]["metrics"])
    )
    assert found == expected
    sigmas = [
        m["sigma"] for m in json.loads(done.stdout)["metrics"] if m["cell"].get("kernel") == "rbf" and "sigma" in m
    ]
    assert len(sigmas) == 2 * 4 * 3
    assert min(sigmas) > 0


def test_examples_show_queries_and_answers(ego_report):
    out, _ = ego_report
    page = (out / "examples-1.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 4 * 5
    assert page.count("<figcaption>permutation ") == 4
    assert "<meta name=viewport content='width=device-width'>" in page


def test_cityscapes_prints_the_shape_of_table_3(data):
    done = run(
        "cityscapes", "--root", data / "city", "--model", MODEL, "--features", data / "features", "--kernels", "cosine",
        "--invariances", "none,permutation", "--center", "channel",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "IoU@1" in done.stdout
    assert "permutation" in done.stdout.splitlines()[1]
    assert "ruled out" in done.stderr


def test_reports_stand_side_by_side(data, ego_report):
    out, _ = ego_report
    done = run("compare", out, out / "report.json")
    assert done.exit_code == 0, done.output
    row = next(line for line in done.stdout.splitlines() if line.startswith("f1@1") and "9, oracle" in line)
    assert row.count("[") == 2
    bad = data / "bad.json"
    bad.write_text('{"schema": "other"}', encoding="utf-8")
    refused = run("compare", bad)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("semret: ")
    assert "no report of schema" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--metric", "f2@1"), "--metric is 'f2@1'"),
        (("--metric", "f1@0"), "at least 1"),
        (("--kernels", "cosin"), "did you mean cosine"),
        (("--invariances", ","), "--invariances is empty"),
        (("--center", "middle"), "middle"),
        (("--model", "no-such-model"), "no-such-model"),
        (("--model", "efficientnet-lite0@big"), "NAME@HxW"),
        (("--queries", "0"), "expected at least 1"),
        (("--frame", "big"), "expected HxW"),
        (("--aspect", "wide"), "W:H"),
        (("--weights", "x", "--model", "clip", "--model", "bit"), "run them one by one"),
    ],
)
def test_mistakes_are_one_line_on_stderr(data, arguments, message):
    result = run("egoobjects", "--root", data / "ego", "--queries", 4, "--database", 6, *arguments)
    assert message in error_of(result)


def test_make_data_refuses_a_folder_with_something_in_it(data):
    result = run("make-data", "egoobjects", data)
    assert result.exit_code == 1
    assert "not empty" in result.stderr


def test_plots_can_be_left_out(data, tmp_path):
    done = run(
        "egoobjects", "--root", data / "ego", "--model", MODEL, "--queries", 4, "--database", 9, "--kernels", "cosine",
        "--invariances", "pooled", "--features", data / "features", "--out", tmp_path, "--no-plots",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".jsonl", ".html"}


def test_a_small_set_takes_what_there_is_and_says_so(data):
    done = run(
        "egoobjects", "--root", data / "ego", "--model", MODEL, "--kernels", "cosine", "--invariances", "none",
        "--features", data / "features", "--format", "json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "15 usable pictures where 2000 queries and a database of 5000 need 7000" in done.stderr
    report = json.loads(done.stdout)
    assert (report["dataset"]["queries"], report["dataset"]["databases"]) == (4, [11])
    assert report["dataset"]["notes"][0] in done.stderr
    assert "queries is 4; the paper: 2000" in report["deviations"]


def test_the_papers_protocol_is_followed_but_for_what_is_given_beside_it(data, tmp_path):
    done = run(
        "egoobjects", "--root", data / "ego", "--model", MODEL, "--queries", 4, "--database", 9,
        "--kernels", "cosine,rbf", "--features", tmp_path, "--paper-protocol", "--frame", "45x80", "--format", "json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    settings = report["settings"]
    assert (settings["solver"], settings["center"], settings["dtype"]) == ("batch-optimal", "position", "float32")
    assert settings["frame"] == [45, 80]
    assert settings["paper_protocol"] is True
    deviations = report["deviations"]
    assert "frame is 45 x 80; the paper: 1080 x 1920" in deviations
    assert not any(line.startswith(("solver", "center", "dtype", "aspect")) for line in deviations)
    assert any(line.startswith("rbf has one bandwidth") for line in deviations)
    assert {m["paper"] for m in report["metrics"]} == {None}
    assert not any("paper" in column for table in report["tables"] for column in table["header"])
    assert [folder.name for folder in tmp_path.iterdir()] == [f"egoobjects-{NAME}-96x160-float32-frames-45x80"]


def test_numbers_of_the_paper_stand_only_where_everything_is_the_papers(data, ego_report, monkeypatch):
    monkeypatch.setattr(paper, "EXTRACTORS", {NAME: "CLIP"})
    monkeypatch.setattr(paper, "QUERIES", 4)
    monkeypatch.setattr(paper, "TABLE_2", {"CLIP": {9: ((0.1, 0.2), (0.3, 0.4), (0.5, 0.6))}})
    arguments = (
        "egoobjects", "--root", data / "ego", "--queries", 4, "--database", 9, "--database", 6, "--kernels", "linear",
        "--features", data / "features", "--format", "json", "--model",
    )  # fmt: skip

    def papers(model):
        report = json.loads(run(*arguments, model).stdout)
        return {
            (m["cell"]["database"], m["cell"].get("invariance")): m["paper"] for m in report["metrics"] if m["paper"]
        }

    assert papers(NAME) == {}  # rendered pictures
    monkeypatch.setattr(egoobjects, "EGOOBJECTS_TEST", (15, 15))
    assert papers(NAME) == {(9, "none"): 0.3, (9, "permutation"): 0.4}
    assert papers(MODEL) == {}  # another input size
