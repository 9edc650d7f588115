"""Draws the pictures of an answer in terminals that can show them: kitty's graphics, and sixels.

The library asks the terminal what it can when it is imported, so it is imported only where one is there.
"""

from __future__ import annotations

import importlib
import io
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from semret.commands.output import printable, say
from semret.errors import ImageDecodeError
from semret.optional import why_not

if TYPE_CHECKING:
    from PIL import Image

    from semret.retrieval.search.results import SearchResult

TILE_COLUMNS = 18
"""Cells that a picture takes, the gap included."""

_TILE = (180, 150)
_GAP = 10
_LIBRARY = "textual_image.renderable"


def draw_thumbnails(results: Sequence[SearchResult]) -> None:
    """Draw the pictures of each query and its hits on stdout, or say why not.

    Parameters
    ----------
    results : sequence of SearchResult
    """
    kind = _kind_of_image()
    if isinstance(kind, str):
        say(f"semret: no thumbnails: {kind}")
        return
    from rich.console import Console

    # In kitty's protocol the colour of a text is the number of a picture: it must come through.
    console = Console(file=sys.stdout, color_system="truecolor", no_color=False, force_terminal=True)
    for result in results:
        if len(results) > 1:
            console.print(printable(result.query), markup=False, highlight=False)
        tiles = list(_tiles(result))
        beside = max(1, console.width // TILE_COLUMNS)
        for start in range(0, len(tiles), beside):
            row = tiles[start : start + beside]
            columns = min(TILE_COLUMNS * len(row), console.width)
            console.print(kind(_sheet([source for source, _ in row]), width=columns, height="auto"))
            captions = "".join(caption.ljust(TILE_COLUMNS) for _, caption in row)
            console.print(captions.rstrip(), markup=False, highlight=False)


def _kind_of_image() -> Any | str:
    """Return what draws a picture in this terminal; a text says why none does."""
    if not sys.stdout.isatty():
        return "standard output is no terminal"
    if not sys.stdin.isatty():
        return "standard input is no terminal, so this one cannot be asked what it shows"
    # It takes common sizes where a terminal does not tell those of its letters, and would say so across the table.
    logging.getLogger("textual_image").addHandler(logging.NullHandler())
    try:
        library = importlib.import_module(_LIBRARY)
    except ImportError as error:
        return why_not(error, _LIBRARY, "drawing", "textual-image", "run pip install 'semret[terminal]'")
    if library.Image not in (library.SixelImage, library.TGPImage):
        return "this terminal shows no pictures (kitty's graphics or sixels); see --open"
    return library.Image


def _tiles(result: SearchResult) -> Iterator[tuple[str | bytes, str]]:
    """Give each picture, as a file or its content, and what stands below it."""
    for part in result.asked:
        yield part.name if part.picture is None else part.picture, "not this" if part.avoided else "query"
    for hit in result:
        yield hit.path, f"{hit.rank}  {hit.score:.4f}"


def _sheet(sources: Sequence[str | bytes]) -> Image.Image:
    """Put small copies of pictures beside each other; an empty frame stands for one that cannot be read."""
    from PIL import Image

    from semret.index.pictures.decode import thumbnail

    width, most = _TILE
    pictures: list[Image.Image] = []
    for source in sources:
        try:
            with Image.open(io.BytesIO(thumbnail(source, width))) as small:
                small.thumbnail((width - _GAP, most))
                pictures.append(small.copy())
        except ImageDecodeError:
            pictures.append(Image.new("RGB", (width - _GAP, most), (96, 96, 96)))
    sheet = Image.new("RGB", (width * len(sources), max(picture.height for picture in pictures)))
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number * width + (width - _GAP - picture.width) // 2, sheet.height - picture.height))
    return sheet
