"""The scripts whose numbers stand in the README: that they run, and say what they measured; not how long it took."""

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from semret.eval.experiments.cost import Cost

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Import a script as Python does when it runs it: with its folder on the path."""
    monkeypatch.syspath_prepend(BENCHMARKS)

    def load(name):
        for module in (name, "documents"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        return importlib.import_module(name)

    return load


def cost(method, milliseconds, *, positions=256, label="512 px", quality=0.9, exact=False, affinity=2.0, channels=1280):
    return Cost(
        label=label, positions=positions, channels=channels, method=method, exact=exact, milliseconds=milliseconds,
        quartiles=(milliseconds * 0.9, milliseconds * 1.25), quality=quality, distance=0.5, speedup=8 / milliseconds,
        affinity_milliseconds=affinity, pairs=40, intervals={},
    )  # fmt: skip


def two_sizes():
    """Windows of 128 and 256 are one method at the first size."""
    small = {"label": "224 px", "positions": 49, "affinity": 1.0}
    return [
        cost("auction", 0.035, quality=1.0, exact=True, **small), cost("batch-optimal 128", 0.128, **small),
        cost("batch-optimal 256", 0.128, **small), cost("identity", 0.002, **small),
        cost("auction", 4.0, quality=1.0, exact=True), cost("batch-optimal 128", 0.896),
        cost("batch-optimal 256", 0.5), cost("identity", 2000.0, quality=float("nan")),
    ]  # fmt: skip


def test_a_cell_has_quality_median_quartiles_and_speed_up(script):
    lines = script("solvers").format_table(two_sizes()).splitlines()
    assert lines[0] == "| method | 224 px<br>S = 49, 40 pairs | 512 px<br>S = 256, 40 pairs |"
    assert lines[2] == (
        "| auction | 100.0 %<br>0.035 ms (0.0315 to 0.0438)<br>229x | 100.0 %<br>4 ms (3.6 to 5)<br>2.0x |"
    )
    assert lines[-2].startswith(
        "| identity | 90.0 %<br>2 \N{MICRO SIGN}s (1.8 to 2.5)<br>4,000x | -<br>2 s (1.8 to 2.5)"
    )
    assert lines[-1] == "| *the affinity itself* | 1 ms | 2 ms |"


def test_what_was_measured_once_is_shown_once(script):
    solvers, costs = script("solvers"), two_sizes()
    lines = solvers.format_table(costs).splitlines()
    assert lines[4] == "| batch-optimal 256 | as *batch-optimal 128* | 90.0 %<br>0.5 ms (0.45 to 0.625)<br>16x |"
    # The same at every size: one row.
    alike = [dataclasses.replace(entry, milliseconds=0.5) if entry.method[-3:] in ("128", "256") else entry
             for entry in costs]  # fmt: skip
    names = [line.split(" | ")[0] for line in solvers.format_table(alike).splitlines()[2:]]
    assert names == ["| auction", "| batch-optimal 128, 256", "| identity", "| *the affinity itself*"]


@pytest.mark.parametrize(
    ("affinities", "expected"),
    [
        ((1.0, 9.0), "less than forming the affinity of maps of 1,280 channels at each of these sizes"),
        ((1.0, 2.0), "less than forming the affinity of maps of 1,280 channels at S = 49,"),
        ((0.01, 2.0), "less than forming the affinity of maps of 1,280 channels at none of these sizes"),
    ],
)
def test_nothing_is_claimed_that_was_not_measured(script, affinities, expected):
    costs = [
        dataclasses.replace(entry, affinity_milliseconds=affinities[entry.positions == 256]) for entry in two_sizes()
    ]
    layers = [cost("auction", 11.6, positions=1024, label="blocks.2", channels=40, affinity=2.4)]
    text = script("solvers").describe_auction(costs, layers)
    assert expected in text
    assert "less than every setting of *batch-optimal*, the approximation that the paper settles on, at S = 49." in text
    assert (
        "other way round: at S = 1,024 and 40 channels (layer blocks.2) the affinity takes 2.4 ms, the matching" in text
    )
    wide = [dataclasses.replace(layers[0], affinity_milliseconds=20.0)]
    assert "too, it takes less than the affinity: at S = 1,024" in script("solvers").describe_auction(costs, wide)


def test_the_table_of_solvers_is_written_with_its_conditions(script, tmp_path, monkeypatch, draw_picture):
    for seed in range(3):
        draw_picture(seed).save(tmp_path / f"{seed}.png")
    document = tmp_path / "README.md"
    document.write_text(
        "above\n<!-- begin: benchmarks/solvers.py -->\nold\n<!-- end: benchmarks/solvers.py -->\nbelow\n"
    )
    words = ["--images", tmp_path, "--sides", "64", "96", "--layers-side", "64", "--out", tmp_path / "found.json"]
    monkeypatch.setattr(sys, "argv", ["solvers.py", *map(str, words), "--readme", str(document)])
    script("solvers").main()
    text = document.read_text()
    assert text.startswith("above\n<!-- begin: benchmarks/solvers.py -->\n| method | 64 px<br>S = 4, 3 pairs | 96 px")
    assert text.endswith("</sub>\n<!-- end: benchmarks/solvers.py -->\nbelow\n")
    assert "old" not in text
    for condition in ("3 pictures", "one thread", "not centred", "numba ", "ortools ", " cores; python "):
        assert condition in text
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found["conditions"]) == {"processor", "cores", "python", "semret", "numba", "numpy", "scipy", "ortools"}
    assert found["dataset"]["pictures"] == 3
    assert {row["positions"] for row in found["rows"]} == {4, 9}
    assert {row["method"] for row in found["layers"]} == {"auction"}


def test_the_sentences_on_indexing_are_written_with_their_conditions(script, tmp_path, monkeypatch, draw_picture):
    for seed in range(2):
        draw_picture(seed).save(tmp_path / f"{seed}.png")
    document = tmp_path / "README.md"
    document.write_text("<!-- begin: benchmarks/indexing.py -->\n<!-- end: benchmarks/indexing.py -->\n")
    words = ["--images", str(tmp_path), "--rounds", "1", "--readme", str(document)]
    monkeypatch.setattr(sys, "argv", ["indexing.py", *words])
    script("indexing").main()
    text = document.read_text()
    assert "Indexing with the default model: " in text
    assert " cores; python " in text


def test_a_document_without_markers_is_left_alone(script, tmp_path):
    document = tmp_path / "README.md"
    document.write_text("nothing to replace\n")
    with pytest.raises(SystemExit, match="lacks the lines <!-- begin: benchmarks/solvers"):
        script("documents").put_between_markers(document, "solvers.py", "text")
    assert document.read_text() == "nothing to replace\n"


def test_several_pictures_are_measured_by_what_they_have_in_common(script):
    import numpy as np

    together = script("together")
    assert (
        together.average_precision(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False]))
        == (1 + 2 / 3) / 2
    )
    # Eight pictures show the one kind, eight the other, four both, twenty neither.
    shown = np.zeros((40, 2), dtype=bool)
    shown[:12, 0] = shown[8:20, 1] = True
    scores = shown.astype(float) @ shown.T
    found = together.wanted_together(scores, shown, 2, 20)
    assert set(found) == {"one alone", "largest score", "mean of scores", "mean of ranks"}
    assert all(len(values) == 20 for values in found.values())
    weighed = together.avoided(scores, shown, "scores", 10)
    assert weighed[0.75].mean() > weighed[0.0].mean()
    assert together.line("x", np.array([0.5, 0.7]), np.array([0.4, 0.6])) == "x               0.600  +0.100 ± 0.000"


DISASSEMBLED = """
.text.kernel:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   IADD3 R0, R0, 0x1, RZ ;
.L_x_0:
        /*0020*/                   LDG.E R2, desc[UR4][R2.64] ;
        /*0030*/              @!P0 BRA `(.L_x_0) ;
        /*0040*/               @P1 BRA `(.L_x_1) ;
        /*0050*/               @P2 BRA `(.L_x_3) ;
.L_x_2:
        /*0060*/                   EXIT ;
.L_x_3:
        /*0070*/                   WARPSYNC.COLLECTIVE R9, `(.L_x_2) ;
        /*0080*/                   ENDCOLLECTIVE ;
        /*0090*/                   BRA `(.L_x_1) ;
.L_x_4:
        /*00a0*/                   BRA `(.L_x_4);
"""


def test_loops_of_a_kernel_are_counted_and_what_lies_behind_its_end_is_not(script):
    assert script("kernel_costs").loop_lengths(DISASSEMBLED) == [2, 4]


@pytest.mark.slow
def test_what_a_kernel_is_compiled_to_is_told():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, BENCHMARKS / "kernel_costs.py", "--sides", "64"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=True)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()[2:] if line]
    assert rows[0] == ["kernel", "S", "registers", "spilled bytes", "programs at once", "instructions of loops"]
    auction = dict(zip(rows[0], next(row for row in rows if row[0] == "auction"), strict=True))
    assert auction["S"] == "64"
    assert 0 < int(auction["registers"]) <= 255
    assert 1 <= int(auction["programs at once"]) <= 32
    assert len(auction["instructions of loops"].split()) == 2
