"""Rendered data sets in the layout of EgoObjects."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from semret.errors import ArgumentError
from semret.eval.scenes.rooms import Placed, Thing, distinct_things, draw_condition, render_room
from semret.eval.scenes.things import CATEGORIES
from semret.eval.scenes.writing import fresh_folder, make_folder, require_counts, save_picture, write_json
from semret.progress import Progress


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
    require_counts(scenes=scenes, videos=videos, frames=frames)
    if videos > 10:
        raise ArgumentError(f"videos is {videos}, expected at most 10: EgoObjects names ten conditions")
    images = fresh_folder(directory) / "images"
    make_folder(images)
    rng = np.random.default_rng([seed, 1])
    records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    contents = distinct_things(rng, scenes)
    total = scenes * videos * frames
    for scene, things in enumerate(contents):
        main = int(rng.integers(len(things)))
        for video in range(1, videos + 1):
            condition = draw_condition(rng, rooms=max(4, scenes // 3))
            for frame in range(1, frames + 1):
                number = len(records) + 1
                picture, placed = render_room(things, condition, seed=int(rng.integers(2**31)), size=size)
                name = f"{scene + 1:04d}_{video:02d}_{frame:03d}.jpg"
                save_picture(picture, images / name)
                records.append(_image_record(number, name, scene, video, frame, things, main, size))
                annotations += _annotations(number, len(annotations) + 1, things, placed)
                if progress is not None:
                    progress(number, total)
    _write_egoobjects_json(directory, records, annotations)
    return total


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
    write_json(directory / "EgoObjectsV1_unified_eval.json", whole)
    metadata = {"categories": categories, "cat_det_cats": categories, "inst_det_cats": []}
    write_json(directory / "EgoObjectsV1_unified_metadata.json", metadata)
