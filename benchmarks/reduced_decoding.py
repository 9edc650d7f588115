"""What decoding large pictures at reduced size saves, and what it changes: the table of docs/images.md.

    OMP_NUM_THREADS=1 python benchmarks/reduced_decoding.py [--document docs/images.md]

Four rendered pictures of 3840 x 2880 in JPEG, prepared for 512 x 512 and embedded with the default network; for scale,
the same pictures saved again at JPEG quality 85. Times are medians of decoding and resizing, the ways taking turns.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from documents import as_sentence, conditions, put_between_markers
from PIL import Image

from semret.eval.scenes.collection import render_collection
from semret.index.backbones.registry import create_backbone
from semret.index.pictures import decode
from semret.index.pictures.decode import decode_image

SIDE, ROUNDS = 512, 5


def reduced(path: Path, oversampling: float) -> Image.Image:
    """Decode a picture that keeps at least so many pixels for each one asked for, along both sides."""
    kept, decode.OVERSAMPLING = decode.OVERSAMPLING, oversampling
    try:
        return decode_image(path, reduce_to=(SIDE, SIDE))
    finally:
        decode.OVERSAMPLING = kept


def saved_again(path: Path) -> Image.Image:
    """Return the whole picture, saved once more at quality 85."""
    stream = io.BytesIO()
    decode_image(path).save(stream, "JPEG", quality=85)
    return Image.open(stream).convert("RGB")


WAYS: dict[str, Callable[[Path], Image.Image]] = {
    "whole picture": decode_image,
    "at least twice the input (used)": lambda path: reduced(path, 2),
    "at least the input": lambda path: reduced(path, 1),
    "for scale: saved again at JPEG quality 85": saved_again,
}


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosine of each row of one array with the same row of another."""
    return (one * other).sum(axis=-1) / (np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1))


def measure(paths: list[Path]) -> list[str]:
    """Return the rows of the table."""
    backbone = create_backbone(size=(SIDE, SIDE))
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for path in paths:
            for way, decoded in WAYS.items():
                start = time.perf_counter()
                backbone.prepare(decoded(path))
                seconds[way].append(time.perf_counter() - start)
    found = {}
    for way, decoded in WAYS.items():
        batch = np.stack([backbone.prepare(decoded(path)) for path in paths])
        found[way] = backbone.embed(batch)
    whole, rows = found["whole picture"], []
    for way, features in found.items():
        tokens, pooled = cosines(features.tokens, whole.tokens), cosines(features.pooled, whole.pooled)
        milliseconds = "" if "scale" in way else f"{1000 * statistics.median(seconds[way]):.0f} ms"
        rows.append(f"| {way} | {milliseconds} | {tokens.mean():.4f} | {tokens.min():.3f} | {pooled.min():.4f} |")
    return rows


def main() -> None:
    """Measure, print, and write the table into a document if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--document", type=Path, help="put the table into this file, between its markers")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        paths = render_collection(Path(place, "pictures"), 4, seed=0, size=(2880, 3840))
        rows = measure(sorted(paths))
    head = (
        "| | decode and resize | cosine of tokens, mean | worst | of pooled embeddings, worst |\n|---|---|---|---|---|"
    )
    found = as_sentence(conditions("pillow", "numpy"))
    table = "\n".join([head, *rows, "", f"<sub>`python benchmarks/reduced_decoding.py`: {found}.</sub>"])
    print(table)
    if given.document:
        put_between_markers(given.document, "reduced_decoding.py", table)


if __name__ == "__main__":
    main()
