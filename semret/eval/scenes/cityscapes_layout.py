"""Rendered data sets in the layout of Cityscapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from semret.errors import ArgumentError
from semret.eval.data.cityscapes_classes import CITYSCAPES_LABELS
from semret.eval.scenes.streets import Look, Region, draw_content, draw_look, render_street
from semret.eval.scenes.writing import fresh_folder, make_folder, require_counts, save_picture, write_json
from semret.progress import Progress

CITIES = ("aarhus", "bergen", "cadiz", "delft", "erfurt", "faro", "ghent", "halle")


def make_cityscapes(
    directory: Path,
    *,
    seed: int = 0,
    train: int = 240,
    val: int = 60,
    contents: int = 40,
    size: tuple[int, int] = (192, 384),
    progress: Progress | None = None,
) -> int:
    """Write a rendered data set in the layout of Cityscapes.

    Streets show one of `contents` different sets of classes. Cities differ in weather and light, and no city is in
    both splits. Every set of classes of the val split is in the train split too, so the best answer has IoU 1.

    Parameters
    ----------
    directory : Path
        Receives `leftImg8bit/{train,val}/CITY/` and `gtFine/{train,val}/CITY/` with label ids and polygons. Must be
        empty or not exist.
    seed
        See `make_egoobjects`.
    train, val : int
        Pictures of each split; `train` at least `contents`.
    contents : int
        Different sets of classes.
    size, progress
        See `make_egoobjects`.

    Returns
    -------
    int
        The number of pictures.

    Raises
    ------
    ArgumentError, StorageError
        See `make_egoobjects`.
    """
    require_counts(train=train, val=val, contents=contents)
    if train < contents:
        raise ArgumentError(f"train is {train}, expected at least contents = {contents}")
    fresh_folder(directory)
    rng = np.random.default_rng([seed, 2])
    sets = _distinct_contents(rng, contents)
    looks = [draw_look(rng) for _ in CITIES]
    done = 0
    for split, count, cities in (("train", train, range(6)), ("val", val, range(6, 8))):
        for number in range(count):
            city = cities[number % len(cities)]
            content = sets[number % contents] if split == "train" else sets[int(rng.integers(contents))]
            picture, regions, labels = _visible_street(content, looks[city], rng, size)
            stem = f"{CITIES[city]}_{number // len(cities):06d}_000019"
            _save_street(directory, split, CITIES[city], stem, picture, regions, labels)
            done += 1
            if progress is not None:
                progress(done, train + val)
    return done


def _distinct_contents(rng: np.random.Generator, count: int) -> list[frozenset[str]]:
    contents: dict[frozenset[str], None] = {}
    while len(contents) < count:
        contents.setdefault(draw_content(rng))
    return list(contents)


def _visible_street(
    content: frozenset[str], look: Look, rng: np.random.Generator, size: tuple[int, int]
) -> tuple[Image.Image, list[Region], Image.Image]:
    """Render streets until one shows every class of its content."""
    wanted = {CITYSCAPES_LABELS[label] for label in content}
    while True:
        picture, regions = render_street(content, look, seed=int(rng.integers(2**31)), size=size)
        labels = draw_labels(regions, size)
        counts = np.bincount(np.asarray(labels).ravel(), minlength=34)
        if {int(label) for label in np.flatnonzero(counts)} == wanted and counts[sorted(wanted)].min() >= 20:
            return picture, regions, labels


def draw_labels(regions: list[Region], size: tuple[int, int]) -> Image.Image:
    """Paint the label id of each pixel.

    Parameters
    ----------
    regions : list of Region
        Later ones cover earlier ones.
    size : (int, int)
        Height and width.

    Returns
    -------
    PIL.Image.Image
        Of 8 bits.
    """
    labels = Image.new("L", (size[1], size[0]), 0)
    draw = ImageDraw.Draw(labels)
    for region in regions:
        draw.polygon(list(region.polygon), fill=CITYSCAPES_LABELS[region.label])
    return labels


def _save_street(
    directory: Path, split: str, city: str, stem: str, picture: Image.Image, regions: list[Region], labels: Image.Image
) -> None:
    images, truth = directory / "leftImg8bit" / split / city, directory / "gtFine" / split / city
    make_folder(images)
    make_folder(truth)
    save_picture(picture, images / f"{stem}_leftImg8bit.png")
    save_picture(labels, truth / f"{stem}_gtFine_labelIds.png")
    objects = [{"label": region.label, "polygon": [list(point) for point in region.polygon]} for region in regions]
    document = {"imgHeight": picture.height, "imgWidth": picture.width, "objects": objects}
    write_json(truth / f"{stem}_gtFine_polygons.json", document)
