"""A self-contained HTML page of search results: pictures are embedded as thumbnails."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from semret.errors import ImageDecodeError
from semret.index.images import thumbnail
from semret.retrieval.results import Hit, SearchResult

QUERY_EDGE = 360
HIT_EDGE = 240

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #3b7dd8; --muted: #8a8a8a; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1.2rem; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; }
p.settings, .stats, .path { color: var(--muted); font-size: .85rem; margin: 0; }
section { border-top: 1px solid var(--line); margin-top: 1.6rem; padding-top: 1.2rem; display: grid;
  grid-template-columns: minmax(12rem, 18rem) 1fr; gap: 1.6rem; align-items: start; }
figure { margin: 0; }
img, .missing { width: 100%; border-radius: 6px; display: block; }
.missing { aspect-ratio: 4 / 3; border: 1px dashed var(--line); display: grid; place-items: center;
  color: var(--muted); }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); }
.path { overflow-wrap: anywhere; }
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
    sections = "\n".join(_section(result) for result in results)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="settings">{escape(settings)}</p>\n{sections}\n</body>\n</html>\n'
    )


def render_fragment(result: SearchResult) -> str:
    """Return one query and its hits as HTML to be put into another page, its style included and confined to it."""
    style = _STYLE.replace(":root", "&")
    return f'<div class="semret"><style>.semret {{ {style} }}</style>{_section(result)}</div>'


def _section(result: SearchResult) -> str:
    best = max((hit.score for hit in result.hits), default=0.0)
    hits = "\n".join(_hit(hit, best) for hit in result.hits)
    stats = result.stats
    counts = f"{stats.database} images searched · {stats.shortlist} candidates"
    if stats.solved or stats.pruned:
        counts += f" · {stats.solved} matched, {stats.pruned} ruled out by a bound"
    return (
        f"<section>\n<figure>{_picture(result.query, QUERY_EDGE)}"
        f'<figcaption class="path">{_text(result.query)}</figcaption><p class="stats">{counts}</p></figure>\n'
        f"<ol>\n{hits}\n</ol>\n</section>"
    )


def _hit(hit: Hit, best: float) -> str:
    width = 100 * min(max(hit.score / best, 0.0), 1.0) if best > 0 else 0.0
    return (
        f"<li><figure>{_picture(hit.path, HIT_EDGE)}"
        f'<div class="score"><b>{hit.rank}</b><span>{hit.score:.4f}</span></div>'
        f'<div class="bar"><i style="width:{width:.1f}%"></i></div>'
        f'<figcaption class="path">{_text(hit.path)}</figcaption></figure></li>'
    )


def _picture(path: str, edge: int) -> str:
    try:
        data = base64.b64encode(thumbnail(Path(path), edge)).decode("ascii")
    except ImageDecodeError:
        return '<div class="missing">no picture</div>'
    return f'<img alt="{_text(path)}" src="data:image/jpeg;base64,{data}">'


def _text(text: str) -> str:
    """Escape for HTML; bytes of a file name that are no UTF-8 become replacement characters."""
    return escape(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
