"""A corpus of damaged pictures, decoded in a child process with bounded memory and time."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

MEMORY = 2 * 2**30
SECONDS = 100

# Decodes every file below a folder; prints how many ended how, and which broke the contract.
CHILD = """
import collections, json, resource, sys, warnings
warnings.simplefilter("error")
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
from semret.errors import ImageDecodeError
from semret.index.images import decode_image, find_images, reason_of
ends, strange = collections.Counter(), []
for found in find_images([sys.argv[1]]):
    try:
        image = decode_image(found.path)
        pixels = image.tobytes()
        if image.mode != "RGB" or len(pixels) != 3 * image.width * image.height:
            strange.append(found.path)
        ends["decoded"] += 1
    except ImageDecodeError as error:
        if reason_of(error, found.path) == str(error):
            strange.append(found.path)
        ends["refused"] += 1
print(json.dumps({"ends": ends, "strange": strange}))
"""


def encode(image: Image.Image, fmt: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, fmt, **options)
    return stream.getvalue()


def sound_files() -> dict[str, bytes]:
    """One file of every kind: each format, compression, mode, with metadata, animated and of several pages."""
    noise = np.random.default_rng(5).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    noise[:20] = 90
    image, other = Image.fromarray(noise), Image.fromarray(noise[::-1])
    exif = Image.Exif()
    exif[0x0112] = 6
    several = {"save_all": True, "append_images": [other, image]}
    return {
        "exif.jpg": encode(image, "JPEG", exif=exif),
        "progressive.jpg": encode(image, "JPEG", progressive=True),
        "grey.jpg": encode(image.convert("L"), "JPEG"),
        "cmyk.jpg": encode(image.convert("CMYK"), "JPEG"),
        "plain.png": encode(image, "PNG", exif=exif),
        "palette.png": encode(image.quantize(16), "PNG", transparency=3),
        "deep.png": encode(Image.fromarray(noise[..., 0].astype(np.uint16) * 200), "PNG"),
        "animated.png": encode(image, "PNG", **several),
        "lossy.webp": encode(image, "WEBP"),
        "lossless.webp": encode(image, "WEBP", lossless=True, exif=exif),
        "animated.webp": encode(image, "WEBP", **several),
        "plain.bmp": encode(image, "BMP"),
        "palette.bmp": encode(image.quantize(16), "BMP"),
        "plain.gif": encode(image, "GIF"),
        "animated.gif": encode(image, "GIF", **several),
        "plain.tif": encode(image, "TIFF", exif=exif),
        "float.tif": encode(Image.fromarray(noise[..., 0].astype(np.float32)), "TIFF"),
        "pages.tiff": encode(image, "TIFF", **several),
        "fax.tif": encode(image.convert("1"), "TIFF", compression="group4"),
        **{f"{name}.tif": encode(image, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_deflate", "jpeg")},
    }


def truncations(data: bytes, count: int):
    return [data[: position * len(data) // count] for position in range(1, count)]


def fuzzed(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    reach = chance.choice((16, 64, 256, len(changed)))
    for _ in range(chance.choice((1, 2, 4, 16))):
        changed[chance.randrange(min(reach, len(changed)))] = chance.choice(
            (0, 1, 127, 128, 255, chance.randrange(256))
        )
    return bytes(changed)


@pytest.mark.slow
def test_more_than_a_thousand_damaged_files_are_decoded_or_refused(tmp_path):
    written = 0
    for name, data in sound_files().items():
        chance = random.Random(name)
        damaged = truncations(data, 20) + [fuzzed(data, chance) for _ in range(150)]
        for number, content in enumerate(damaged):
            (tmp_path / f"{number:03}-{name}").write_bytes(content)
        written += len(damaged)
    chance = random.Random(0)
    for number in range(60):
        (tmp_path / f"noise-{number:03}.jpg").write_bytes(chance.randbytes(chance.randrange(1, 3000)))
    written += 60
    report = decode_in_child(tmp_path)
    assert written > 3000
    assert sum(report["ends"].values()) == written
    assert report["ends"]["refused"] > 500
    assert report["ends"]["decoded"] > 100
    assert report["strange"] == []


def test_every_sound_file_is_decoded(tmp_path):
    files = sound_files()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert decode_in_child(tmp_path)["ends"] == {"decoded": len(files)}


def decode_in_child(folder) -> dict:
    """Decode a folder under a limit of address space and of time; a crash or a hang fails the test."""
    command = [sys.executable, "-c", CHILD, str(folder), str(MEMORY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_pictures_too_large_for_memory_are_refused_and_the_next_is_decoded(tmp_path):
    (tmp_path / "a.png").write_bytes(encode(Image.new("1", (16000, 8000)), "PNG"))
    (tmp_path / "b.png").write_bytes(encode(Image.new("RGB", (8, 8)), "PNG"))
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(600 * 2**20)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["ends"] == {"refused": 1, "decoded": 1}
