"""What is passed for token maps by mistake is told the call that makes them; layouts and tensors that are maps work."""

import numpy as np
import pytest
import torch

import semret
from semret.errors import ShapeError
from semret.index.backbones.pooling import pool
from semret.integer_tokens import IntegerTokens
from tests.support.pictures import draw

MAPS = np.random.default_rng(0).standard_normal((4, 6, 5)).astype(np.float32)
GRIDS = MAPS.reshape(4, 2, 3, 5)


def test_grids_with_channels_last_are_a_layout():
    expected = semret.rsm(MAPS)
    assert np.array_equal(semret.rsm(GRIDS, layout="NHWC"), expected)
    assert np.array_equal(semret.rsm(GRIDS.transpose(0, 3, 1, 2), layout="NCHW"), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: semret.rsm(GRIDS), "grids are layout NHWC, or NCHW with the channels first"),
        (lambda: semret.rsm(MAPS[0]), r"one map \(S, C\) is a set of one as x\[None\]"),
        (lambda: semret.rsm(MAPS, layout="NCHW"), "positions then channels are layout NSC"),
        (lambda: semret.rsm(["a.jpg", "b.jpg"]), r"x is 'a\.jpg'.*semret\.embed\(pictures\)\.tokens"),
        (lambda: semret.matched_similarity("a.jpg", "b.jpg"), r"semret\.embed.*engine\.tokens\(paths\)"),
        (lambda: semret.matched_similarity(draw(0), draw(1)), r"a is a picture.*semret\.embed"),
        (lambda: semret.matched_similarity(MAPS, MAPS), r"maps\[0\] is one of several.*reshape\(-1, C\)"),
        (lambda: semret.cka(MAPS, MAPS), r"cka\(rsm\(x\), rsm\(y\)\)"),
        (lambda: semret.cka(MAPS[0], MAPS[0]), r"x @ x\.T"),
        (lambda: semret.cka(GRIDS, GRIDS), "layout='NHWC'"),
    ],
)
def test_the_message_names_the_call_that_does(call, message):
    with pytest.raises(ShapeError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_set_of_maps_is_no_map():
    class Set:
        representations = MAPS

    assert np.array_equal(semret.rsm(Set()), semret.rsm(MAPS))
    with pytest.raises(ShapeError, match=r"a is a set of maps \(Set\).*semret\.rsm compares sets"):
        semret.matched_similarity(Set(), Set())


def test_integer_tokens_are_maps():
    integers = np.random.default_rng(1).integers(-127, 128, (3, 4, 5)).astype(np.int8)
    tokens = IntegerTokens(integers=integers, scales=np.full((3, 4), 0.5, dtype=np.float32))
    assert np.array_equal(semret.rsm(tokens), semret.rsm(tokens.as_floats()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_tensors_of_few_bits_and_with_a_gradient_are_maps(dtype):
    tensor = torch.tensor(MAPS).to(dtype)
    wide = tensor.float().numpy()
    expected = semret.rsm(wide)
    assert np.array_equal(semret.rsm(tensor), expected)
    assert np.array_equal(semret.rsm(list(tensor)), expected)
    assert float(semret.matched_similarity(tensor[0], tensor[1])) == expected[0, 1]
    assert np.array_equal(pool(tensor), pool(wide))
    grown = tensor.float().requires_grad_()
    assert np.array_equal(semret.rsm(grown * 1), expected)
    assert np.array_equal(pool(grown), pool(wide))


def test_floats_of_other_libraries_are_maps():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
        narrow = MAPS.astype(dtype)
        assert np.array_equal(semret.rsm(narrow), semret.rsm(narrow.astype(np.float32)))
    assert semret.rsm(MAPS.astype(np.float64)).dtype == np.float64


@pytest.mark.parametrize("function", [semret.SearchEngine.query, semret.rsm, semret.matched_similarity])
def test_the_centre_that_a_score_is_of_is_said(function):
    text = " ".join(function.__doc__.split())
    assert "channel mean of the index" in text
    assert "subtract" in text
