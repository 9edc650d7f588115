"""Pictures to be indexed, and their files as bytes."""

from __future__ import annotations

import io
import os

import numpy as np
import pillow_heif
from PIL import Image

LONG_AGO = 1_600_000_000


def draw(seed: int, size: tuple[int, int] = (32, 24)) -> Image.Image:
    """Return a picture of random blocks; another seed gives another picture."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)


def draw_into(folder, seeds):
    """Draw pictures into a folder, which is made."""
    folder.mkdir(exist_ok=True, parents=True)
    for seed in seeds:
        draw(seed).save(folder / f"{seed}.png")


def age(folder):
    """Have all files below a folder been there for long: their time stamps count, as those of new files do not."""
    for file in folder.rglob("*"):
        if file.is_file():
            os.utime(file, (LONG_AGO, LONG_AGO))


def encode(image: Image.Image, fmt: str, **options: object) -> bytes:
    """Return the file of a picture in one of Pillow's formats, or HEIF; options are those of the encoder."""
    stream = io.BytesIO()
    if fmt == "HEIF":
        pillow_heif.from_pillow(image).save(stream, **options)
    else:
        image.save(stream, fmt, **options)
    return stream.getvalue()
