"""A corpus of damaged pictures, decoded in a child process with bounded memory and time."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semret.errors import ImageSearchError, SemretError
from semret.index.care.verify import verify
from semret.index.collection import Collection
from semret.index.pictures.files import hash_file
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.pictures import encode

MEMORY = 2 * 2**30
SECONDS = 100

# Decodes every file below a folder; prints how many ended how, and which broke the contract.
CHILD = """
import collections, json, resource, sys, warnings
warnings.simplefilter("error")
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
from semret.errors import ImageDecodeError
from semret.index.pictures.decode import decode_image
from semret.index.pictures.files import reason_of
from semret.index.pictures.find import find_images
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


# -- a whole folder of trouble, indexed


@pytest.fixture
def trouble(tmp_path, draw_picture):
    """A folder with pictures of odd names and shapes, and everything that is no picture or cannot be read."""
    folder = tmp_path / "trouble"
    (folder / "sub").mkdir(parents=True)
    odd = [
        "plain.png",
        "new\nline.png",
        "quo'te\".png",
        " blank .png",
        "\u2603\U0001f600.png",
        "-n.png",
        "\x1b[31m.png",
    ]
    for seed, name in enumerate([*odd, os.fsdecode(b"caf\xe9\xff.png"), "UPPER.PNG", "sub/below.png"]):
        draw_picture(seed).save(folder / name, "PNG")
    (folder / "really.png").write_bytes(encode(draw_picture(20), "JPEG"))
    (folder / "wide.png").write_bytes(encode(Image.new("RGB", (100_000, 1), (9, 8, 7)), "PNG"))
    whole = encode(draw_picture(21, (320, 240)), "JPEG", quality=95)
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    (folder / "page.jpg").write_text("<html>no picture</html>")
    (folder / "bomb.png").write_bytes(encode(Image.new("1", (16384, 8193)), "PNG"))
    (folder / "dangling.gif").symlink_to("nowhere.gif")
    os.mkfifo(folder / "fifo.jpg")
    (folder / "sub" / "loop").symlink_to("..")
    (folder / "device.jpg").symlink_to("/dev/zero")
    return folder


REASONS = {
    "cut.jpg": "truncated",
    "empty.jpg": "is empty",
    "page.jpg": "is no picture in a supported format",
    "bomb.png": "declares 16384 x 8193 pixels, more than the limit",
    "dangling.gif": "is a link to nothing",
    "fifo.jpg": "is a FIFO",
    "device.jpg": "is a character device",
}


def test_a_folder_of_trouble_is_indexed_and_each_refusal_has_its_reason(trouble, tmp_path, tiny_backbone):
    report = sync(tmp_path / "index", [trouble], tiny_backbone)
    assert report.images == report.added == 12
    skipped = {Path(path).name: reason for path, reason in report.skipped}
    assert set(skipped) == set(REASONS)
    for name, reason in REASONS.items():
        assert reason in skipped[name]
    with Collection(tmp_path / "index") as collection:
        paths = collection.paths(collection.ids)
        assert all(Path(path).is_file() for path in paths)
        assert str(trouble / os.fsdecode(b"caf\xe9\xff.png")) in paths
        assert np.isfinite(collection.tokens(collection.ids)).all()
    assert verify(tmp_path / "index", files=True).sound
    again = sync(tmp_path / "index", [trouble], tiny_backbone)
    assert (again.embedded, again.removed, dict(again.skipped)) == (0, 0, dict(report.skipped))


def test_files_that_vanish_or_change_before_they_are_read(tmp_path, photos, tiny_backbone, draw_picture):
    class Disturbing(tiny_backbone):
        """While it prepares the first picture, others change under it."""

        def prepare(self, image):
            if (photos / "5.png").exists():
                (photos / "5.png").unlink()
                (photos / "4.png").write_bytes(b"no picture any more")
                draw_picture(50).save(photos / "3.png")
            return super().prepare(image)

    report = sync(tmp_path / "index", [photos], Disturbing, options=SyncOptions(workers=1))
    assert {Path(path).name: reason for path, reason in report.skipped} == {
        "4.png": "is no picture in a supported format (JPEG, PNG, WEBP, BMP, TIFF, GIF, AVIF, HEIF)",
        "5.png": "no such file or directory",
    }
    with Collection(tmp_path / "index") as collection:
        stored = dict(
            zip(map(os.path.basename, collection.paths(collection.ids)), collection.hashes(collection.ids), strict=True)
        )
    assert stored == {name: hash_file(photos / name) for name in ("0.png", "1.png", "2.png", "3.png")}


def test_a_picture_of_nothing_but_trouble_makes_no_index(tmp_path, tiny_backbone):
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"no")
    os.mkfifo(folder / "b.jpg")
    with pytest.raises(ImageSearchError, match=r"a\.jpg"):
        sync(tmp_path / "index", [folder], tiny_backbone)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("name", ["lock", "segments", "catalog.sha256"])
def test_a_writer_does_not_follow_links_out_of_the_index(
    name, tiny_index, tiny_backbone, photos, draw_picture, tmp_path
):
    target = tmp_path / "precious"
    if name == "segments":
        (tiny_index / name).rename(target)
    else:
        (tiny_index / name).unlink()
        target.write_bytes(b"precious")
    (tiny_index / name).symlink_to(target)
    before = sorted(target.iterdir()) if target.is_dir() else target.read_bytes()
    draw_picture(99).save(photos / "new.png")
    with pytest.raises(SemretError, match=r"is a link|cannot lock"):
        sync(tiny_index, [photos], tiny_backbone)
    assert (sorted(target.iterdir()) if target.is_dir() else target.read_bytes()) == before


@pytest.mark.parametrize("name", ["segments/000002.h5.tmp", "shortlist.faiss.tmp", "catalog.sha256.tmp"])
def test_a_link_in_place_of_a_temporary_file_leads_nowhere(
    name, tiny_index, tiny_backbone, photos, draw_picture, tmp_path
):
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    (tiny_index / name).symlink_to(target)
    draw_picture(99).save(photos / "new.png")
    assert sync(tiny_index, [photos], tiny_backbone).added == 1
    assert target.read_bytes() == b"precious"
    assert not (tiny_index / name).is_symlink()
