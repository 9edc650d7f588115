"""Nothing that goes wrong with a figure costs a result: what matplotlib finds around it, and what a drawing raises."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from semret.errors import MissingDependencyError
from semret.eval.report.document import Report, Table
from semret.eval.report.drawing import load_matplotlib
from semret.eval.report.files import write_report
from semret.eval.report.plots import bars
from semret.eval.report.schema import find_problems
from tests.support.places import with_root

DRAW = (
    "from pathlib import Path; from semret.eval.report.plots import bars; "
    "bars(['a'], {'m': [(0.5, 0.4, 0.6)]}, label='y', title='t')(Path('figure.png'))"
)


def report(**figures):
    return Report(
        experiment="x", title="A title", settings={}, seed=0,
        dataset={"name": "d", "pictures": 1, "fingerprint": "0" * 64},
        tables=[Table("T", ["a"], [["1"]])], figures=figures,
    )  # fmt: skip


def draw_elsewhere(folder, environment=(), code=DRAW):
    left = ("HOME", "MPLCONFIGDIR", "MPLBACKEND", "PYTHONWARNINGS")
    kept = {name: value for name, value in os.environ.items() if name not in left}
    found = with_root(kept) | {"HOME": str(folder / "no-home"), **dict(environment)}
    # Every warning is an error, except for those that PYTHONWARNINGS lets pass here (see .ci/lower_bounds).
    warned = ["-W", "error", *(f"-W{option}" for option in sys.warnoptions)]
    return subprocess.run(
        [sys.executable, *warned, "-c", code], cwd=folder, env=found, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


def test_a_figure_that_cannot_be_drawn_is_a_note_of_a_complete_report(tmp_path):
    def fails(path):
        path.write_bytes(b"half a picture")
        raise RuntimeError("no font\nfound")

    made = report(**{"bad.png": fails, "good.png": bars(["a"], {"m": [(0.5, 0.4, 0.6)]}, label="y", title="t")})
    written = write_report(made, tmp_path)
    assert [path.name for path in written] == ["report.json", "report.md", "good.png"]
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.md", "good.png"}
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert find_problems(document) == []
    assert document["figures"] == ["good.png"]
    assert document["notes"] == ["bad.png could not be drawn: no font found"]
    assert "bad.png could not be drawn" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_the_texts_are_there_before_anything_is_drawn(tmp_path):
    seen = []
    write_report(
        report(**{"f.html": lambda path: seen.extend(sorted(p.name for p in path.parent.iterdir()))}), tmp_path
    )
    assert seen == ["report.json", "report.md"]


@pytest.mark.parametrize("without", ["HOME", "writable folders", "passwd entry"])
def test_figures_are_drawn_without_a_home_to_write_to(tmp_path, without):
    environment, code = {}, DRAW
    if without == "writable folders":
        (tmp_path / "file").write_bytes(b"")
        environment = {"HOME": str(tmp_path / "file"), "MPLCONFIGDIR": str(tmp_path / "file" / "below")}
    elif without == "passwd entry":
        code = "import os, pwd; del os.environ['HOME']; pwd.getpwuid = lambda uid: {}[uid]; " + DRAW
    done = draw_elsewhere(tmp_path, environment, code)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_no_display_and_no_backend_of_the_user_is_asked(tmp_path):
    done = draw_elsewhere(tmp_path, {"MPLBACKEND": "tkagg", "DISPLAY": ":77"})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["settings", "pipe", "device", "another encoding"])
def test_a_matplotlibrc_of_the_current_folder_changes_nothing(tmp_path, kind):
    assert draw_elsewhere(tmp_path).returncode == 0
    plain = (tmp_path / "figure.png").read_bytes()
    planted = tmp_path / "matplotlibrc"
    if kind == "pipe":
        os.mkfifo(planted)
    elif kind == "device":
        planted.symlink_to("/dev/zero")
    elif kind == "another encoding":
        planted.write_bytes(b"font.family: \xff\xfe\n")
    else:
        settings = "text.usetex: True\nfont.size: 30\nsavefig.dpi: 10\nfigure.facecolor: red\n"
        planted.write_text(settings, encoding="utf-8")
    done = draw_elsewhere(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figure.png").read_bytes() == plain


@pytest.mark.parametrize("hindrance", ["backend", "encoding"])
def test_what_keeps_matplotlib_from_loading_is_said_in_one_line(tmp_path, hindrance):
    environment = {"MPLBACKEND": "no-such"}
    if hindrance == "encoding":
        (tmp_path / "mine").write_bytes(b"font.family: \xff\xfe\n")
        environment = {"MATPLOTLIBRC": str(tmp_path / "mine")}
    done = draw_elsewhere(
        tmp_path, environment,
        "from semret.errors import MissingDependencyError\nfrom semret.eval.report.drawing import load_matplotlib\n"
        "try: load_matplotlib()\nexcept MissingDependencyError as error: print(error)",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("matplotlib ")
    assert done.stdout.count("\n") == 1


def test_a_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match="reinstall semret"):
        load_matplotlib()


def test_files_of_an_earlier_run_do_not_stay_beside_a_new_report(tmp_path):
    def draw(path):
        path.write_text("old", encoding="utf-8")

    old = report(**{"old.png": draw, "examples-1.html": draw, "examples-2.html": draw})
    old.per_query = [{"query": "q"}]
    write_report(old, tmp_path)
    for name in ("holiday.png", "notes.html", "examples.html"):
        (tmp_path / name).write_text("kept, or an older run's", encoding="utf-8")
    write_report(report(**{"new.png": draw, "examples.html": draw}), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.json", "report.md", "new.png", "examples.html", "holiday.png", "notes.html",
    }  # fmt: skip
    assert "[examples](examples.html)" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_report_that_somebody_planted_removes_nothing_elsewhere(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("victim.png", "out/own.txt", "out/plot.png"):
        (tmp_path / name).write_bytes(b"x")
    names = ["../victim.png", str(tmp_path / "victim.png"), "own.txt", 7, "plot.png\n"]
    (folder / "report.json").write_text(json.dumps({"schema": "semret-report/1", "figures": names}), encoding="utf-8")
    write_report(report(), folder)
    assert {path.name for path in tmp_path.rglob("*.*")} >= {"victim.png", "own.txt", "plot.png"}


def test_numbers_that_cannot_be_drawn_do_not_cost_the_report(tmp_path):
    made = report(**{"nan.png": bars(["a"], {"m": [(np.nan, np.nan, np.nan)]}, label="y", title="t")})
    assert (tmp_path / "report.json") in write_report(made, tmp_path)
