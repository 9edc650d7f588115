"""One line from an error of another library."""

from __future__ import annotations

from semret.errors import cut_text


def test_a_text_becomes_one_line_without_runs_of_white_space() -> None:
    assert cut_text(ValueError("  first\n\tsecond\r\n third ")) == "first second third"


def test_a_long_text_is_cut() -> None:
    assert cut_text(ValueError("x" * 500)) == "x" * 120
    assert cut_text("y" * 500, most=7) == "y" * 7


def test_an_error_without_a_text_is_known_by_its_type() -> None:
    assert cut_text(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert cut_text(ValueError(" \n ")) == "ValueError"
