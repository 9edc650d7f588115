"""Decoding: what every kind of picture becomes, what is refused and with which words, and what it may cost."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semret.errors import ImageDecodeError, ShapeError
from semret.index.pictures import convert, decode, formats, jpeg, limits
from semret.index.pictures.decode import as_rgb, decode_image, thumbnail
from semret.index.pictures.files import MAX_BYTES, hash_file, read_file, reason_of
from tests.support.pictures import encode

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(width: int = 60, height: int = 40) -> Image.Image:
    """Red and blue above, green and black below: no two of its eight orientations are alike."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = RED
    pixels[: height // 2, width // 2 :] = BLUE
    pixels[height // 2 :, : width // 2] = GREEN
    return Image.fromarray(pixels)


def ramp(dtype, step: float, start: float = 0) -> Image.Image:
    return Image.fromarray((np.arange(256) * step + start).astype(dtype).reshape(16, 16))


def levels(image: Image.Image) -> np.ndarray:
    """The grey levels of an RGB picture, which must be grey."""
    pixels = np.asarray(image)
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 0].reshape(-1)


def close(found, expected, tolerance=40) -> bool:
    return bool(np.abs(np.subtract(found, expected, dtype=np.float64)).max() <= tolerance)


# What is stored for each EXIF orientation, so that turning it gives the upright picture again.
STORED = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_of_exif_is_followed_once(fmt, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_image(encode(STORED[orientation](quarters()), fmt, exif=exif))
    assert image.size == (60, 40)
    corners = [image.getpixel(point) for point in ((10, 8), (50, 8), (10, 32), (50, 32))]
    assert all(map(close, corners, (RED, BLUE, GREEN, (0, 0, 0))))
    # Decoded again from what came out, nothing turns a second time.
    assert as_rgb(image).tobytes() == image.tobytes()


def test_an_orientation_out_of_range_and_damaged_exif_leave_the_picture_as_it_is():
    exif = Image.Exif()
    exif[0x0112] = 77
    upright = decode_image(encode(quarters(), "PNG")).tobytes()
    assert decode_image(encode(quarters(), "PNG", exif=exif)).tobytes() == upright
    assert decode_image(encode(quarters(), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")).tobytes() == upright


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "TIFF"])
def test_transparent_pixels_show_white_and_half_transparent_ones_a_mixture(fmt):
    pixels = np.zeros((8, 9, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:, 3:6, 3], pixels[:, 6:, 3] = 51, 255
    options = {"lossless": True, "exact": True} if fmt == "WEBP" else {}
    image = decode_image(encode(Image.fromarray(pixels), fmt, **options))
    assert image.getpixel((0, 0)) == WHITE
    # 20 % of (200, 0, 0) over white.
    assert close(image.getpixel((4, 4)), (244, 204, 204), 1)
    assert image.getpixel((8, 4)) == (200, 0, 0)


def test_palettes_with_one_transparent_index_or_alpha_per_entry():
    palette = Image.new("P", (4, 1))
    palette.putpalette([*RED, *GREEN, *BLUE, 10, 20, 30])
    palette.putdata([0, 1, 2, 3])
    one = decode_image(encode(palette, "PNG", transparency=1))
    assert [one.getpixel((x, 0)) for x in range(4)] == [RED, WHITE, BLUE, (10, 20, 30)]
    each = decode_image(encode(palette, "PNG", transparency=bytes([255, 0, 51])))
    assert [each.getpixel((x, 0)) for x in range(4)] == [RED, WHITE, (204, 204, 255), (10, 20, 30)]
    gif = decode_image(encode(palette, "GIF", transparency=2))
    assert [gif.getpixel((x, 0)) for x in range(4)] == [RED, GREEN, WHITE, (10, 20, 30)]


def test_a_transparent_colour_without_an_alpha_channel():
    assert decode_image(encode(Image.new("RGB", (3, 3), GREEN), "PNG", transparency=GREEN)).getpixel((1, 1)) == WHITE
    assert decode_image(encode(Image.new("L", (3, 3), 7), "PNG", transparency=7)).getpixel((1, 1)) == WHITE


@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled_and_not_clipped(fmt):
    assert levels(decode_image(encode(ramp(np.uint16, 257), fmt))).tolist() == list(range(256))
    # A dark picture stays dark: its range is that of the format.
    assert levels(decode_image(encode(ramp(np.uint16, 2), fmt))).max() == 2


def test_32_bit_integers_and_floats_are_scaled_from_their_own_range():
    for image in (ramp(np.int32, 1000, -500), ramp(np.float32, 1e30), ramp(np.float32, 3.5, -20)):
        assert levels(decode_image(encode(image, "TIFF"))).tolist() == list(range(256))
    # Floats within 0..1 mean black to white, whatever part of it they use.
    assert close(levels(decode_image(encode(ramp(np.float32, 0.5 / 255), "TIFF"))), np.arange(256) / 2, 1)
    assert levels(decode_image(encode(Image.new("I", (3, 2), 70000), "TIFF"))).tolist() == [0] * 6


def test_values_that_are_not_finite_become_black():
    values = np.array([[np.nan, np.inf, -np.inf, 0.0, 1.0]], np.float32)
    assert levels(decode_image(encode(Image.fromarray(values), "TIFF"))).tolist() == [0, 0, 0, 0, 255]
    nothing = np.full((2, 2), np.nan, np.float32)
    assert levels(decode_image(encode(Image.fromarray(nothing), "TIFF"))).tolist() == [0] * 4


def test_a_large_deep_grey_picture_is_converted_in_strips_without_seams(monkeypatch):
    monkeypatch.setattr(convert, "_STRIP", 48)
    assert levels(decode_image(encode(ramp(np.float32, 7.0), "TIFF"))).tolist() == list(range(256))


def test_a_12_bit_tiff_is_scaled_from_12_bits():
    # Two pixels, 0xFFF and 0x800, in three bytes.
    tags = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
    entries = b"".join(np.array([tag, 3, 1, 0, value, 0], "<u2").tobytes() for tag, value in tags)
    data = b"II*\0" + (12).to_bytes(4, "little") + b"\xff\xf8\x00\0" + len(tags).to_bytes(2, "little") + entries
    assert levels(decode_image(data + bytes(4))).tolist() == [255, 128]


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, WHITE),
        ("L", 9, (9, 9, 9)),
        ("LA", (9, 0), WHITE),
        ("La", (0, 0), WHITE),
        ("RGBa", (0, 0, 0, 0), WHITE),
        ("RGBX", (1, 2, 3, 0), (1, 2, 3)),
        ("CMYK", (0, 255, 255, 0), RED),
        ("YCbCr", (255, 128, 128), WHITE),
        ("HSV", (0, 255, 255), RED),
        ("LAB", (255, 128, 128), WHITE),
        ("I;16", 65535, WHITE),
    ],
)
def test_every_mode_becomes_rgb(mode, colour, expected):
    image = as_rgb(Image.new(mode, (3, 2), colour))
    assert image.mode == "RGB"
    assert close(image.getpixel((1, 1)), expected, 2)


def test_cmyk_jpeg():
    image = decode_image(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert close(image.getpixel((8, 8)), RED, 6)


@pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_counts(fmt):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if fmt == "WEBP" else {}
    data = encode(frames[0], fmt, save_all=True, append_images=frames[1:], **options)
    assert decode_image(data).getpixel((4, 4)) == RED


def test_of_the_pictures_in_a_telephones_file_the_first_counts_and_is_reduced_like_any_jpeg():
    data = encode(quarters(1200, 800), "MPO", save_all=True, append_images=[Image.new("RGB", (1200, 800), WHITE)])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    image = decode_image(data, reduce_to=(100, 100))
    assert image.size == (300, 200)
    assert close(image.getpixel((20, 20)), RED)


def test_arrays_are_pictures_too():
    grey = np.full((3, 4), 7, np.uint8)
    assert as_rgb(grey).getpixel((3, 2)) == (7, 7, 7)
    assert as_rgb(grey[..., None]).size == (4, 3)
    assert as_rgb(np.full((3, 4, 3), (1, 2, 3), np.uint8)[::-1]).getpixel((0, 0)) == (1, 2, 3)
    assert as_rgb(np.zeros((3, 4, 4), np.uint8)).getpixel((0, 0)) == WHITE
    for wrong in (grey.astype(np.float32), np.zeros((0, 4), np.uint8), np.zeros((3, 4, 2), np.uint8), np.uint8(3)):
        with pytest.raises(ShapeError, match="expected uint8 of shape"):
            as_rgb(wrong)


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(ImageDecodeError, match="no pixels"):
        as_rgb(Image.new("RGB", (0, 5)))


# -- what is refused


@pytest.mark.parametrize("name", ["a.jpg", "a.heic", "a"])
def test_an_image_is_known_by_its_content_and_not_by_its_suffix(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(encode(quarters(), "WEBP"))
    assert decode_image(path).size == (60, 40)


@pytest.mark.parametrize("fmt", ["PPM", "TGA", "EPS", "ICO", "PDF"])
def test_formats_outside_the_list_are_refused_by_name(tmp_path, fmt):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(quarters(), fmt))
    with pytest.raises(ImageDecodeError) as caught:
        decode_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert (
        reason_of(caught.value, path)
        == "is no picture in a supported format (JPEG, PNG, WEBP, BMP, TIFF, GIF, AVIF, HEIF)"
    )


def test_files_that_cannot_be_read_are_named_with_the_reason(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo.png")
    reasons = {
        "empty.png": "is empty",
        "folder.png": "is a directory",
        "fifo.png": "is a FIFO (named pipe)",
        "dangling.png": "no such file or directory",
        "missing.png": "no such file or directory",
        "null\0byte": "embedded null byte",
    }
    for name, reason in reasons.items():
        path = tmp_path / name
        for read in (read_file, hash_file, decode_image, as_rgb):
            with pytest.raises(ImageDecodeError) as caught:
                read(path)
            assert reason_of(caught.value, path) == reason
    with pytest.raises(ImageDecodeError, match="character device"):
        read_file("/dev/zero")


def test_a_file_over_the_limit_is_not_read(tmp_path):
    path = tmp_path / "huge.png"
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    for read in (read_file, hash_file):
        with pytest.raises(ImageDecodeError, match=f"more than the limit of {MAX_BYTES}"):
            read(path)


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch):
    header = encode(Image.new("1", (1, 1)), "PNG")
    width, height = (20000).to_bytes(4, "big"), (20000).to_bytes(4, "big")
    chunk = b"IHDR" + width + height + header[24:29]
    bomb = header[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + header[33:]
    with pytest.raises(
        ImageDecodeError, match="declares 20000 x 20000 pixels, more than the limit of 134217728; make it smaller"
    ):
        decode_image(bomb)
    monkeypatch.setattr(decode, "MAX_PIXELS", 2399)
    with pytest.raises(ImageDecodeError, match="declares 60 x 40 pixels, more than the limit of 2399"):
        decode_image(encode(quarters(), "PNG"))
    monkeypatch.setattr(decode, "MAX_PIXELS", 2400)
    assert decode_image(encode(quarters(), "PNG")).size == (60, 40)


def test_a_jpeg_of_very_many_scans_is_refused():
    data = encode(Image.new("L", (64, 64), 128), "JPEG", progressive=True)
    ordinary = jpeg.count_scans(data, 1000)
    assert 1 < ordinary < 20
    last = data[data.rfind(b"\xff\xda") : -2]
    with pytest.raises(ImageDecodeError, match="more than 100 scans"):
        decode_image(data[:-2] + last * 200 + data[-2:])
    assert jpeg.count_scans(data[:-2] + last * 200 + data[-2:], 1000) == ordinary + 200


def test_scans_of_previews_and_appended_films_do_not_count():
    preview = encode(Image.new("RGB", (16, 16)), "JPEG", progressive=True)
    exif = b"\xff\xe1" + (len(preview) + 8).to_bytes(2, "big") + b"Exif\0\0" + preview
    data = encode(quarters(), "JPEG")
    assert jpeg.count_scans(data[:2] + exif + data[2:] + b"\xff\xda\0\x02" * 500, 1000) == 1
    assert jpeg.count_scans(b"", 5) == 0


@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000), (1, 1)])
def test_extreme_shapes(size):
    data = encode(Image.new("RGB", size, GREEN), "PNG")
    assert decode_image(data).size == size
    assert decode_image(data, reduce_to=(224, 224)).size == size


def test_nothing_comes_out_of_a_truncated_file():
    data = encode(Image.effect_noise((64, 64), 80).convert("RGB"), "JPEG")
    with pytest.raises(ImageDecodeError, match="truncated"):
        decode_image(data[: len(data) // 2])


def test_any_failure_of_pillow_is_reported_as_ours(monkeypatch):
    for error in (MemoryError(), RecursionError("deep"), ZeroDivisionError("division by zero"), KeyError(3)):

        def fail(*args, error=error, **options):
            raise error

        monkeypatch.setitem(formats.CLASSES, "BMP", fail)
        with pytest.raises(ImageDecodeError, match=r"more memory than there is|is damaged: "):
            decode_image(b"BM whatever")


# -- reduced decoding


@pytest.mark.parametrize("fmt", ["JPEG", "PNG"])
def test_a_reduced_picture_keeps_twice_what_is_asked_for_and_looks_the_same(fmt):
    pixels = np.asarray(
        Image.effect_noise((900, 1300), 60).convert("RGB").resize((1300, 900), Image.Resampling.BICUBIC)
    )
    data = encode(Image.fromarray(pixels), fmt)
    whole, reduced = decode_image(data), decode_image(data, reduce_to=(100, 80))
    assert whole.size == (1300, 900)
    assert whole.info == reduced.info == {"original_size": (1300, 900)}
    assert min(reduced.size) >= 200
    assert reduced.size < whole.size
    small = [np.asarray(image.resize((80, 100), Image.Resampling.BICUBIC), float) for image in (whole, reduced)]
    assert np.abs(small[0] - small[1]).mean() < 2.0
    assert decode_image(data, reduce_to=(451, 451)).size == whole.size


def test_a_turned_jpeg_is_reduced_like_an_upright_one():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode_image(encode(STORED[6](quarters(1200, 400)), "JPEG", exif=exif), reduce_to=(50, 100))
    assert image.size == (600, 200)
    assert image.info == {"original_size": (1200, 400)}


def test_thumbnails_are_small_jpegs(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(quarters(600, 400), "PNG"))
    for source in (path, path.read_bytes(), Image.open(path), decode_image(path)):
        small = Image.open(io.BytesIO(thumbnail(source, 90)))
        assert (small.format, small.size) == ("JPEG", (90, 60))
        assert close(small.getpixel((20, 10)), RED)
    assert Image.open(io.BytesIO(thumbnail(quarters(30, 20), 90))).size == (30, 20)


# -- one pass, many threads


def test_hash_and_pixels_come_from_the_same_bytes(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(quarters(), "PNG"))
    status, content = path.stat(), read_file(path)
    assert content.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == hash_file(path)
    assert (content.size, content.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert decode_image(content.data).tobytes() == quarters().tobytes()


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encode(quarters(), "PNG"))
    real, calls = os.fstat, []

    def grow(descriptor):
        status = real(descriptor)
        calls.append(status)
        with path.open("ab") as stream:
            stream.write(b"more")
        return status

    monkeypatch.setattr(os, "fstat", grow)
    with pytest.raises(ImageDecodeError, match="changes while it is being read"):
        read_file(path)
    assert len(calls) >= 4

    def grow_once(descriptor):
        return grow(descriptor) if len(calls) < 2 else real(descriptor)

    calls.clear()
    monkeypatch.setattr(os, "fstat", grow_once)
    assert read_file(path).data == path.read_bytes()


def test_pillow_does_not_warn_through_us_and_the_filters_stay_as_they_were():
    before = list(warnings.filters)
    # A header like this makes Pillow warn of a decompression bomb, an error under this test run's filters.
    data = encode(Image.new("1", (10000, 9000)), "PNG")
    with pytest.raises(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data))
    assert decode_image(data, reduce_to=(32, 32)).width < 10000
    assert warnings.filters == before


def test_threads_decode_alike_and_leave_no_filter_behind():
    before = list(warnings.filters)
    data = {fmt: encode(quarters(), fmt) for fmt in formats.FORMATS}
    alone = {fmt: decode_image(content).tobytes() for fmt, content in data.items()}
    wrong: list[str] = []

    def work() -> None:
        for _ in range(10):
            wrong.extend(fmt for fmt, content in data.items() if decode_image(content).tobytes() != alone[fmt])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert warnings.filters == before


def test_the_budget_bounds_what_is_inside_and_lets_a_heavy_piece_run_alone():
    budget, inside, peak, heavy_with = limits.Budget(10), [], [], []
    lock = threading.Lock()

    def work(weight: int) -> None:
        with budget(weight):
            with lock:
                inside.append(weight)
                peak.append(sum(inside))
                if 50 in inside:
                    heavy_with.append(len(inside))
            threading.Event().wait(0.005)
            with lock:
                inside.remove(weight)

    threads = [threading.Thread(target=work, args=(weight,)) for weight in (4, 4, 50, 4, 3, 9, 4, 50, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heavy_with == [1, 1]
    assert max(total for total in peak if total != 50) <= 10


def test_the_budget_is_returned_after_a_failure():
    budget = limits.Budget(1)
    with pytest.raises(KeyError), budget(1):
        raise KeyError
    with budget(1):
        pass


def test_paths_may_be_of_any_kind(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9 \n'\".jpg")
    path.write_bytes(encode(quarters(), "JPEG"))
    assert decode_image(str(path)).size == decode_image(Path(path)).size == (60, 40)


@pytest.mark.parametrize("kind", ["BMP", "PNG"])
def test_a_file_cut_short_in_its_header_is_truncated_and_says_so(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, kind)
    whole = buffer.getvalue()
    said = set()
    for length in range(8, 26):
        with pytest.raises(ImageDecodeError) as caught:
            decode_image(whole[:length])
        said.add(str(caught.value))
    assert not [text for text in said if "unpack" in text or "buffer" in text]
    assert any("truncated" in text.lower() for text in said)
