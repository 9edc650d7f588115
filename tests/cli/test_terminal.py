"""Commands in a terminal, at two widths: what a person sees."""

from __future__ import annotations


def test_index_in_a_terminal(terminal, photos):
    run = terminal("index", "photos", embed=0.3, load=0.3)
    run.wait_for("6 images in ")
    assert run.end() == 0
    text = run.screen.replace("\n", "")
    assert "6 added, 0 updated" in text
    assert "indexing" not in text  # the bar is gone
    assert any("/6" in screen for screen in run.seen)
