"""Arguments of the wrong type are told by name, with what was expected, by every call of the public interface."""

from __future__ import annotations

import numpy as np
import pytest

import semret
from semret.errors import ArgumentError, SemretError, ShapeError
from semret.retrieval.similarity import cka


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: semret.open_index(3), "a path is 3"),
        (lambda: semret.open_index(b"x"), "a path is b'x'"),
        (lambda: semret.duplicates(3), "a path is 3"),
        (lambda: semret.build(3), "paths is 3"),
        (lambda: semret.build(b"x"), "paths is b'x'"),
        (lambda: semret.build([]), "no path was given"),
        (lambda: semret.build(["x", 3]), "one of the paths is 3"),
        (lambda: semret.build("x", index=3), "a path is 3"),
        (lambda: semret.build("x", model=3), "model is 3"),
        (lambda: semret.build("x", weights=3), "weights is 3"),
        (lambda: semret.build("x", size=3), "size is 3"),
        (lambda: semret.build("x", size="384"), "size is '384'"),
        (lambda: semret.build("x", size=(384, 2.5)), "a side of size is 2.5"),
        (lambda: semret.build("x", codec=3), "codec is 3"),
        (lambda: semret.build("x", layer=1.5), "layer is 1.5"),
        (lambda: semret.build("x", device=3), "device is 3"),
        (lambda: semret.build("x", batch_size="8"), "batch_size is '8'"),
        (lambda: semret.build("x", batch_size=True), "batch_size is True"),
        (lambda: semret.build("x", workers=2.5), "workers is 2.5"),
        (lambda: semret.build("x", exclude=[3]), "a pattern is 3"),
        (lambda: semret.build("x", progress=3), "progress is 3"),
        (lambda: semret.embed([], batch_size="8"), "batch_size is '8'"),
        (lambda: semret.embed([], device=3), "device is 3"),
        (lambda: semret.embed([], size=384), "size is 384"),
        (lambda: semret.rsm(np.ones((2, 3, 4)), threads="2"), "threads is '2'"),
        (lambda: semret.match_batch(np.ones((2, 3, 4)), threads=1.5), "threads is 1.5"),
    ],
)
def test_what_came_and_what_was_expected_is_said(call, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    with pytest.raises(ArgumentError) as caught:
        call()
    assert str(caught.value).startswith(said)
    assert "expected" in str(caught.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


@pytest.mark.parametrize("value", [None, {"a": 1}, (one for one in ()), object()])
@pytest.mark.parametrize("call", [semret.rsm, semret.match_batch, lambda x: semret.cka(x, x)])
def test_what_is_no_array_is_told_by_its_type(call, value):
    with pytest.raises(ShapeError, match=f"is of type {type(value).__name__}, expected an array"):
        call(value)


def test_no_error_of_a_wrong_type_makes_an_index(tmp_path, photos, tiny_backbone):
    with pytest.raises(SemretError):
        semret.build(photos, index=tmp_path / "index", size="384")
    assert not (tmp_path / "index").exists()


def test_alignment_is_never_more_than_one():
    for seed in range(200):
        features = np.random.default_rng(seed).standard_normal((6, 3))
        matrix = features @ features.T
        for estimator in ("biased", "unbiased"):
            assert cka.cka(matrix, matrix, estimator=estimator) <= 1.0
