"""The HTML page: pictures embedded, text escaped, missing pictures shown as such."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from semret.retrieval.search.page import HIT_EDGE, render_fragment, render_page
from semret.retrieval.search.results import Hit, SearchResult, Stats

STATS = Stats(database=9, shortlist=4, solved=2, pruned=2, exact_among_candidates=True)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a & b.png"
    Image.new("RGB", (800, 400), (200, 30, 30)).save(path)
    return str(path)


def page_of(query: str, *hits: Hit) -> str:
    return render_page([SearchResult(query, hits, STATS).as_section()], title="<Hits>", settings="k = 5")


def test_pictures_are_embedded_at_a_small_size(picture):
    page = page_of(picture, Hit(1, 7, picture, 0.5, 0.25))
    query, hit = (Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)\"", page))
    assert hit.size == (HIT_EDGE, HIT_EDGE // 2)
    assert query.width > hit.width


def test_scores_ranks_and_counts_are_shown(picture):
    page = page_of(picture, Hit(1, 7, picture, 0.5, 0.25), Hit(2, 8, picture, 0.125, 0.25))
    assert "0.5000" in page
    assert "0.1250" in page
    assert re.findall(r"width:([\d.]+)%", page) == ["100.0", "25.0"]
    assert "9 images searched · 4 candidates · 2 matched, 2 ruled out by a bound" in page


def test_names_are_escaped(picture):
    page = page_of(picture, Hit(1, 7, "<img src=x onerror=alert(1)>.png", 0.5, 0.25))
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert "<h1>&lt;Hits&gt;</h1>" in page
    assert "a &amp; b.png" in page


class Elements(HTMLParser):
    """The elements of a page, in their order: name and attributes; and the text of its styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.styles = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.found and self.found[-1][0] == "style":
            self.styles += data


def test_a_page_runs_and_fetches_nothing(picture):
    page = page_of(picture, Hit(1, 7, picture, 0.5, 0.25), Hit(2, 8, "http://far.example/x.png", 0.5, 0.25))
    assert page.startswith("<!doctype html>")
    elements = Elements(page)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    place = elements.found.index(("meta", {"http-equiv": "Content-Security-Policy", "content": policy}))
    # The policy is in force for what comes after it only, and a browser may be too old to know it.
    tags = [tag for tag, _ in elements.found]
    assert set(tags[:place]) <= {"html", "head", "meta"}
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "svg", "a"} & set(tags)
    attributes = [pair for _, found in elements.found for pair in found.items()]
    assert not [name for name, _ in attributes if name.startswith("on") or name in ("srcset", "background", "action")]
    fetched = [value for name, value in attributes if name in ("src", "href")]
    assert len(fetched) == 2
    assert all(value.startswith("data:image/jpeg;base64,") for value in fetched)
    styles = elements.styles + "".join(value for name, value in attributes if name == "style")
    assert styles
    assert "url(" not in styles
    assert "@import" not in styles


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ('" onerror="alert(1)', "&#34; onerror=&#34;alert(1)"),
        ("' x='", "&#39; x=&#39;"),
        ("\x1b[2J.png", "\\x1b[2J.png"),
        ("gpj\u202egnp.exe", "gpj\\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("back\\x1b", "back\\\\x1b"),
        ("{{ 7 * 7 }}", "{{ 7 * 7 }}"),
    ],
)
def test_names_neither_steer_nor_hide(picture, name, shown):
    hit = Hit(1, 7, name, 0.5, 0.25, ids=(7, 8), paths=(name, name))
    page = render_page([SearchResult(name, (hit,), STATS).as_section()], title=name, settings=name)
    assert page.count(shown) >= 5
    assert name == shown or name not in page
    assert shown in render_fragment(SearchResult(name, (hit,), STATS).as_section())


def test_copies_and_what_the_shortlist_missed_are_shown(picture):
    stats = replace(STATS, candidates="all", shortlist_tried=1, shortlist_recall=0.5, wanted=9)
    hits = (
        Hit(1, 7, picture, 0.5, 0.25, ids=(7, 9), paths=(picture, "copy.png"), in_shortlist=True),
        Hit(2, 8, picture, 0.4, 0.25, in_shortlist=False),
    )
    page = render_page([SearchResult(picture, hits, stats).as_section()])
    assert "also copy.png" in page
    assert page.count("not in the shortlist") == 1
    assert "a shortlist of 1 would have missed 1 of the 2 hits: rank 2" in page
    assert "exact over the whole index" in page
    assert "9 hits were asked for, there are 2 (copies of a picture count once)" in page


def test_exactness_is_said_of_the_candidates_only(picture):
    assert "exact among the shortlist&#39;s candidates" in page_of(picture, Hit(1, 7, picture, 0.5, 0.25))


def test_a_query_that_came_from_no_file_is_shown(picture):
    result = SearchResult("-", (), STATS, Path(picture).read_bytes())
    assert render_page([result.as_section()]).count("data:image/jpeg") == 1
    assert "picture" not in result.as_json()


def test_undecodable_bytes_of_a_name_do_not_stop_the_page(picture):
    page_of(picture, Hit(1, 7, "caf\udce9.png", 0.5, 0.25)).encode("utf-8")


def test_a_missing_picture_leaves_a_frame(picture):
    assert 'class="missing"' in page_of(picture, Hit(1, 7, "gone.png", 0.5, 0.25))


def test_scores_of_zero_and_below_draw_no_bar(picture):
    page = page_of(picture, Hit(1, 7, picture, 0.0, 0.25), Hit(2, 8, picture, -0.5, 0.25))
    assert re.findall(r"width:([\d.]+)%", page) == ["0.0", "0.0"]


def test_a_result_shows_itself_in_a_notebook_and_in_a_terminal(picture):
    result = SearchResult(picture, (Hit(1, 7, picture, 0.5, 0.25),), STATS)
    shown = result._repr_html_()
    assert shown.count("data:image/jpeg") == 2
    assert "<html" not in shown
    first, second = repr(result).splitlines()
    assert "1 of 9 images, 2 matched, 2 ruled out" in first
    assert second.split()[:2] == ["1", "0.5000"]


def test_no_hits_no_queries():
    assert "<section>" not in render_page([])
