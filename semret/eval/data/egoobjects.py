"""EgoObjects: frames of videos of arranged objects, with an instance box for each object."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from semret.errors import ArgumentError, DatasetError
from semret.eval.data.dataset import Dataset, describe_left_out
from semret.eval.data.records import Record, read_document, records_of
from semret.eval.report.paper import EGOOBJECTS_TEST

ANNOTATIONS = "EgoObjectsV1_unified_eval.json"
METADATA = "EgoObjectsV1_unified_metadata.json"

_HINT = f"--root must be the folder that holds {ANNOTATIONS}, {METADATA} and images/"

VIDEO_KEYS = ("auto", "group", "main", "video")
"""How to name the video of a frame; see `load_egoobjects`."""


def load_egoobjects(
    root: Path, *, aspect: str = "16:9", subset: str | None = "test", video_key: str = "auto"
) -> Dataset:
    """Read the official files of EgoObjects.

    Parameters
    ----------
    root : Path
        Holds ``EgoObjectsV1_unified_eval.json``, ``EgoObjectsV1_unified_metadata.json`` and ``images/``.
    aspect : str
        ``W:H`` keeps frames within 1 % of this ratio of width to height, ``any`` keeps all.
    subset : str or None
        Keep only frames of this subset; None keeps all. Frames that name no subset are kept.
    video_key : {"auto", "group", "main", "video"} or a comma-separated list of fields
        ``video_id`` names a recording condition that recurs for every main object; a video is a pair. ``group``:
        (`group_id`, `video_id`); ``main``: (`main_category_instance_ids`, `video_id`); ``auto``: ``group`` where the
        frame has one, otherwise ``main``; ``video``: `video_id` alone.

    Returns
    -------
    Dataset
        Frames in the order of their ids; classes are those of the metadata. Annotations without `category_id`, frames
        without any annotation left, and frames whose file is missing are left out and counted.

    Raises
    ------
    DatasetError
        If a file is missing or malformed, which names the record, or nothing is left.
    ArgumentError
        If `aspect` is malformed.
    """
    keep_aspect = _parse_aspect(aspect)
    document, metadata = read_document(root / ANNOTATIONS, _HINT), read_document(root / METADATA, _HINT)
    left_out: Counter[str] = Counter()
    categories = {r.integer("id"): r.text("name") for r in records_of(metadata, "categories", root / METADATA)}
    counts = _count_objects(records_of(document, "annotations", root / ANNOTATIONS), categories, left_out)
    frames = sorted(_frames(records_of(document, "images", root / ANNOTATIONS)).items())
    tested = sum(frame.values.get("subset", "test") == "test" for _, frame in frames)
    kept = [
        (number, frame)
        for number, frame in frames
        if _is_usable(number, frame, root / "images", counts, subset, keep_aspect, left_out)
    ]
    videos = [_video(frame, video_key) for _, frame in kept]
    scenes = [str(frame.values.get("group_id") or _main(frame)) for _, frame in kept]
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in describe_left_out(left_out).items())
        hint = (
            "--subset any" if max(left_out, key=left_out.__getitem__, default="").endswith("subset") else "--aspect any"
        )
        raise DatasetError(f"{root} has no usable frame ({reasons or 'it lists none'}); try {hint}")
    columns = {category: column for column, category in enumerate(sorted(categories))}
    table = np.zeros((len(kept), len(columns)), dtype=np.int64)
    for row, (number, _) in enumerate(kept):
        for category, objects in counts[number].items():
            table[row, columns[category]] = objects
    return Dataset(
        name="egoobjects",
        paths=tuple(root / "images" / frame.text("url") for _, frame in kept),
        classes=tuple(categories[category] for category in sorted(categories)),
        counts=table,
        videos=np.array(videos, dtype=np.str_),
        scenes=np.array(scenes, dtype=np.str_),
        measure="f1",
        left_out=describe_left_out(left_out),
        is_papers=EGOOBJECTS_TEST[0] <= tested <= EGOOBJECTS_TEST[1] and (aspect, subset) == ("16:9", "test"),
    )


def _frames(records: Iterator[Record]) -> dict[int, Record]:
    """Return the records of the frames by id; no two share one."""
    frames: dict[int, Record] = {}
    for record in records:
        number = record.integer("id")
        if number in frames:
            raise record.fault(f"has the id of images[{frames[number].place}]")
        frames[number] = record
    return frames


def _parse_aspect(aspect: str) -> float | None:
    if aspect == "any":
        return None
    try:
        width, height = (float(part) for part in aspect.split(":"))
        ratio = width / height
    except (ValueError, ZeroDivisionError):
        ratio = 0.0
    if not 0 < ratio < float("inf"):
        raise ArgumentError(f"aspect is {aspect!r}, expected W:H such as 16:9, or any")
    return ratio


def _count_objects(
    annotations: Iterator[Record], categories: dict[int, str], left_out: Counter[str]
) -> dict[int, Counter[int]]:
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for annotation in annotations:
        image = annotation.integer("image_id")
        if annotation.values.get("category_id") is None:
            left_out["annotations without category"] += 1
        elif (category := annotation.integer("category_id")) not in categories:
            left_out["annotations of a category that the metadata lacks"] += 1
        else:
            counts[image][category] += 1
    return counts


def _is_usable(
    number: int,
    frame: Record,
    images: Path,
    counts: dict[int, Counter[int]],
    subset: str | None,
    aspect: float | None,
    left_out: Counter[str],
) -> bool:
    """Tell whether a frame is kept; count why not."""
    ratio = frame.length("width") / frame.length("height")
    if subset is not None and frame.values.get("subset", subset) != subset:
        left_out["images of another subset"] += 1
    elif aspect is not None and abs(ratio / aspect - 1) > 0.01:
        left_out["images of another aspect"] += 1
    elif not counts.get(number):
        left_out["images without annotations"] += 1
    elif not _is_inside(images, frame.text("url")):
        left_out["images without file"] += 1
    else:
        return True
    return False


def _is_inside(images: Path, name: str) -> bool:
    """Tell whether a file of this name exists within the folder, not above it."""
    return ".." not in Path(name).parts and not Path(name).is_absolute() and (images / name).is_file()


def _main(frame: Record) -> str:
    instances = frame.values.get("main_category_instance_ids") or []
    if not isinstance(instances, list):
        raise frame.fault("has main_category_instance_ids that are no list")
    return "+".join(sorted(str(instance) for instance in instances)) or str(frame.values.get("main_category", ""))


def _video(frame: Record, key: str) -> str:
    if key not in VIDEO_KEYS:
        fields = [name.strip() for name in key.split(",")]
        for name in fields:
            if name not in frame.values:
                raise ArgumentError(
                    f"video key {key!r}: images[{frame.place}] has no field {name!r}, expected {', '.join(VIDEO_KEYS)} "
                    f"or fields of a frame, such as {', '.join(sorted(frame.values)[:6])}"
                )
        return "/".join(str(frame.values[name]) for name in fields)
    video, group = frame.text("video_id"), frame.values.get("group_id")
    if key == "video":
        return video
    if key == "main" or (key == "auto" and not group):
        return f"main/{_main(frame)}/{video}"
    return f"group/{group}/{video}"
