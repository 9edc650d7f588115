"""A self-contained HTML page of search results: pictures are embedded as thumbnails.

Names come from whoever named the files: templates escape everything, what does not show itself is written out, and the
page forbids itself scripts and connections.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from semret.errors import ImageDecodeError
from semret.names import escaped

if TYPE_CHECKING:
    from jinja2 import Environment

QUERY_EDGE = 360
HIT_EDGE = 240
DRAWING_WIDTH = 840

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #3b7dd8; --muted: #8a8a8a; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1.2rem; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; }
p.settings, .stats, .path, .missed { color: var(--muted); font-size: .85rem; margin: 0; }
section { border-top: 1px solid var(--line); margin-top: 1.6rem; padding-top: 1.2rem; display: grid;
  grid-template-columns: minmax(12rem, 18rem) 1fr; gap: 1.6rem; align-items: start; }
figure { margin: 0; }
img, .missing { width: 100%; border-radius: 6px; display: block; }
.query { position: relative; border-radius: 6px; overflow: hidden; }
.region { position: absolute; box-sizing: border-box; border: 2px solid #fff; outline: 2px solid #d6336c;
  box-shadow: 0 0 0 100rem #0007; }
.missing { aspect-ratio: 4 / 3; border: 1px dashed var(--line); display: grid; place-items: center;
  color: var(--muted); }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); }
ol.explained { grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1.6rem; }
.drawing { max-width: 60rem; }
ol.explained img { border: 1px solid var(--line); box-sizing: border-box; }
.path { overflow-wrap: anywhere; unicode-bidi: isolate; }
.missed { color: #c2410c; }
.others { display: grid; grid-template-columns: 1fr 1fr; gap: .8rem; margin: .8rem 0 .4rem; }
.avoided img, .avoided .missing { box-sizing: border-box; border: 3px dashed #c2410c; opacity: .75; }
.score { display: flex; justify-content: space-between; font-variant-numeric: tabular-nums; margin-top: .3rem; }
.bar { height: 4px; border-radius: 2px; background: var(--line); overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--bar); }
@media (max-width: 44rem) { section { grid-template-columns: 1fr; } }
"""


@dataclass(frozen=True, kw_only=True)
class ShownHit:
    """What a page shows of one hit.

    Attributes
    ----------
    rank : int
    score : float
    path : str
        File of the picture that is shown.
    copies : tuple of str
        Files of the same content.
    missed : bool
        Whether the shortlist did not hold it.
    drawing : bytes
        Of its explanation, a JPEG file, which is then shown in place of the picture; empty if there is none.
    remarks : tuple of str
        Further lines below the picture.
    """

    rank: int
    score: float
    path: str
    copies: tuple[str, ...] = ()
    missed: bool = False
    drawing: bytes = b""
    remarks: tuple[str, ...] = ()


class ShownPart(NamedTuple):
    """What a page shows of a further picture of a question.

    Attributes
    ----------
    name : str
        What it is called.
    picture : str or bytes
        Its file, or the content of that.
    avoided : bool
        Whether hits should not be like it.
    """

    name: str
    picture: str | bytes
    avoided: bool


@dataclass(frozen=True, kw_only=True)
class Section:
    """What a page shows of one query and its hits.

    Attributes
    ----------
    query : str
        What the query is called.
    picture : str or bytes
        Its file, or the content of that.
    remarks : sequence of str
        Lines below the picture: how the answer came about.
    hits : sequence of ShownHit
        Best first.
    region : (float, float, float, float) or None
        Left, top, width and height of a box drawn on the picture, in shares of its width and height.
    others : sequence of ShownPart
        Further pictures of the same question.
    """

    query: str
    picture: str | bytes
    remarks: Sequence[str] = ()
    hits: Sequence[ShownHit] = ()
    region: tuple[float, float, float, float] | None = None
    others: Sequence[ShownPart] = ()


def render_page(sections: Sequence[Section], *, title: str = "semret", settings: str = "") -> str:
    """Return an HTML document that shows every query beside its hits.

    A picture that can no longer be read is shown as an empty frame: the page tells of the index, not of the disk.
    Bars show the score of a hit relative to the best one of its query.

    Parameters
    ----------
    sections : sequence of Section
        In the order in which they are shown; see `semret.retrieval.search.results.SearchResult.as_section`.
    title, settings : str
        Heading, and one line below it that tells how the results were made.

    Returns
    -------
    str
        Plain text of any kind is escaped.
    """
    page = _environment().get_template("page.html")
    return page.render(title=title, settings=settings, sections=map(_drawn, sections), style=_STYLE).lstrip()


def render_fragment(section: Section) -> str:
    """Return one query and its hits as HTML to be put into another page.

    Parameters
    ----------
    section : Section

    Returns
    -------
    str
        A ``div``, its style included and confined to it.
    """
    fragment = _environment().get_template("fragment.html")
    return fragment.render(drawn=_drawn(section), style=_STYLE.replace(":root", "&")).strip()


def render_drawing(jpeg: bytes, names: Sequence[str]) -> str:
    """Return the drawing of an explanation as HTML to be put into another page.

    Parameters
    ----------
    jpeg : bytes
        A JPEG file.
    names : sequence of str
        Of the pictures in it, from left to right.

    Returns
    -------
    str
        A ``div``, its style included and confined to it.
    """
    fragment = _environment().get_template("explanation.html")
    return fragment.render(drawing=_base64(jpeg), names=names, style=_STYLE.replace(":root", "&")).strip()


@cache
def _environment() -> Environment:
    # Here to keep start-up light: results can show themselves as HTML, and mostly are not asked to.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).with_name("templates")
    # Everything is escaped, whatever a template is called; the style alone is marked as safe, in the templates.
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)
    environment.filters["shown"] = escaped
    return environment


@dataclass(frozen=True)
class _Drawn:
    """A section with its pictures, JPEG in base64 or None where there is none, and the widths of bars in per cent."""

    section: Section
    query: str | None
    pictures: list[str | None]
    others: list[str | None]
    widths: list[float]

    @property
    def explained(self) -> bool:
        """Whether hits are shown by their explanations, which are wider."""
        return any(hit.drawing for hit in self.section.hits)

    @property
    def box(self) -> str | None:
        """Where the region lies on the picture, as CSS; None without either."""
        if self.section.region is None or self.query is None:
            return None
        names = ("left", "top", "width", "height")
        return ";".join(f"{name}:{100 * share:.3f}%" for name, share in zip(names, self.section.region, strict=True))


def _drawn(section: Section) -> _Drawn:
    best = max((hit.score for hit in section.hits), default=0.0)
    return _Drawn(
        section=section,
        query=_thumbnail(section.picture, QUERY_EDGE),
        pictures=[_base64(hit.drawing) if hit.drawing else _thumbnail(hit.path, HIT_EDGE) for hit in section.hits],
        others=[_thumbnail(part.picture, HIT_EDGE) for part in section.others],
        widths=[100 * min(max(hit.score / best, 0.0), 1.0) if best > 0 else 0.0 for hit in section.hits],
    )


def _thumbnail(source: str | bytes, edge: int) -> str | None:
    # Here to keep start-up light, as above.
    from semret.index.pictures.decode import thumbnail

    try:
        return _base64(thumbnail(source, edge))
    except ImageDecodeError:
        return None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
