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
        (lambda: semret.build("x", prune="no"), "prune is 'no'"),
        (lambda: semret.build("x", no_exclude=1), "no_exclude is 1"),
        (lambda: semret.duplicates("x", frames="False"), "frames is 'False'"),
        (lambda: semret.match_batch(np.ones((2, 3, 4)), cost="no"), "cost is 'no'"),
        (lambda: semret.match_batch(np.ones((2, 3, 4)), cost=None), "cost is None"),
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


def test_flags_of_numpy_are_flags(engine):
    best = semret.match_batch([[[3.0, 1.0], [2.0, 4.0]]], cost=np.True_)
    assert best.values.tolist() == [3.0]
    (hit,) = engine.query(1, k=1, exhaustive=np.bool_(True))
    assert (hit.id, hit.in_shortlist) == (1, True)
    for no, yes in ((False, True), (np.False_, np.True_)):
        assert engine.query(1, k=1, exclude_self=no).ids == [1]
        assert 1 not in engine.query(1, exclude_self=yes).ids


def test_numbers_of_numpy_are_numbers(engine):
    low = np.float32(0.25)
    assert semret.duplicates(engine, threshold=low) == semret.duplicates(engine, threshold=0.25)
    assert engine.query(1, k=np.int32(3), min_score=low).ids == engine.query(1, k=3, min_score=0.25).ids
    one, same = (engine.query_all([1], avoid=[2], k=3, avoid_weight=weight) for weight in (low, 0.25))
    assert list(one.scores) == list(same.scores)


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


@pytest.fixture
def engine(tiny_index, tiny_backbone):
    found = semret.open_index(tiny_index)
    found._backbone = tiny_backbone()
    return found


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda engine, photo: engine.query(photo, k=True), "k is True, expected a whole number"),
        (lambda engine, photo: engine.query(photo, exhaustive="no"), "exhaustive is 'no', expected True or False"),
        (lambda engine, photo: engine.query(photo, explain=1), "explain is 1, expected True or False"),
        (lambda engine, photo: engine.rerank(photo, [1], prune="x"), "prune is 'x', expected True or False"),
        (lambda engine, _: engine.tokens(integers="no"), "integers is 'no', expected True or False"),
        (lambda engine, _: engine.write_tokens("x.npz", integers=2), "integers is 2, expected True or False"),
        (lambda engine, _: engine.write_tokens("x.npz", pooled="no"), "pooled is 'no', expected True or False"),
        (lambda engine, photo: engine.explain(photo, 1).draw(names="no"), "names is 'no', expected True or False"),
        (lambda engine, photo: engine.query(photo, min_score="0.5"), "min_score is '0.5', expected a finite number"),
        (lambda engine, photo: engine.query(photo, min_score=True), "min_score is True, expected a finite number"),
        (lambda engine, photo: engine.query(photo, min_score=10**400), "min_score is 1000"),
        (lambda engine, photo: engine.query(photo, shortlist=-5), "shortlist is -5, expected at least 1"),
        (
            lambda engine, photo: engine.query_all([photo], avoid_weight=True),
            "avoid_weight is True, expected a number of at least 0",
        ),
        (
            lambda engine, _: semret.duplicates(engine, threshold=True),
            "threshold is True, expected a number above 0, at most 1",
        ),
        (lambda engine, photo: engine.rerank(photo, 999), "candidate 999 is not in the index"),
        (lambda engine, photo: engine.rerank(photo, "0.jpg"), "candidate 0.jpg is not in the index"),
        (lambda engine, photo: engine.rerank(photo, None), "an image is given as NoneType, expected an id"),
        (lambda engine, photo: engine.explain(photo, 1.5), "an image is given as float, expected an id"),
        (lambda engine, photo: engine.explain(photo, None), "an image is given as NoneType, expected an id"),
        (lambda engine, _: engine.tokens(1.5), "an image is given as float, expected an id"),
        (lambda engine, _: engine.write_tokens(5), "a path is 5, expected text"),
        (lambda engine, photo: engine.explain(photo, 1).draw(pairs="a"), "pairs is 'a', expected a whole number"),
        (lambda engine, photo: engine.explain(photo, 1).draw(pairs=-1), "pairs is -1, expected at least 0"),
        (lambda engine, photo: engine.explain(photo, 1).draw(width="a"), "width is 'a', expected a whole number"),
    ],
)
def test_an_engine_says_what_came(engine, photos, call, said):
    with pytest.raises(ArgumentError) as caught:
        call(engine, photos / "0.png")
    assert str(caught.value).startswith(said)


def test_one_candidate_is_a_list_of_one(engine, photos):
    for one in (2, "photos/1.png", photos / "1.png", engine.query(2, k=1)[0]):
        assert engine.rerank(photos / "0.png", one).ids == engine.rerank(photos / "0.png", [one]).ids
