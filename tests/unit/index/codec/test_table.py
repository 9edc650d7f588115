from __future__ import annotations

import pytest

from semret.errors import ArgumentError, UnknownNameError
from semret.index.codec.table import TESTED, default_codec, may_become, parse


@pytest.mark.parametrize(
    ("name", "dimension", "kind", "parts", "bits"),
    [
        ("pca64-int8", 64, "int8", 0, 8),
        ("pca1-int4", 1, "int4", 0, 4),
        ("pca2048-int8", 2048, "int8", 0, 8),
        ("pca64-pq16", 64, "pq", 16, 2),
        ("pca7-pq7", 7, "pq", 7, 8),
    ],
)
def test_a_name_says_directions_and_rounding(name, dimension, kind, parts, bits):
    spec = parse(name)
    assert (spec.name, spec.dimension, spec.kind, spec.parts, spec.bits()) == (name, dimension, kind, parts, bits)


def test_none_is_no_codec():
    assert parse("none") is None


@pytest.mark.parametrize(
    "name", ["", "pca", "pca64", "pca064-int8", "pca0-int8", "pca64-int2", "pca64-pq0", "PCA64-int8", "pca64-int8\n"]
)
def test_other_forms_are_refused(name):
    with pytest.raises(UnknownNameError, match=r"is unknown, expected none, pcaD-int8") as caught:
        parse(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["pca2049-int8", "pca999999-pq1"])
def test_too_many_directions_are_refused(name):
    with pytest.raises(ArgumentError, match="expected 1 to 2048"):
        parse(name)


@pytest.mark.parametrize(("name", "fitting"), [("pca64-pq20", "pq16"), ("pca64-pq100", "pq64"), ("pca7-pq3", "pq1")])
def test_parts_divide_the_directions(name, fitting):
    with pytest.raises(ArgumentError, match=f"expected a divisor of .*, for example {fitting}$"):
        parse(name)


@pytest.mark.parametrize(
    ("stored", "wanted", "possible"),
    [
        ("none", "pca64-int8", True),
        ("none", "none", False),
        ("pca64-int8", "none", False),
        ("pca64-int8", "pca64-int8", False),
        ("pca64-int8", "pca64-int4", True),
        ("pca64-int8", "pca32-int8", True),
        ("pca64-int8", "pca128-int4", False),
        ("pca64-int4", "pca32-int8", False),
        ("pca64-int4", "pca64-pq16", True),
        ("pca64-int4", "pca64-pq64", False),
        ("pca64-pq16", "pca64-pq8", False),
    ],
)
def test_only_coarser_codecs_follow(stored, wanted, possible):
    assert may_become(stored, wanted) is possible


def test_defaults_are_tested_codecs():
    assert {default_codec(family) for family in ("embedded", "hf", "timm", "open_clip", "onnx")} <= set(TESTED)
