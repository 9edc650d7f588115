from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from semret.index.codec.codec import Fitted
from semret.index.codec.describe import describe
from semret.index.codec.fit import CodecFitter
from semret.index.codec.table import parse


def codec(name="pca4-int8"):
    tokens = np.random.default_rng(0).normal(size=(5, 7, 10)).astype(np.float32)
    fitter = CodecFitter(parse(name), 10, 10)
    fitter.add(tokens, tokens.mean(axis=1))
    return fitter.finish()


@pytest.mark.parametrize(("name", "size"), [("pca4-int8", 8 * 144), ("pca5-int4", 7 * 144), ("pca4-pq2", 2 * 144)])
def test_bytes_are_those_of_codes_and_scales(name, size):
    found = describe(codec(name), 144)
    assert (found.name, found.bytes, found.channels, found.fit_images) == (name, size, 10, 5)
    assert found.directions == parse(name).dimension


def test_energies_are_shares():
    fitted = dataclasses.replace(codec(), fitted=Fitted(images=5, kept=3.0, total=4.0))
    found = describe(fitted, 7, kept=1.0, total=2.0)
    assert (found.energy_fit, found.energy_now, found.refit_pays) == (0.75, 0.5, True)
    assert math.isnan(describe(fitted, 7).energy_now)
    assert not describe(fitted, 7).refit_pays
    assert not describe(fitted, 7, kept=2.9, total=4.0).refit_pays


def test_rounding_is_no_reason_for_a_refit():
    fitted = dataclasses.replace(codec(), fitted=Fitted(images=5, kept=1.0, total=1.0))
    found = describe(fitted, 7, kept=0.9999, total=1.0)
    assert not found.refit_pays
    assert describe(fitted, 7, kept=1.0001, total=1.0).energy_now == 1
