"""Rendered data sets in the layouts of EgoObjects and Cityscapes, and a plain folder of pictures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from semret.errors import ArgumentError, StorageError
from semret.eval.data.cityscapes_classes import CITYSCAPES_LABELS
from semret.eval.scenes.rooms import Placed, Thing, draw_condition, draw_things, render_room
from semret.eval.scenes.streets import Look, Region, draw_content, draw_look, render_street
from semret.eval.scenes.things import CATEGORIES
from semret.progress import Progress

CITIES = ("aarhus", "bergen", "cadiz", "delft", "erfurt", "faro", "ghent", "halle")


def make_egoobjects(
    directory: Path,
    *,
    seed: int = 0,
    scenes: int = 40,
    videos: int = 5,
    frames: int = 2,
    size: tuple[int, int] = (360, 640),
    progress: Progress | None = None,
) -> int:
    """Write a rendered data set in the layout of EgoObjects.

    Every scene (`group_id`) is a set of things that `videos` recordings show, each in its own room and light; every
    frame arranges the things anew. Rooms are shared by many scenes, so what surrounds the things misleads. Scenes
    share categories and looks of things, so other scenes are partly right; only frames of the same scene hold the
    same things, and an answer of F1 1 exists for every frame as long as another recording of its scene is there.

    Parameters
    ----------
    directory : Path
        Receives `images/`, `EgoObjectsV1_unified_eval.json` and `EgoObjectsV1_unified_metadata.json`. Must be empty or
        not exist.
    seed : int
        The same seed gives the same files.
    scenes, videos, frames : int
        Scenes, recordings of each (at most 10), frames of each recording.
    size : (int, int)
        Height and width of the pictures, 16:9 by default.
    progress : callable or None
        Called with pictures done and their total.

    Returns
    -------
    int
        The number of pictures.

    Raises
    ------
    ArgumentError
        If a number is out of range, or the directory holds something already.
    StorageError
        If it cannot be written.
    """
    _require_counts(scenes=scenes, videos=videos, frames=frames)
    if videos > 10:
        raise ArgumentError(f"videos is {videos}, expected at most 10: EgoObjects names ten conditions")
    images = _fresh(directory) / "images"
    _make_folder(images)
    rng = np.random.default_rng([seed, 1])
    records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    contents = _distinct_things(rng, scenes)
    total = scenes * videos * frames
    for scene, things in enumerate(contents):
        main = int(rng.integers(len(things)))
        for video in range(1, videos + 1):
            condition = draw_condition(rng, rooms=max(4, scenes // 3))
            for frame in range(1, frames + 1):
                number = len(records) + 1
                picture, placed = render_room(things, condition, seed=int(rng.integers(2**31)), size=size)
                name = f"{scene + 1:04d}_{video:02d}_{frame:03d}.jpg"
                _save(picture, images / name)
                records.append(_image_record(number, name, scene, video, frame, things, main, size))
                annotations += _annotations(number, len(annotations) + 1, things, placed)
                if progress is not None:
                    progress(number, total)
    _write_egoobjects_json(directory, records, annotations)
    return total


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
    _require_counts(train=train, val=val, contents=contents)
    if train < contents:
        raise ArgumentError(f"train is {train}, expected at least contents = {contents}")
    _fresh(directory)
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


def render_collection(directory: Path, n: int, seed: int = 0, *, size: tuple[int, int] = (480, 640)) -> list[Path]:
    """Write a folder of `n` pictures, four of each scene: the same things arranged and lit differently.

    Parameters
    ----------
    directory : Path
        Created if need be; files ``scene-SSS-V.jpg`` in it are replaced.
    n : int
        Number of pictures, at least 1.
    seed : int
        The same seed gives the same files.
    size : (int, int)
        Height and width.

    Returns
    -------
    list of Path
        In the order of their names.

    Raises
    ------
    ArgumentError, StorageError
        If `n` is out of range, or the directory cannot be written.
    """
    _require_counts(n=n)
    _make_folder(directory)
    rng = np.random.default_rng([seed, 3])
    contents = _distinct_things(rng, -(-n // 4))
    paths = []
    for number in range(n):
        scene, view = divmod(number, 4)
        condition = draw_condition(rng, rooms=max(4, len(contents) // 2))
        picture, _ = render_room(contents[scene], condition, seed=int(rng.integers(2**31)), size=size)
        paths.append(directory / f"scene-{scene + 1:03d}-{view + 1}.jpg")
        _save(picture, paths[-1])
    return paths


def _distinct_things(rng: np.random.Generator, count: int) -> list[list[Thing]]:
    """Draw the contents of scenes, no two with the same numbers of each category."""
    contents: dict[frozenset[tuple[str, int]], list[Thing]] = {}
    while len(contents) < count:
        things = draw_things(rng)
        contents.setdefault(frozenset(Counter(thing.category for thing in things).items()), things)
    return list(contents.values())


def _distinct_contents(rng: np.random.Generator, count: int) -> list[frozenset[str]]:
    contents: dict[frozenset[str], None] = {}
    while len(contents) < count:
        contents.setdefault(draw_content(rng))
    return list(contents)


def _image_record(
    number: int, name: str, scene: int, video: int, frame: int, things: list[Thing], main: int, size: tuple[int, int]
) -> dict[str, Any]:
    return {
        "id": number,
        "url": name,
        "width": size[1],
        "height": size[0],
        "group_id": f"{scene + 1:04d}",
        "video_id": f"{video:02d}",
        "frame_id": frame,
        "timestamp": [float(frame)],
        "main_category": things[main].category,
        "main_category_instance_ids": [_instance(things[main])],
        "subset": "test",
    }


def _annotations(image: int, first: int, things: list[Thing], placed: list[Placed]) -> list[dict[str, Any]]:
    return [
        {
            "id": first + offset,
            "image_id": image,
            "bbox": list(place.box),
            "area": place.box[2] * place.box[3],
            "category_id": CATEGORIES.index(things[place.thing].category) + 1,
            "category_freeform": things[place.thing].category,
            "instance_id": _instance(things[place.thing]),
        }
        for offset, place in enumerate(placed)
    ]


def _instance(thing: Thing) -> str:
    return f"{thing.category}-{thing.seed}"


def _write_egoobjects_json(directory: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> None:
    instances = Counter(entry["category_id"] for entry in annotations)
    pictures = Counter(category for _, category in {(a["image_id"], a["category_id"]) for a in annotations})
    categories = [
        {"id": number, "name": name, "instance_count": instances[number], "image_count": pictures[number]}
        for number, name in enumerate(CATEGORIES, start=1)
    ]
    info = {"description": "rendered scenes in the layout of EgoObjects"}
    whole = {"info": info, "categories": categories, "images": images, "annotations": annotations}
    _write_json(directory / "EgoObjectsV1_unified_eval.json", whole)
    metadata = {"categories": categories, "cat_det_cats": categories, "inst_det_cats": []}
    _write_json(directory / "EgoObjectsV1_unified_metadata.json", metadata)


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
    _make_folder(images)
    _make_folder(truth)
    _save(picture, images / f"{stem}_leftImg8bit.png")
    _save(labels, truth / f"{stem}_gtFine_labelIds.png")
    objects = [{"label": region.label, "polygon": [list(point) for point in region.polygon]} for region in regions]
    document = {"imgHeight": picture.height, "imgWidth": picture.width, "objects": objects}
    _write_json(truth / f"{stem}_gtFine_polygons.json", document)


def _require_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ArgumentError(f"{name} is {count}, expected at least 1")


def _fresh(directory: Path) -> Path:
    _make_folder(directory)
    if any(directory.iterdir()):
        raise ArgumentError(f"{directory} is not empty; choose a new folder, or delete it first")
    return directory


def _make_folder(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot create {directory}: {error.strerror}") from error


def _save(picture: Image.Image, path: Path) -> None:
    try:
        picture.save(path, quality=90, compress_level=3)  # of JPEG, of PNG
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def _write_json(path: Path, value: Any) -> None:
    try:
        path.write_text(json.dumps(value), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
