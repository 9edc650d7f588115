"""Pictures to be indexed, and their files as bytes."""

from __future__ import annotations

import io

import numpy as np
import pillow_heif
from PIL import Image


def draw(seed: int, size: tuple[int, int] = (32, 24)) -> Image.Image:
    """Return a picture of random blocks; another seed gives another picture."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)


def encode(image: Image.Image, fmt: str, **options: object) -> bytes:
    """Return the file of a picture in one of Pillow's formats, or HEIF; options are those of the encoder."""
    stream = io.BytesIO()
    if fmt == "HEIF":
        pillow_heif.from_pillow(image).save(stream, **options)
    else:
        image.save(stream, fmt, **options)
    return stream.getvalue()
