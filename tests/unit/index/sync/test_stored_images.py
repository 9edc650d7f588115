"""The images of an index while it is changed: what the catalog is asked once it is asked no more."""

from __future__ import annotations

import pytest

from semret.index.store.catalog import Catalog
from semret.index.sync.stored_images import Stored, StoredImages


def content(number):
    return number.to_bytes(32, "big")


@pytest.fixture
def catalog(tmp_path):
    with Catalog.create(tmp_path, {"root": "", "style": "relative", "manifest": "{}"}) as made:
        with made.transaction():
            for number in range(1, 700):
                made.change("INSERT INTO contents VALUES (?, 1, ?, NULL)", content(number), number)
                made.change(
                    "INSERT INTO images VALUES (?, ?, 5, 6, ?)",
                    number,
                    b"%03d.png" % number,
                    content(number // 2 * 2 + 1),
                )
        yield made


def answers(images, keys, contents):
    return [images.at(key) for key in keys], [list(images.with_content(one)) for one in contents]


def test_what_was_looked_up_is_answered_without_the_catalog(catalog, monkeypatch):
    keys = [b"%03d.png" % number for number in range(900)]
    contents = [content(number) for number in range(900)]
    asked = StoredImages(catalog)
    asked.look_up(keys, contents)
    assert answers(asked, keys, contents) == answers(StoredImages(catalog), keys, contents)
    asks = []
    monkeypatch.setattr(catalog, "select", lambda *given: asks.append(given) or [])
    assert asked.at(b"003.png") == Stored(3, 5, 6, content(3))
    assert asked.at(b"800.png") is None
    assert list(asked.with_content(content(4))) == []
    assert not asks


def test_what_is_not_committed_comes_before_what_was_looked_up(catalog):
    images = StoredImages(catalog)
    images.look_up([b"003.png", b"new.png"], [content(3), content(2000)])
    images.put(b"new.png", Stored(1000, 1, 2, content(2000)), is_new=True)
    assert images.at(b"new.png") == Stored(1000, 1, 2, content(2000))
    assert list(images.with_content(content(2000))) == [(1000, b"new.png")]
    assert images.lose(b"003.png") == Stored(3, 5, 6, content(3))
    assert images.at_each([b"003.png", b"002.png"]) == [None, Stored(2, 5, 6, content(3))]
    assert list(images.with_content(content(3))) == [(2, b"002.png")]


def test_after_a_commit_the_catalog_is_asked_again(catalog):
    images = StoredImages(catalog)
    images.look_up([b"new.png"], [content(2000)])
    images.put(b"new.png", Stored(1000, 1, 2, content(2000)), is_new=True)
    with catalog.transaction():
        catalog.change("INSERT INTO contents VALUES (?, 2, 0, NULL)", content(2000))
        catalog.change("INSERT INTO images VALUES (1000, ?, 1, 2, ?)", b"new.png", content(2000))
    images.committed()
    assert images.at(b"new.png") == Stored(1000, 1, 2, content(2000))
    assert list(images.with_content(content(2000))) == [(1000, b"new.png")]
