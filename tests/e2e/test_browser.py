"""The page in a real browser: drop a picture, draw a region, see why, search on; by hand, by keyboard and by ear."""

from __future__ import annotations

import base64
import os
import shutil
import time
from pathlib import Path

import pytest

from semret.index.sync.sync import sync
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw, draw_into
from tests.support.servers import running

pytestmark = pytest.mark.slow

STRANGE = os.fsdecode(b"<b>&amp; \xe2\x80\xae\xff.png")
TOKEN = "correct-horse-battery"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser():
    """Debian's chromium; in CI it must be there."""
    if CHROMIUM is None:
        message = "there is no chromium; apt-get install chromium, or name one in CHROMIUM"
        if os.environ.get("CI") or os.environ.get("SEMRET_NEEDS_BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # CI runs as root, where chromium has no sandbox.
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "photos" / "deep").mkdir(parents=True)
    for seed in range(30):
        draw(seed).resize((160, 120)).save(folder / "photos" / f"{seed}.png")
    draw(40).save(folder / "photos" / "deep" / STRANGE)
    shutil.copy(folder / "photos" / "3.png", folder / "photos" / "deep" / "copy.png")
    sync(folder / ".semret", [folder / "photos"], TinyBackbone)
    draw(3).resize((200, 150)).save(folder / "new.jpg")
    draw(5).save(folder / "new.tiff")
    return folder


@pytest.fixture(scope="module")
def server(place):
    with running(place / ".semret") as started:
        yield started


@pytest.fixture
def page(browser, server):
    """The page, open; whatever its scripts and its policy complain of fails the test."""
    yield from opened(browser, server.address)


def opened(browser, address, expected=(), **options):
    context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
    page = context.new_page()
    page.set_default_timeout(15_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.wait_for_selector("#about:not(:empty), #login[open]")
    yield page
    context.close()
    known = ("status of 400", "status of 401", "status of 422", *expected)
    assert [text for text in complaints if not any(part in text for part in known)] == []
    assert all(url.startswith((address, "blob:")) for url in requests), requests


def drop(page, picture: Path) -> None:
    transfer = page.evaluate_handle(
        """async ([data, name]) => {
            const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: name.endsWith("jpg") ? "image/jpeg" : "" }));
            return transfer;
        }""",
        [base64.b64encode(picture.read_bytes()).decode(), picture.name],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


def until(page, expression: str) -> None:
    """Wait until a script is true. Playwright's own way evaluates text in the page, which its policy forbids."""
    limit = time.monotonic() + 15
    while not page.evaluate(expression):
        assert time.monotonic() < limit, expression
        page.wait_for_timeout(30)


def hits(page) -> list[str]:
    page.wait_for_selector("#hits:not(.old) li")
    return [item.get_attribute("aria-label") for item in page.query_selector_all("#hits .open")]


def done(page) -> None:
    until(page, "!document.querySelector('#status').matches('.busy')")


def choose(page, picture: Path) -> list[str]:
    page.set_input_files("#file", str(picture))
    page.wait_for_selector("#hits li")
    done(page)
    return hits(page)


def test_the_whole_story(page, place, tmp_path):
    drop(page, place / "new.jpg")
    first = hits(page)
    assert len(first) == 24
    assert "/3.png" in first[0]
    assert page.text_content("#query-name") == "new.jpg"
    assert page.eval_on_selector("#picture", "picture => picture.naturalWidth") == 200
    assert "24 hits in" in page.text_content("#status")
    page.screenshot(path=tmp_path / "hits.png")

    frame = page.query_selector("#frame").bounding_box()
    page.mouse.move(frame["x"] + 5, frame["y"] + 5)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] * 0.6, frame["y"] + frame["height"] * 0.6, steps=4)
    page.mouse.up()
    until(page, "document.querySelector('#status').textContent.includes('the region')")
    assert hits(page)

    page.click("#hits li:nth-child(2) >> text=Why?")
    page.wait_for_selector("#why-lines line", state="attached")
    assert "the sum of 4 pairs" in page.text_content("#why-status")
    page.screenshot(path=tmp_path / "why.png")
    page.hover("#why-query rect >> nth=1", force=True)
    assert "of the score: row" in page.text_content("#why-pair")
    assert page.locator("#why-query rect.on").count() == page.locator("#why-image rect.on").count() == 1
    assert page.locator("#why-lines line.on").count() == 2
    page.keyboard.press("Escape")

    page.click("#hits li:nth-child(2) .open")
    until(page, "document.querySelector('#full-picture').naturalWidth === 160")
    page.click("#full >> text=Search with it")
    until(page, "location.search.startsWith('?id=')")
    second = hits(page)
    assert second != first
    page.go_back()
    until(page, "document.querySelector('#query-name').textContent === 'new.jpg'")
    until(page, "document.querySelector('#status').textContent.includes('the region')")
    page.click("text=Whole picture")
    until(page, "!document.querySelector('#status').textContent.includes('the region')")
    done(page)
    assert hits(page) == first
    page.go_back()
    until(page, "document.querySelectorAll('#hits li').length === 0")
    assert page.is_visible("#hint")


def test_options_change_the_answer(page, place):
    choose(page, place / "photos" / "3.png")
    assert not any("copy.png" in name for name in hits(page))
    page.fill("#k", "2")
    page.uncheck("#exclude")
    until(page, "document.querySelectorAll('#hits li').length === 2")
    assert page.text_content("#hits li .score").endswith("+1 copy")
    page.fill("#folder", "photos/deep")
    page.keyboard.press("Tab")
    until(page, "document.querySelector('#hits .open').ariaLabel.includes('deep')")
    page.fill("#folder", "nowhere")
    page.keyboard.press("Tab")
    page.wait_for_selector("#error:not([hidden])")
    assert "no image in a folder nowhere" in page.text_content("#error")


def test_dates_change_the_answer(page, place):
    choose(page, place / "photos" / "3.png")
    assert hits(page)
    page.fill("#until", "2001-05-17")
    page.keyboard.press("Tab")
    until(page, "document.querySelectorAll('#hits li').length === 0")
    assert "no image passes the filter" in page.inner_text("#answer")
    page.fill("#until", "")
    page.fill("#since", "2001-05-17")
    page.keyboard.press("Tab")
    until(page, "document.querySelectorAll('#hits li').length > 0")


def test_names_are_text(page, place, tmp_path):
    page.fill("#folder", "photos/deep")
    # The browser is driven in JSON, which cannot name the file itself.
    shutil.copy(place / "photos" / "deep" / STRANGE, tmp_path / "<i>.png")
    choose(page, tmp_path / "<i>.png")
    page.uncheck("#exclude")
    until(page, "document.querySelectorAll('#hits li').length === 2")
    shown = page.text_content("#hits li:first-child .path")
    assert "<b>&amp; \\u202e" in shown
    assert page.locator("#hits b").count() == 0


def test_what_is_no_picture_is_said(page, place, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    page.set_input_files("#file", str(tmp_path / "broken.jpg"))
    page.wait_for_selector("#error:not([hidden])")
    assert page.text_content("#error").startswith("broken.jpg: is no picture")
    assert choose(page, place / "new.jpg")
    assert page.is_hidden("#error")


def test_a_picture_that_browsers_do_not_know_is_shown(page, place):
    choose(page, place / "new.tiff")
    until(page, "document.querySelector('#picture').naturalWidth > 0")


def test_everything_goes_by_keyboard(page, place):
    choose(page, place / "photos" / "3.png")
    page.focus("#hits li:first-child .open")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    at = page.evaluate("[...document.querySelectorAll('#hits .open')].indexOf(document.activeElement)")
    assert at > 2
    page.keyboard.press("Enter")
    page.wait_for_selector("#full[open]")
    page.keyboard.press("ArrowRight")
    assert page.text_content("#full-name").startswith(f"{at + 2}. ")
    page.keyboard.press("w")
    page.wait_for_selector("#why-lines line", state="attached")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    until(page, "document.querySelector('#status').textContent.includes('the region')")
    assert page.evaluate("document.activeElement.id") == "box"
    with page.expect_request(lambda request: request.url.endswith("/api/search")):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Delete")
    until(page, "document.querySelector('#box').hidden")
    done(page)
    page.focus("#hits li:first-child .open")
    page.keyboard.press("s")
    until(page, "location.search.startsWith('?id=')")


def test_two_hundred_hits_on_a_phone_do_not_overflow(browser, server, place, tmp_path):
    for page in opened(browser, server.address, has_touch=True, is_mobile=True, color_scheme="dark"):
        page.set_viewport_size({"width": 390, "height": 844})
        page.fill("#k", "200")
        assert len(choose(page, place / "new.jpg")) == 31
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.tap("#hits li:nth-child(3) >> text=Why?")
        page.wait_for_selector("#why-lines line", state="attached")
        box = page.query_selector("#why").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        page.tap("#why-image rect >> nth=0", force=True)
        assert "of the score" in page.text_content("#why-pair")
        page.screenshot(path=tmp_path / "phone.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser, server, place, scheme):
    from axe_playwright_python.sync_playwright import Axe

    def violations(page):
        found = Axe().run(page).response["violations"]
        return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]

    # axe puts itself into the page as a script without an address, which the policy of the page forbids.
    for page in opened(browser, server.address, color_scheme=scheme, bypass_csp=True):
        assert violations(page) == []
        choose(page, place / "new.jpg")
        assert violations(page) == []
        page.keyboard.press("r")
        page.click("#hits li:nth-child(2) >> text=Why?")
        page.wait_for_selector("#why-lines line", state="attached")
        assert violations(page) == []
        page.keyboard.press("Escape")
        page.click("#hits li:nth-child(2) .open")
        assert violations(page) == []
        page.goto(f"{server.address}/docs")
        page.wait_for_selector("#operations section")
        assert violations(page) == []


def test_a_sentence_where_the_model_understands_one(browser, place):
    with running(place / ".semret", SEMRET_TESTS_TEXT="1") as server:
        for page in opened(browser, server.address):
            page.fill("#text", "a blue thing")
            page.keyboard.press("Enter")
            assert len(hits(page)) == 24
            assert not page.is_visible("#hits >> text=Why?")
            page.click("#hits li:first-child >> text=Search")
            until(page, "location.search.startsWith('?id=')")
            page.go_back()
            until(page, "document.querySelector('#text').value === 'a blue thing'")


def test_hits_are_told_apart_by_what_is_shown_of_their_paths(browser, server, place):
    for page in opened(browser, server.address):
        page.set_viewport_size({"width": 390, "height": 844})
        page.fill("#folder", "photos/deep")
        choose(page, place / "new.jpg")
        strange = page.query_selector("#hits li:has-text('&amp;')")
        assert strange.query_selector(".path").text_content() == "<b>&amp; \\u202e\\udcff.png"
        assert strange.query_selector(".folder").text_content() == "photos/deep"
        assert str(place / "photos" / "deep") in strange.query_selector(".path").get_attribute("title")
        names = "[...document.querySelectorAll('#hits li > .path:not(.folder)')]"
        assert page.evaluate(f"{names}.every((one) => one.scrollHeight <= one.clientHeight)")


def test_what_cannot_be_shown_leaves_no_torn_picture(browser, server):
    for page in opened(browser, server.address, expected=["status of 404"]):
        page.goto(f"{server.address}/?id=999")
        page.wait_for_selector("#error:not([hidden])")
        assert page.text_content("#error") == "the index has no image 999"
        until(page, "document.querySelector('#frame').hidden")
        assert page.is_hidden("#region")
        page.keyboard.press("r")
        assert page.is_hidden("#box")


def test_a_sentence_where_the_model_understands_none(page):
    page.fill("#text", "a blue thing")
    page.keyboard.press("Enter")
    page.wait_for_selector("#error:not([hidden])")
    assert "no text tower" in page.text_content("#error")


def test_the_description_is_drawn(page, server):
    page.goto(f"{server.address}/docs")
    page.wait_for_selector("#operations section")
    assert "POST /api/search" in page.text_content("#operations").replace("POST/", "POST /")
    assert "exclude_self" in page.text_content("#operations")


def test_the_description_fits_a_phone(page, server):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{server.address}/docs")
    page.wait_for_selector("#operations section")
    wide = "[...document.querySelectorAll('#operations section')].filter((one) => one.scrollWidth > one.clientWidth)"
    assert page.evaluate(f"{wide}.map((one) => one.textContent)") == []


def test_the_token_is_asked_for_and_may_come_in_the_address(browser, place):
    with running(place / ".semret", SEMRET_TOKEN=TOKEN) as server:
        for page in opened(browser, server.address):
            page.fill("#token", "nonsense")
            page.keyboard.press("Enter")
            until(page, "document.querySelector('#login-error').textContent !== ''")
            page.fill("#token", TOKEN)
            page.keyboard.press("Enter")
            page.wait_for_selector("#about:not(:empty)")
            choose(page, place / "new.jpg")
            until(page, "document.querySelector('#hits img').naturalWidth > 0")
        for page in opened(browser, f"{server.address}/#token={TOKEN}"):
            page.wait_for_selector("#about:not(:empty)")
            assert TOKEN not in page.url
            break


def test_a_change_of_the_index_is_told(browser, tmp_path):
    draw_into(tmp_path / "photos", range(3))
    sync(tmp_path / ".semret", [tmp_path / "photos"], TinyBackbone)
    with running(tmp_path / ".semret") as server:
        for page in opened(browser, server.address):
            assert len(choose(page, tmp_path / "photos" / "0.png")) == 2
            draw(9).save(tmp_path / "photos" / "9.png")
            sync(tmp_path / ".semret", [tmp_path / "photos"], TinyBackbone)
            page.wait_for_selector("#news:not([hidden])")
            assert "holds 4 images now" in page.text_content("#news")
            page.click("#news button")
            until(page, "document.querySelectorAll('#hits li').length === 3")


def test_hits_say_what_is_also_like_them_and_what_is_not(page, server, place, tmp_path):
    choose(page, place / "new.jpg")
    page.uncheck("#exclude")
    done(page)
    before = hits(page)
    page.click("#hits li:nth-child(5) button[aria-label^='Not like hit']")
    done(page)
    gone = before[4].split(", ", 1)[1]
    assert gone not in [hit.split(", ", 1)[1] for hit in hits(page)]
    assert page.inner_text("#refined li.avoided strong") == "Not like"
    assert page.inner_text("#refined li.avoided .path") == gone
    assert page.is_visible("#region")

    page.focus("#hits li:nth-child(3) .open")
    liked = hits(page)[2].split(", ", 1)[1]
    page.keyboard.press("+")
    done(page)
    assert page.locator("#refined li").count() == 2
    found = hits(page)
    assert gone not in " ".join(found)
    # A region is a part of one picture.
    assert not page.is_visible("#region")
    stored = {hit["paths"][0]: hit["id"] for hit in server.search(id=1, k=40)["hits"]}
    ids = {name: id_ for path, id_ in stored.items() for name in (liked, gone) if path.endswith(name)}
    form = {"all": "true", "id": ids[liked], "not": ids[gone], "k": 24}
    asked = server.client.post("/api/search", files={"image": (place / "new.jpg").read_bytes()}, data=form).json()
    assert [hit.split(", ", 1)[1] for hit in found] == [hit["shown"] for hit in asked["results"][0]["hits"]]

    # Back and forth again, it is as it was.
    page.click("#hits li:nth-child(2) button[aria-label^='Search with']")
    done(page)
    assert not page.is_visible("#refined")
    page.go_back()
    page.wait_for_selector("#refined li:nth-child(2)")
    done(page)
    assert hits(page) == found

    page.click("#refined li:first-child button")
    done(page)
    page.click("#refined li:first-child button")
    done(page)
    assert not page.is_visible("#refined")
    assert hits(page) == before
