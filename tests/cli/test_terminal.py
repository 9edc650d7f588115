"""Commands in a terminal, at two widths: what a person sees."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest


def shown(run) -> str:
    """Return the last screen without the breaks that a narrow terminal puts into lines."""
    return run.screen.replace("\n", "")


def test_index_draws_a_bar_that_goes(terminal, photos):
    run = terminal("index", "photos", embed=0.3, load=0.3)
    run.wait_for("6 images in ")
    assert run.end() == 0
    # Numbers stay beside their words: lines are broken after commas, not where the terminal would.
    counts = re.compile(r"6 added,\s0 updated,\s0 renamed,\s0 removed,\s0 unchanged,\s0 skipped")
    assert counts.search(run.screen)
    assert "indexing" not in run.screen
    assert any("/6" in screen for screen in run.seen)


def test_the_bar_says_what_it_waits_for_and_knows_the_total(terminal, photos, columns):
    run = terminal("index", "photos", load=2)
    run.wait_for("loading efficientnet-lite0")
    run.wait_for("0/6", seconds=1.5)
    (line,) = [line for line in run.screen.splitlines() if "loading" in line]
    assert line.startswith("loading efficientnet-lite0 ")
    assert "0/6" in line
    assert "━" in line
    assert run.end() == 0
    assert "loading" not in run.screen


def test_nothing_is_loaded_where_nothing_is_new(terminal, tiny_index):
    run = terminal("index", "photos", load=30)
    assert run.end() == 0
    assert "6 unchanged" in run.screen
    assert "nothing had to be embedded; " in run.screen


def test_interrupt_keeps_what_is_done(terminal, photos):
    run = terminal("index", "photos", "--batch-size", 1, "--workers", 1, embed=0.7)
    run.wait_for(re.compile(r"[12]/6").search)
    run.interrupt()
    run.wait_for(lambda screen: "press Ctrl-C again" in " ".join(screen.split()))
    assert run.end() == 130
    assert "interrupted; what is done is kept" in shown(run)
    assert terminal("index", "photos").end() == 0


def test_a_second_interrupt_ends_at_once(terminal, photos):
    run = terminal("index", "photos", embed=600)
    run.wait_for("0/6")
    run.interrupt()
    run.wait_for(lambda screen: "press Ctrl-C again" in " ".join(screen.split()))
    run.interrupt()
    assert run.end() == 130


def test_interrupt_while_the_network_loads(terminal, photos, tmp_path):
    run = terminal("index", "photos", load=3)
    run.wait_for("loading")
    run.interrupt()
    assert run.end() == 130
    # The network is not waited for, and nothing was embedded that could be kept.
    assert (
        "stopped before the first pictures were in the index, which a new one takes in at once; nothing is kept "
        "and there is no index yet, run the same command again" in shown(run)
    )
    assert "^C" not in run.screen


def test_messages_appear_above_the_bar(terminal, photos):
    (photos / "bro\nken[red].jpg").write_bytes(b"no picture")
    run = terminal("index", "photos", embed=0.2)
    assert run.end() == 0
    # Where the line is broken depends on how long the folder's name is, and a space at the break is not seen.
    assert "bro\\nken[red].jpg:isnopicture" in shown(run).replace(" ", "")


@pytest.mark.parametrize("arguments", [["verify", "--files"], ["export", "x.tar"], ["compact"], ["info"]])
def test_commands_on_an_index(terminal, tiny_index, arguments):
    run = terminal(*arguments)
    assert run.end() == 0
    assert run.screen


def test_import_and_remove(terminal, tiny_index):
    assert terminal("export", "x.tar").end() == 0
    assert terminal("import", "x.tar", "--index", "other").end() == 0
    run = terminal("remove", "photos/0.png", "--index", "other")
    assert run.end() == 0
    assert "1 removed, 5 images left" in shown(run)


def test_defects_are_a_table_within_the_width(terminal, tiny_index, columns):
    (tiny_index / "segments" / "000001.h5").write_bytes(b"")
    run = terminal("verify")
    assert run.end() == 1
    assert "what to do" in run.screen
    assert "000001.h5" in re.sub(r"\n {12}", "", run.screen) or columns == 120
    assert "…" not in run.screen


def test_models_at_any_width(terminal, columns):
    run = terminal("models", tiny=False)
    assert run.end() == 0
    if columns == 120:
        header = " ".join(run.screen.splitlines()[0].split())
        assert header.startswith("name take it for S C input text licence weights speed")
        assert len({line.index("x") for line in run.screen.splitlines() if "224x224" in line}) >= 1
    else:
        record = run.screen.split("\n\n")[-1].split("\n")
        assert record[0].split() == ["name", "dinov2-giant-imagenet1k"]
        assert [line.split(" ")[0] for line in record if not line.startswith(" ")][:3] == ["name", "take", "S"]


def test_paths_are_folded_and_can_be_put_together_again(terminal, tmp_path, photos, columns):
    name = "[red]a  b[bold] " + "long name " * 9 + "\x1b[31m.png"
    shutil.copy(photos / "0.png", photos / name)
    assert terminal("index", "photos").end() == 0
    run = terminal("query", "photos/0.png", "-k", 3)
    assert run.end() == 0
    lines = run.screen.splitlines()
    assert lines[0].split()[:4] == ["rank", "score", "pooled", "id"]
    start = lines[0].index("path")
    # What the screen lost at the ends of lines are blanks.
    width = columns - start
    rows = "".join(line[start:].ljust(width) for line in lines[1:])
    assert "photos/[red]a  b[bold] " + "long name " * 9 + "\\x1b[31m.png" in re.sub(" {40,}", " ", rows)


def test_rsm_and_cka(terminal, tmp_path):
    np.save(tmp_path / "f.npy", np.random.default_rng(0).normal(size=(8, 9, 4)).astype(np.float32))
    run = terminal("rsm", "f.npy", "-o", "a-rather-long-name-of-a-matrix.npy", tiny=False)
    assert run.end() == 0
    assert "a-rather-long-name-of-a-matrix.npy" in re.sub(r"\s", "", run.screen)
    run = terminal("cka", *["a-rather-long-name-of-a-matrix.npy"] * 2, tiny=False)
    assert run.end() == 0
    assert "1.0" in run.screen


@pytest.mark.slow
def test_an_experiment_says_what_it_waits_for(terminal):
    run = terminal("eval", "approximation", "--side", 64, "--count", 2, tiny=False)
    assert run.end() == 0
    # Looked for on every screen: the report is longer than one.
    bars = [line for screen in run.seen for line in screen.splitlines() if line.startswith("embedding pictures")]
    assert bars
    assert not any("?" in line for line in bars)
    assert any(re.search(r"[1-9]/\d+", screen) for screen in run.seen)
    assert "deviations from the paper" in " ".join(run.screen.split())


def test_rendering_draws_a_bar(terminal, tmp_path):
    run = terminal("eval", "make-data", "egoobjects", "data", "--scenes", 3, "--videos", 2, tiny=False)
    assert run.end() == 0
    assert "12 pictures in data" in run.screen
    # On a fast machine the bar has come and gone before its first screen is read.
    assert any("/12" in screen for screen in run.seen)


def test_interrupt_while_a_bar_is_drawn(terminal, tmp_path):
    run = terminal("eval", "make-data", "egoobjects", "data", "--scenes", 300, tiny=False)
    run.wait_for(re.compile(r"[1-9]/3000").search)
    run.interrupt()
    assert run.end() == 130
    assert not run.hidden_cursor
