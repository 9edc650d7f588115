"""Whatever bytes come: a whole picture, the same every time, or an error with a reason; never part of a picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from semret.errors import ImageDecodeError
from semret.index.pictures.decode import as_rgb, decode_image
from semret.index.pictures.formats import FORMATS
from tests.support.pictures import encode

quick = settings(deadline=None, max_examples=60, derandomize=True)
pixel_arrays = arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3)))


def decoded(data: bytes) -> bytes | None:
    """Return the pixels, or None where the file is refused with a reason."""
    try:
        image = decode_image(data)
    except ImageDecodeError as error:
        reason = str(error)
    else:
        reason = ""
    if reason:
        assert reason.startswith(("is ", "declares ", "has ", "needs "))
        assert "\n" not in reason
        return None
    assert image.mode == "RGB"
    assert image.info == {"original_size": image.size}
    return image.tobytes() + repr(image.size).encode()


@quick
@given(pixel_arrays, st.sampled_from([fmt for fmt in FORMATS if fmt not in ("JPEG", "GIF", "AVIF", "HEIF")]))
def test_lossless_formats_give_back_the_pixels(pixels, fmt):
    options = {"lossless": True} if fmt == "WEBP" else {}
    assert np.array_equal(np.asarray(decode_image(encode(Image.fromarray(pixels), fmt, **options))), pixels)


@quick
@given(pixel_arrays, st.sampled_from(FORMATS), st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused_or_loses_nothing(pixels, fmt, share):
    data = encode(Image.fromarray(pixels), fmt)
    assert decoded(data[: int(share * len(data))]) in (None, decoded(data))


@pytest.mark.parametrize("fmt", FORMATS)
@quick
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=12))
def test_a_file_with_changed_bytes_is_decoded_or_refused_alike_each_time(fmt, changes):
    data = bytearray(encode(Image.linear_gradient("L").resize((24, 24)).convert("RGB"), fmt))
    for place, value in changes:
        data[place % min(len(data), 400)] = value
    assert decoded(bytes(data)) == decoded(bytes(data))


MAGICS = (
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"II*\0",
    b"GIF89a",
    b"BM",
    b"RIFF....WEBP",
    b"\0\0\0\x18ftypheic",
)


@quick
@given(st.binary(max_size=200), st.sampled_from(MAGICS))
def test_noise_never_breaks_the_contract(noise, magic):
    decoded(magic + noise)


@quick
@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(4))))
def test_alpha_mixes_with_white(pixels):
    alpha = pixels[..., 3:].astype(float) / 255
    expected = pixels[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(np.asarray(as_rgb(pixels)) - expected).max() <= 1


@quick
@given(
    st.integers(1, 600), st.integers(1, 600), st.integers(1, 40), st.integers(1, 40), st.sampled_from(["JPEG", "BMP"])
)
def test_reducing_keeps_enough_pixels_and_the_shape(width, height, rows, columns, fmt):
    image = decode_image(encode(Image.new("RGB", (width, height)), fmt), reduce_to=(rows, columns))
    wanted = 2 * max(rows, columns)
    assert image.width >= min(width, wanted)
    assert image.height >= min(height, wanted)
    # Sides are divided by one whole number and rounded up.
    assert any(image.size == (-(-width // n), -(-height // n)) for n in range(1, 601))
