"""``semret eval`` where plots or the folder for them are missing: said before anything is computed, printed anyway."""

import pytest
from typer.testing import CliRunner

from semret.cli import evaluation as app
from semret.errors import MissingDependencyError
from semret.eval.report import drawing, palette
from semret.index.backbones import registry

runner = CliRunner()
SMALL = ("translation", "--model", "efficientnet-lite0@64x64", "--pairs", "2", "--batches", "1", "--largest", "16")


@pytest.fixture
def no_matplotlib(monkeypatch):
    def refuse():
        raise MissingDependencyError("matplotlib cannot be imported (gone); reinstall semret")

    monkeypatch.setattr(drawing, "load_matplotlib", refuse)


def test_without_matplotlib_results_are_printed_and_written(tmp_path, no_matplotlib):
    done = runner.invoke(app, [*SMALL, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("plots are left out: matplotlib cannot be imported")
    assert "permutation" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.md"}


def test_a_failing_plot_is_a_note(tmp_path, monkeypatch):
    def refuse():
        raise RuntimeError("no font found")

    monkeypatch.setattr(palette, "load_matplotlib", refuse)
    done = runner.invoke(app, [*SMALL, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "separation.png could not be drawn: no font found" in done.stderr
    assert "permutation" in done.stdout


@pytest.mark.parametrize("command", ["translation", "correlation", "cka", "runtime", "approximation"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch, command):
    def refuse(*arguments, **options):
        raise AssertionError("something was computed")

    monkeypatch.setattr(registry, "create_backbone", refuse)
    (tmp_path / "file").write_bytes(b"")
    done = runner.invoke(app, [command, "--out", str(tmp_path / "file")])
    assert done.exit_code == 1
    assert done.stderr.startswith("semret: cannot write into --out")
    assert done.stderr.count("\n") == 1


def test_results_are_printed_where_the_report_cannot_be_written(tmp_path):
    (tmp_path / "report.json").mkdir()
    done = runner.invoke(app, [*SMALL, "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "cannot write" in done.stderr
    assert "permutation" in done.stdout
