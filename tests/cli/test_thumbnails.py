"""`--thumbnails` under a pseudo-terminal that answers what it can draw, and where there is none that could."""

from __future__ import annotations

import base64
import io
import os
import re
import sys
from functools import partial

import pexpect
import pytest
from PIL import Image
from textual_image import _terminal as library_terminal

from semret.cli import app
from tests.support.commands import invoke
from tests.support.terminals import sized

# What a terminal answers. The library asks what it is, then for graphics; from 0.14 on (Python 3.12) for all at once,
# and what it is comes last.
SIXEL, NEITHER = b"\x1b[?62;4;22c", b"\x1b[?62;22c"
GRAPHICS = b"\x1b_Gi=1;OK\x1b\\"
KITTY = GRAPHICS + NEITHER if hasattr(library_terminal, "probe_terminal") else NEITHER + GRAPHICS
CELL = 10, 20
PALE = "\x1b[38;2;"


def _without_size():
    """Return the environment without what would be believed before the terminal's own size."""
    return {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}


@pytest.fixture
def ask(rendered_index):
    """Run ``semret query`` in a terminal whose answers are there before it is asked: nothing waits for anything."""

    def start(answer, *arguments, columns=100, **environment):
        first, *rest = sized([sys.executable, "-m", "semret", "query", *map(str, arguments)], 40, columns, CELL)
        child = pexpect.spawn(
            first,
            rest,
            dimensions=(40, columns),
            timeout=120,
            echo=False,
            env={**_without_size(), "TERM": "xterm-256color", "SEMRET_INDEX": str(rendered_index), **environment},
        )
        child.send(answer)
        written = child.read()
        child.close()
        assert child.exitstatus == 0, written
        assert b"Traceback" not in written
        return written

    return start


@pytest.fixture
def pictures(rendered):
    return sorted(rendered.glob("*.jpg"))


def sixel_size(data: bytes) -> tuple[int, int]:
    """Return the width and height that a picture in sixels declares, or has."""
    lines = re.sub(rb"[^?-~!\d$-]", b"", re.sub(rb"#\d+(;\d+)*|\"[\d;]*", b"", data)).split(b"-")
    widths = []
    for line in lines:
        for row in line.split(b"$"):
            repeated = re.sub(rb"!(\d+)([?-~])", lambda found: found[2] * int(found[1]), row)
            widths.append(len(repeated))
    return max(widths), 6 * len([line for line in lines if line])


def test_sixels_are_drawn_where_the_terminal_shows_them(ask, pictures):
    written = ask(SIXEL, pictures[0], "-k", 3, "--thumbnails")
    (drawn,) = re.findall(rb"\x1bP[\d;]*q(.*?)\x1b\\", written, re.DOTALL)
    width, height = sixel_size(drawn)
    assert width == 4 * 18 * CELL[0]
    assert 6 * CELL[1] <= height <= 9 * CELL[1]
    captions = written.split(b"\x1b8")[-1].decode()
    assert captions.split() == ["query", "1", "1.0000", "2", *captions.split()[4:5], "3", *captions.split()[6:]]
    assert written.index(b"1.0000") < written.index(b"\x1bP")


def test_kitty_gets_a_png_and_places_for_it_in_colours_that_are_numbers(ask, pictures):
    written = ask(KITTY, pictures[0], "-k", 3, "--thumbnails", NO_COLOR="1")
    chunks = re.findall(rb"\x1b_Gi=(\d+),m=([01]),f=100,q=2;([A-Za-z0-9+/=]+)\x1b\\", written)
    assert [more for _, more, _ in chunks] == [b"1"] * (len(chunks) - 1) + [b"0"]
    png = Image.open(io.BytesIO(base64.b64decode(b"".join(data for *_, data in chunks))))
    assert png.format == "PNG"
    assert png.width == 4 * 18 * CELL[0]
    number = int(chunks[0][0])
    text = written.decode()
    assert f"{PALE}{number >> 16 & 255};{number >> 8 & 255};{number & 255}m" in text
    assert text.count("\U0010eeee") == 4 * 18 * round(png.height / CELL[1])


def test_pictures_go_on_below_where_the_terminal_is_narrow(ask, pictures):
    written = ask(SIXEL, pictures[0], "--not", pictures[5], "-k", 3, "--thumbnails", columns=40)
    assert len(re.findall(rb"\x1bP[\d;]*q", written)) == 3
    assert b"query" in written
    assert b"not this" in written


def test_a_terminal_that_shows_none_is_told_in_one_line(ask, pictures):
    written = ask(NEITHER, pictures[0], "-k", 1, "--thumbnails").decode()
    assert "semret: no thumbnails: this terminal shows no pictures" in " ".join(written.split())
    assert "\x1bP" not in written


def test_standard_input_that_is_no_terminal_is_told_in_one_line(ask, pictures, rendered_index):
    command = f"{sys.executable} -m semret query - -k 1 --thumbnails < {pictures[0]}"
    child = pexpect.spawn(
        "sh", ["-c", command], timeout=120, env={**os.environ, "SEMRET_INDEX": str(rendered_index), "TERM": "xterm"}
    )
    written = child.read().decode()
    child.close()
    assert child.exitstatus == 0
    assert "no thumbnails: standard input is no terminal" in " ".join(written.split())


def test_a_file_that_is_gone_is_an_empty_frame(tmp_path, tiny_index, photos, monkeypatch):
    import semret
    from semret.commands.thumbnails import _sheet, _tiles

    with semret.open(tiny_index) as engine:
        result = engine.query(photos / "0.png", k=2)
        (photos / "0.png").unlink()
        tiles = list(_tiles(result))
    assert [caption.split()[0] for _, caption in tiles] == ["query", "1", "2"]
    sheet = _sheet([source for source, _ in tiles])
    assert sheet.getpixel((85, sheet.height // 2)) == (96, 96, 96)


def test_where_stdout_is_no_terminal_nothing_is_drawn(rendered_index, pictures, monkeypatch):
    monkeypatch.setenv("SEMRET_INDEX", str(rendered_index))
    run = partial(invoke, app)
    plain, drawn = run("query", pictures[0], "-k", 2), run("query", pictures[0], "-k", 2, "--thumbnails")
    assert drawn.stdout.splitlines()[:3] == plain.stdout.splitlines()[:3]
    assert "\x1b" not in drawn.stdout
    assert drawn.stderr == "semret: no thumbnails: standard output is no terminal\n"


def test_without_the_library_one_line_says_what_to_install(monkeypatch, capsys):
    from semret.commands import thumbnails

    monkeypatch.setattr(sys, "stdout", Talking(sys.stdout))
    monkeypatch.setattr(sys, "stdin", Talking(sys.stdin))
    monkeypatch.setitem(sys.modules, "textual_image.renderable", None)
    thumbnails.draw_thumbnails([])
    assert capsys.readouterr().err == (
        "semret: no thumbnails: drawing needs textual-image, which is not installed; "
        "run pip install 'semret[terminal]'\n"
    )


class Talking:
    """A stream that says that it is a terminal."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def isatty(self):
        return True
