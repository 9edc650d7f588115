from __future__ import annotations

import math

import numpy as np
import pytest

from semret.errors import ArgumentError
from semret.index.codec.coarser import coarser_codec, recode
from semret.index.codec.codec import Codec
from semret.index.codec.fit import CodecFitter
from semret.index.codec.table import parse


def maps() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 40, 10)).astype(np.float32) * np.arange(10, 0, -1, dtype=np.float32)


def fitted(name: str) -> Codec:
    fitter = CodecFitter(parse(name), 10, 10, pooled_directions=4)
    fitter.add(maps(), maps().mean(axis=1))
    return fitter.finish()


@pytest.mark.parametrize("name", ["pca4-int8", "pca8-int4", "pca4-int4", "pca4-pq2"])
def test_stored_tokens_become_nearly_what_the_pictures_would_have(name):
    fine = fitted("pca8-int8")
    stored = fine.tokens_of(maps())
    coarse = coarser_codec(fine, parse(name), stored)
    encoded = recode(coarse, stored)
    found = coarse.decode(encoded.codes, encoded.scales).as_floats()
    queried = coarse.tokens_of(maps()).as_floats()
    fresh = fitted(name)
    np.testing.assert_array_equal(coarse.tokens.directions, fresh.tokens.directions)
    assert np.linalg.norm(found - queried) < 0.1 * np.linalg.norm(queried)
    assert math.isclose(coarse.fitted.kept, fresh.fitted.kept, rel_tol=0.01)
    assert coarse.fitted.total == fresh.fitted.total
    np.testing.assert_array_equal(coarse.encode_pooled(maps().mean(axis=1)), fine.encode_pooled(maps().mean(axis=1)))


def test_energies_tell_what_the_coarser_codec_keeps_of_the_finer():
    fine = fitted("pca8-int8")
    stored = fine.tokens_of(maps())
    encoded = recode(coarser_codec(fine, parse("pca4-int8"), stored), stored)
    share = encoded.kept.sum() / encoded.total.sum()
    assert math.isclose(share, fitted("pca4-int8").fitted.kept / fine.fitted.kept, rel_tol=0.01)


@pytest.mark.parametrize(("before", "after"), [("pca4-int8", "pca8-int8"), ("pca4-int4", "pca4-int8")])
def test_nothing_finer_is_made(before, after):
    codec = fitted(before)
    with pytest.raises(ArgumentError, match=f"stored with codec {before} cannot become {after}, expected a coarser"):
        coarser_codec(codec, parse(after), codec.tokens_of(maps()))


def test_parts_divide_the_directions_that_there_are():
    codec = fitted("pca64-int8")
    with pytest.raises(ArgumentError, match="cuts 10 directions into 4 parts"):
        coarser_codec(codec, parse("pca64-pq4"), codec.tokens_of(maps()))
