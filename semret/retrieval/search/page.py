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

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from semret.errors import ImageDecodeError
from semret.index.pictures.decode import thumbnail
from semret.names import escaped
from semret.retrieval.search.results import SearchResult

QUERY_EDGE = 360
HIT_EDGE = 240

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #3b7dd8; --muted: #8a8a8a; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1.2rem; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; }
p.settings, .stats, .path, .missed { color: var(--muted); font-size: .85rem; margin: 0; }
section { border-top: 1px solid var(--line); margin-top: 1.6rem; padding-top: 1.2rem; display: grid;
  grid-template-columns: minmax(12rem, 18rem) 1fr; gap: 1.6rem; align-items: start; }
figure { margin: 0; }
img, .missing { width: 100%; border-radius: 6px; display: block; }
.missing { aspect-ratio: 4 / 3; border: 1px dashed var(--line); display: grid; place-items: center;
  color: var(--muted); }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); }
.path { overflow-wrap: anywhere; unicode-bidi: isolate; }
.missed { color: #c2410c; }
.score { display: flex; justify-content: space-between; font-variant-numeric: tabular-nums; margin-top: .3rem; }
.bar { height: 4px; border-radius: 2px; background: var(--line); overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--bar); }
@media (max-width: 44rem) { section { grid-template-columns: 1fr; } }
"""


def render_page(results: Sequence[SearchResult], *, title: str = "semret", settings: str = "") -> str:
    """Return an HTML document that shows every query beside its hits.

    Parameters
    ----------
    results : sequence of SearchResult
        One section each, in the order given.
    title, settings : str
        Heading, and one line below it that tells how the results were made.

    Notes
    -----
    A picture that can no longer be read is shown as an empty frame: the page tells of the index, not of the disk.
    Bars show the score of a hit relative to the best one of its query.
    """
    sections = [(result, _Pictures.of(result)) for result in results]
    page = _environment().get_template("page.html")
    return page.render(title=title, settings=settings, sections=sections, style=Markup(_STYLE)).lstrip()


def render_fragment(result: SearchResult) -> str:
    """Return one query and its hits as HTML to be put into another page, its style included and confined to it."""
    style = Markup(_STYLE.replace(":root", "&"))
    fragment = _environment().get_template("fragment.html")
    return fragment.render(result=result, pictures=_Pictures.of(result), style=style).strip()


@cache
def _environment() -> Environment:
    folder = Path(__file__).with_name("templates")
    # Everything is escaped, whatever a template is called; _STYLE alone is marked as safe.
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)
    environment.filters["shown"] = escaped
    return environment


@dataclass(frozen=True)
class _Pictures:
    """What a section shows beside its text: thumbnails as base64, None where there is none, and widths of bars."""

    query: str | None
    hits: list[str | None]
    widths: list[float]

    @classmethod
    def of(cls, result: SearchResult) -> _Pictures:
        best = max((hit.score for hit in result.hits), default=0.0)
        return cls(
            query=_thumbnail(result.query if result.picture is None else result.picture, QUERY_EDGE),
            hits=[_thumbnail(hit.path, HIT_EDGE) for hit in result.hits],
            widths=[100 * min(max(hit.score / best, 0.0), 1.0) if best > 0 else 0.0 for hit in result.hits],
        )


def _thumbnail(source: str | bytes, edge: int) -> str | None:
    try:
        return base64.b64encode(thumbnail(source, edge)).decode("ascii")
    except ImageDecodeError:
        return None
