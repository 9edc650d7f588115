"""What surrounds a picture in its file is left out, or bounded, before a decoder sees it."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from semret.errors import ImageDecodeError
from semret.index.pictures import decode
from semret.index.pictures.containers import cut_down
from semret.index.pictures.decode import decode_image
from semret.index.pictures.jpeg import MAX_PARTS, MAX_PROLOGUE
from semret.index.pictures.orientation import orientation_of
from tests.support.pictures import encode as file_of

PIXELS = np.random.default_rng(5).integers(0, 255, (24, 32, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def encode(fmt: str, image: Image.Image = PICTURE, **options) -> bytes:
    return file_of(image, fmt, **options)


def same(data: bytes, plain: bytes) -> bool:
    return decode_image(data).tobytes() == decode_image(plain).tobytes()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


# -- JPEG

JPEG = encode("JPEG", quality=95)


def app(number: int, content: bytes) -> bytes:
    return bytes([0xFF, 0xE0 + number]) + struct.pack(">H", len(content) + 2) + content


def test_filling_and_segments_before_a_jpeg_are_left_out():
    others = [app(1, b"Exif\0\0" + bytes(60_000)) * 200, app(2, b"ICC_PROFILE\0\1\1" + bytes(500)), app(13, b"8BIM")]
    for more in (b"\xff" * 3_000_000, b"\xff\xfe\0\x04hi" * 1000, *others):
        data = JPEG[:2] + more + JPEG[2:]
        assert same(data, JPEG)
        assert len(cut_down(data).data) <= len(JPEG)


@pytest.mark.parametrize(
    "more", [b"\xff" * MAX_PROLOGUE, app(1, b"Exif\0\0" + bytes(65_000)) * 300], ids=["fill", "app1"]
)
def test_too_much_before_a_jpeg_is_refused(more):
    with pytest.raises(ImageDecodeError, match=f"has more than {MAX_PROLOGUE} bytes before the picture begins"):
        decode_image(JPEG[:2] + more + JPEG[2:])


def test_very_many_parts_before_a_jpeg_are_refused():
    with pytest.raises(ImageDecodeError, match=f"has more than {MAX_PARTS} parts before the picture begins"):
        decode_image(JPEG[:2] + app(5, b"") * MAX_PARTS + JPEG[2:])


def test_filling_between_the_scans_of_a_jpeg_is_refused_and_behind_it_is_not():
    data = encode("JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(ImageDecodeError, match="more than 131072 bytes of filling within the picture"):
        decode_image(data[:last] + b"\xff" * 200_000 + data[last:])
    assert same(data[:last] + b"\xff" * 1000 + data[last:], data)
    assert same(data + b"\xff" * 200_000, data)


def test_what_the_colours_of_a_jpeg_depend_on_is_kept():
    for options in ({"image": PICTURE.convert("CMYK")}, {"keep_rgb": True}, {"progressive": True}, {"subsampling": 0}):
        data = encode("JPEG", **options)
        expected = Image.open(io.BytesIO(data)).convert("RGB").tobytes()
        assert decode_image(JPEG[:2] + app(1, b"Exif\0\0") + data[2:]).tobytes() == expected


def test_a_jpeg_that_ends_before_its_picture():
    for data in (JPEG[:20], JPEG[:2] + b"\xff" * 500, b"\xff\xd8\xff\xd9" + bytes(50)):
        with pytest.raises(ImageDecodeError, match="before the picture begins"):
            decode_image(data)


def test_the_limit_counts_what_is_decoded_of_a_jpeg(monkeypatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 100_000)
    picture = PICTURE.resize((1280, 960))
    panorama = encode("JPEG", picture)
    assert decode_image(panorama, reduce_to=(60, 60)).size == (160, 120)
    refused = "declares 1280 x 960 pixels, more than the limit of 100000"
    for data, options in (
        (panorama, {}),
        (panorama, {"reduce_to": (400, 400)}),
        (encode("JPEG", picture, progressive=True), {"reduce_to": (60, 60)}),  # all its coefficients are held
        (encode("BMP", picture), {"reduce_to": (60, 60)}),
    ):
        with pytest.raises(ImageDecodeError, match=refused):
            decode_image(data, **options)


def test_a_jpeg_may_not_declare_pixels_without_end():
    place = JPEG.index(b"\xff\xc0") + 5
    data = JPEG[:place] + struct.pack(">HH", 40_000, 40_000) + JPEG[place + 4 :]
    with pytest.raises(ImageDecodeError, match="declares 40000 x 40000 pixels, more than the limit of 1073741824"):
        decode_image(data, reduce_to=(64, 64))


# -- PNG

PNG = encode("PNG")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunks(*chunks: bytes) -> bytes:
    return PNG[:33] + b"".join(chunks) + PNG[33:]


@pytest.mark.parametrize(
    "more",
    [
        chunk(b"tEXt", b"Comment\0" + b"a" * 3_000_000),
        chunk(b"iTXt", b"Comment\0\0\0\0\0" + b"a" * 3_000_000),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(30_000_000))),
        chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(30_000_000))),
        chunk(b"tEXt", b"a" * 50)[:-1] + b"!",
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(9_000_000))),
        chunk(b"tEXt", b"a\0b") * 2000,
    ],
    ids=["long text", "long utf-8", "text bomb", "profile bomb", "damaged text", "exif bomb", "many"],
)
def test_texts_and_profiles_of_a_png_are_left_out(more):
    assert same(with_chunks(more), PNG)
    assert cut_down(with_chunks(more)).data == PNG


def test_very_many_chunks_are_refused():
    with pytest.raises(ImageDecodeError, match=f"has more than {MAX_PARTS} chunks"):
        decode_image(with_chunks(chunk(b"teXt", b"") * MAX_PARTS))


def test_the_orientation_of_a_png_in_each_of_its_places():
    upright = decode_image(PNG).transpose(Image.Transpose.ROTATE_270).tobytes()
    exif = turned(6)
    text = f"\nexif\n{len(exif):8d}\n{exif.hex()}\n".encode()
    places = [
        chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")),
        chunk(b"tEXt", b"Raw profile type exif\0" + text),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    ]
    for place in places:
        assert decode_image(with_chunks(place)).tobytes() == upright


def png_of(bits: int, colours: int, row: bytes, width: int, transparent: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, 1, bits, colours, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return PNG[:8] + b"".join(chunk(kind, content) for kind, content in chunks)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png_of(1, 0, b"\x40", 3, b"\0\0"), [255, 255, 255]),
        (png_of(2, 0, b"\x1b", 4, b"\0\2"), [0, 85, 255, 255]),
        (png_of(4, 0, b"\x12\x3f", 4, b"\0\2"), [17, 255, 51, 255]),
        (png_of(8, 0, b"\1\2\3", 3, b"\0\2"), [1, 255, 3]),
        (png_of(16, 0, b"\1\2\1\3\3\4", 3, b"\1\2"), [255, 1, 3]),
        (png_of(8, 2, b"\1\1\1\2\2\2", 2, b"\0\2\0\2\0\2"), [1, 255]),
        # The upper halves of the first three colours are the same.
        (png_of(16, 2, b"\1\2" * 3 + b"\1\2\1\2\1\3" + b"\1\3" * 3 + b"\4\0" * 3, 4, b"\1\2" * 3), [255, 1, 1, 4]),
        (png_of(16, 4, b"\1\2\0\0\7\2\xff\xff", 2, b""), [255, 7]),
        (png_of(16, 6, b"\1\2\1\2\1\2\0\0" + b"\7\2\7\2\7\2\xff\xff", 2, b""), [255, 7]),
    ],
    ids=["grey1", "grey2", "grey4", "grey8", "grey16", "rgb8", "rgb16", "grey16 alpha", "rgb16 alpha"],
)
def test_a_transparent_colour_of_every_depth_shows_white(data, expected):
    assert np.asarray(decode_image(data))[0].tolist() == [[value] * 3 for value in expected]


# -- GIF, WebP


def test_comments_before_a_gif_are_left_out():
    data = encode("GIF", PICTURE.quantize(16), transparency=3)
    start = data.index(b"!\xf9") if b"!\xf9" in data else data.index(b",")
    comment = b"!\xfe" + (b"\xff" + b"c" * 255) * 20_000 + b"\0"
    assert same(data[:start] + comment + data[start:], data)
    with pytest.raises(ImageDecodeError, match="parts before the picture begins"):
        decode_image(data[:start] + b"!\xfe" + b"\1c" * (MAX_PARTS + 1) + b"\0" + data[start:])
    with pytest.raises(ImageDecodeError, match=f"has more than {MAX_PROLOGUE} bytes before the picture begins"):
        decode_image(data[:start] + comment * 4 + data[start:])
    with pytest.raises(ImageDecodeError, match="truncated before the picture begins"):
        decode_image(data[:start])


def test_a_webp_with_a_huge_canvas_is_refused_before_memory_is_taken_for_it():
    data = encode("WEBP", save_all=True, append_images=[PICTURE.rotate(180)])
    assert data[12:16] == b"VP8X"
    lie = data[:24] + (16_382).to_bytes(3, "little") * 2 + data[30:]
    with pytest.raises(ImageDecodeError, match="declares 16383 x 16383 pixels"):
        decode_image(lie)


def test_a_long_bmp_in_run_lengths_is_refused():
    header = struct.pack("<IIIIiiHHIIiiII", 0, 0, 1078, 40, 2, 1, 1, 8, 1, 0, 0, 0, 256, 0)
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256))
    short = b"BM" + header + palette + b"\1\7\1\x09\0\1"
    assert np.asarray(decode_image(short))[0, :, 0].tolist() == [7, 9]
    with pytest.raises(ImageDecodeError, match="bytes of run lengths"):
        decode_image(short[:-2] + b"\0\2\0\0" * 5_000_000)


# -- TIFF


def tiff(*entries: tuple[int, int, int, int], after: bytes = b"") -> bytes:
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    return head + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4) + after


GREY = [(256, 3, 1, 2), (257, 3, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1), (278, 3, 1, 1)]


def test_a_tiff_whose_tags_overlap_is_refused():
    many = [(40_000 + number, 7, 90_000, 8) for number in range(200)]
    with pytest.raises(ImageDecodeError, match="tags that overlap"):
        decode_image(tiff(*GREY, (273, 3, 1, 8), (279, 3, 1, 2), *many, after=bytes(90_000)))
    long = [(258, 3, 9_000_000, 8)]
    with pytest.raises(ImageDecodeError, match="tags that overlap or hold more"):
        decode_image(tiff(*GREY[:2], *long, *GREY[3:], (273, 3, 1, 8), (279, 3, 1, 2), after=bytes(18_000_000)))


def test_a_tiff_whose_strips_overlap_is_refused():
    strips = struct.pack("<I", 8) * 500 + struct.pack("<I", 3000) * 500
    place = 8 + 2 + 12 * 9 + 4
    data = tiff(*GREY, (273, 4, 500, place), (279, 4, 500, place + 2000), after=strips)
    with pytest.raises(ImageDecodeError, match="strips or tiles that overlap"):
        decode_image(data)


def test_exif_that_a_tiff_points_to_is_not_followed():
    # The directory points to itself, as EXIF and as GPS data.
    entries = sorted([*GREY, (273, 3, 1, 8), (279, 3, 1, 2), (34665, 4, 1, 8), (34853, 4, 1, 8)])
    assert np.asarray(decode_image(tiff(*entries))).shape == (1, 2, 3)


def test_pixels_of_a_kind_that_is_not_supported_are_called_so():
    with pytest.raises(ImageDecodeError, match="pixels of a kind that is not supported"):
        decode_image(tiff(*GREY[:2], (258, 3, 1, 7), *GREY[3:], (273, 3, 1, 8), (279, 3, 1, 2)))


# -- EXIF


def test_orientation_is_read_whatever_else_exif_holds():
    assert orientation_of(turned(6)) == orientation_of(turned(6).removeprefix(b"Exif\0\0")) == 6
    many = b"".join(struct.pack(">HHII", tag, 7, 2**31, 0) for tag in range(0x200))
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 8, 0)
    assert orientation_of(b"MM\0*\0\0\0\x08" + struct.pack(">H", 0x201) + many + entry) in (1, 8)
    loop = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    for damaged in (
        loop,
        b"",
        b"Exif\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"XX*\0\x08\0\0\0\0\0",
        turned(6)[:16],
        turned(77),
    ):
        assert orientation_of(damaged) == 1
    assert orientation_of(b"", XMP) == 6
    assert orientation_of(turned(3), XMP) == 3
    assert orientation_of(b"", b"<tiff:Orientation>8</tiff:Orientation>") == 8


def test_orientation_in_the_xmp_of_a_jpeg():
    data = JPEG[:2] + app(1, b"http://ns.adobe.com/xap/1.0/\0" + XMP) + JPEG[2:]
    assert decode_image(data).size == (24, 32)


# -- HEIC and AVIF


@pytest.mark.parametrize("fmt", ["HEIF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_and_avif_are_turned_once(fmt, orientation):
    pixels = np.zeros((80, 128, 3), np.uint8)
    pixels[:40, :64], pixels[:40, 64:], pixels[40:, :64] = (255, 0, 0), (0, 0, 255), (0, 255, 0)
    whole = Image.fromarray(pixels)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that stores it so
    stored = whole if orientation == 1 else whole.transpose(Image.Transpose(back[orientation]))
    image = decode_image(encode(fmt, stored, quality=95, exif=turned(orientation)))
    assert image.size == (128, 80)
    assert np.abs(np.asarray(image, float) - pixels).mean() < 8
    assert image.info == {"original_size": (128, 80)}


@pytest.mark.parametrize("fmt", ["HEIF", "AVIF"])
def test_heic_and_avif_show_white_where_they_are_transparent_and_are_reduced(fmt, monkeypatch):
    pixels = np.zeros((400, 600, 4), np.uint8)
    pixels[:, 300:] = (200, 10, 10, 255)
    image = decode_image(encode(fmt, Image.fromarray(pixels), quality=95), reduce_to=(50, 50))
    assert image.size == (150, 100)
    assert np.abs(np.subtract(image.getpixel((10, 50)), 255.0)).max() < 8
    assert np.abs(np.subtract(image.getpixel((140, 50)), (200, 10, 10), dtype=float)).max() < 12
    assert image.info == {"original_size": (600, 400)}
    monkeypatch.setattr(decode, "MAX_PIXELS", 1000)
    with pytest.raises(ImageDecodeError, match="declares 600 x 400 pixels"):
        decode_image(encode(fmt, Image.fromarray(pixels)), reduce_to=(50, 50))


@pytest.mark.parametrize("fmt", ["HEIF", "AVIF"])
def test_exif_of_heic_and_avif_is_never_looked_at(fmt):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    data = encode(fmt, exif=exif.tobytes())
    assert b"infe" in data
    assert b"Exif" in data
    plain = cut_down(data)
    assert plain.format == fmt
    assert plain.data.count(b"infe") == data.count(b"infe")
    assert plain.data.count(b"Exif") < data.count(b"Exif")
    assert decode_image(data).size == (32, 24)


@pytest.mark.parametrize(
    ("brands", "fmt"),
    [
        ((b"heic",), "HEIF"),
        ((b"mif1", b"heic"), "HEIF"),
        ((b"mif1", b"miaf", b"avif"), "AVIF"),
        ((b"avis",), "AVIF"),
        ((b"isom", b"mp42"), None),
        ((b"qt  ",), None),
    ],
)
def test_which_of_the_two_a_file_is_in(brands, fmt):
    box = b"ftyp" + brands[0] + bytes(4) + b"".join(brands)
    plain = cut_down(struct.pack(">I", len(box) + 4) + box)
    assert (plain and plain.format) == fmt


def test_a_film_is_no_picture():
    with pytest.raises(ImageDecodeError, match="is no picture in a supported format"):
        decode_image(b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(100))


def test_the_decoder_of_heic_is_loaded_when_it_is_needed_and_pillow_stays_as_it_was(tmp_path):
    (tmp_path / "a.heic").write_bytes(encode("HEIF"))
    program = (
        "import sys; from semret.index.pictures.decode import decode_image; assert 'pillow_heif' not in sys.modules\n"
        f"decode_image({str(tmp_path / 'a.heic')!r}); assert 'pillow_heif' in sys.modules\n"
        "from PIL import Image; assert 'HEIF' not in Image.OPEN and 'HEIF' not in Image.SAVE"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
