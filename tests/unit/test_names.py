"""Names as people see them: nothing hidden, nothing ambiguous, nothing that runs."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semret.names import escaped, spreadsheet_cell, unescaped

ANY = st.text(st.characters())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name.jpg", "plain name.jpg"),
        ("caf\u00e9 \u5199\u771f.jpg", "caf\u00e9 \u5199\u771f.jpg"),
        ("at 9.41\u202fAM.png", "at 9.41\u202fAM.png"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x1b[31m\x9b", r"\x1b[31m\x9b"),
        ("gpj.\u202egnp", r"gpj.\u202egnp"),
        ("\u200b\u2060\ufeff\u00ad", r"\u200b\u2060\ufeff\xad"),
        ("\u2066x\u2069\u061c", r"\u2066x\u2069\u061c"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\U000e0041\U000e0100", r"\U000e0041\U000e0100"),
        ("\ue000", r"\ue000"),
        ("\u3164", r"\u3164"),
        ("bad\udcff", r"bad\udcff"),
        ("back\\slash", r"back\\slash"),
        ("not\\x1ban escape", r"not\\x1ban escape"),
    ],
)
def test_names_show_everything(name, shown):
    assert escaped(name) == shown
    assert unescaped(shown) == name


def test_nothing_of_the_hidden_categories_is_printed():
    hidden = {"Cc", "Cf", "Zl", "Zp", "Co", "Cs", "Cn"}
    for code in (*range(0x20000), *range(0xE0000, 0xE0200), sys.maxunicode):
        character = chr(code)
        if unicodedata.category(character) in hidden:
            assert escaped(character).isascii()
            assert escaped(character).isprintable()


@given(ANY)
def test_escapes_can_be_undone(name):
    assert unescaped(escaped(name)) == name


@given(ANY, ANY)
def test_names_are_never_mistaken_for_one_another(one, other):
    assert (escaped(one) == escaped(other)) == (one == other)
    assert (spreadsheet_cell(one) == spreadsheet_cell(other)) == (one == other)


@pytest.mark.parametrize("start", [*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_a_spreadsheet_sees_no_formula(start):
    cell = spreadsheet_cell(f"{start}cmd|' /C calc'!A0.jpg")
    assert cell[0] == "'"
    assert unescaped(cell[1:]) == f"{start}cmd|' /C calc'!A0.jpg"


def test_other_cells_stay_as_they_are():
    assert spreadsheet_cell("photos/a=b.jpg") == "photos/a=b.jpg"
    assert spreadsheet_cell("") == ""
    assert spreadsheet_cell("'quoted'") == "''quoted'"


def test_what_is_no_escape_stays():
    assert unescaped(r"a\q \x1 \U99999999 end\\"[:-1]) == r"a\q \x1 \U99999999 end\\"[:-1]


def test_an_error_is_one_line_that_names_a_file_as_it_is_called():
    from semret.errors import ArgumentError
    from semret.names import one_line

    error = ArgumentError("two  spaces\nand\tmore\u202e: is no picture\n")
    assert one_line(error) == r"two  spaces\nand\tmore\u202e: is no picture"
    assert unescaped(one_line(error)) == str(error).strip()
