"""A picture comes in any form in which a program holds one, or the message says how to make one of it."""

import io

import numpy as np
import pytest
import torch

from semret.errors import ArgumentError, ImageDecodeError, ShapeError
from semret.index.pictures.decode import as_rgb
from tests.support.pictures import draw, encode

PICTURE = draw(3)
PIXELS = np.asarray(PICTURE)
FILE = encode(PICTURE, "PNG")


@pytest.mark.parametrize(
    "form",
    [
        FILE,
        bytearray(FILE),
        memoryview(FILE),
        io.BytesIO(FILE),
        PICTURE,
        PIXELS,
        PIXELS.transpose(2, 0, 1),
        torch.tensor(PIXELS),
        torch.tensor(PIXELS).permute(2, 0, 1),
    ],
    ids=["bytes", "bytearray", "memoryview", "file object", "PIL", "HWC", "CHW", "HWC tensor", "CHW tensor"],
)
def test_every_form_gives_the_same_pixels(form):
    assert np.array_equal(np.asarray(as_rgb(form)), PIXELS)


def test_grey_planes_may_come_first():
    grey = PIXELS[..., 0]
    assert np.array_equal(np.asarray(as_rgb(grey[None])), np.asarray(as_rgb(grey)))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (PIXELS / 255, ShapeError, r"\(255 \* x\)\.round\(\)\.astype\('uint8'\)"),
        (torch.tensor(PIXELS / 255 - 0.5), ShapeError, "look normalised for a network"),
        (PIXELS.astype(np.int64), ShapeError, r"x\.astype\('uint8'\)"),
        (PIXELS[None], ShapeError, r"one call each: \[engine\.query"),
        (PIXELS[..., :2], ShapeError, "expected uint8 of shape"),
        ([PICTURE, PICTURE], ArgumentError, "list of 2, expected one picture; for several, one call each"),
        (3.5, ArgumentError, "of type float, expected a path, bytes"),
        (io.StringIO("text"), ImageDecodeError, "open it with mode 'rb'"),
        (io.BytesIO(), ImageDecodeError, r"stream\.seek\(0\)"),
    ],
    ids=["0..1", "normalised", "int64", "batch", "two planes", "list", "number", "text", "at its end"],
)
def test_what_is_no_picture_is_told_what_to_do(wrong, error, message):
    with pytest.raises(error, match=message) as caught:
        as_rgb(wrong)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"x")
    with (tmp_path / "a.bin").open("wb") as stream, pytest.raises(ImageDecodeError, match=r"a\.bin: cannot be read"):
        as_rgb(stream)
