"""EgoObjects: frames of videos of arranged objects, with an instance box for each object."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from semret.errors import ArgumentError, DatasetError
from semret.eval.dataset import Dataset, describe_left_out

ANNOTATIONS = "EgoObjectsV1_unified_eval.json"
METADATA = "EgoObjectsV1_unified_metadata.json"

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
        If a file is missing or malformed, or nothing is left.
    ArgumentError
        If `aspect` is malformed.
    """
    keep_aspect = _parse_aspect(aspect)
    document, metadata = _read(root / ANNOTATIONS), _read(root / METADATA)
    left_out: Counter[str] = Counter()
    try:
        categories = {int(entry["id"]): str(entry["name"]) for entry in metadata["categories"]}
        counts = _count_objects(document["annotations"], categories, left_out)
        frames = sorted(document["images"], key=lambda frame: int(frame["id"]))
        kept = [frame for frame in frames if _is_usable(frame, root / "images", counts, subset, keep_aspect, left_out)]
        videos = [_video(frame, video_key) for frame in kept]
        scenes = [str(frame.get("group_id") or _main(frame)) for frame in kept]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{root / ANNOTATIONS} does not have the structure of EgoObjects ({type(error).__name__}: {error}); "
            "expected images with id, url, width, height, video_id and annotations with image_id"
        ) from error
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in describe_left_out(left_out).items())
        raise DatasetError(f"{root} has no usable frame ({reasons or 'it lists none'}); try --aspect any")
    columns = {category: column for column, category in enumerate(sorted(categories))}
    table = np.zeros((len(kept), len(columns)), dtype=np.int64)
    for row, frame in enumerate(kept):
        for category, number in counts[int(frame["id"])].items():
            table[row, columns[category]] = number
    return Dataset(
        name="egoobjects",
        paths=tuple(root / "images" / str(frame["url"]) for frame in kept),
        classes=tuple(categories[category] for category in sorted(categories)),
        counts=table,
        videos=np.array(videos, dtype=np.str_),
        scenes=np.array(scenes, dtype=np.str_),
        measure="f1",
        left_out=describe_left_out(left_out),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(
            f"cannot read {path}: {error.strerror}; --root must be the folder that holds {ANNOTATIONS}, {METADATA} "
            "and images/"
        ) from error
    except ValueError as error:
        raise DatasetError(f"{path} is no JSON document: {error}; fetch it again") from error
    if not isinstance(document, dict):
        raise DatasetError(f"{path} holds a {type(document).__name__}, expected a JSON object")
    return document


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
    annotations: list[dict[str, Any]], categories: dict[int, str], left_out: Counter[str]
) -> dict[int, Counter[int]]:
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for annotation in annotations:
        category = annotation.get("category_id")
        if category is None:
            left_out["annotations without category"] += 1
        elif int(category) not in categories:
            left_out["annotations of a category that the metadata lacks"] += 1
        else:
            counts[int(annotation["image_id"])][int(category)] += 1
    return counts


def _is_usable(
    frame: dict[str, Any],
    images: Path,
    counts: dict[int, Counter[int]],
    subset: str | None,
    aspect: float | None,
    left_out: Counter[str],
) -> bool:
    """Tell whether a frame is kept; count why not."""
    ratio = float(frame["width"]) / float(frame["height"]) if frame["height"] else 0.0
    if subset is not None and frame.get("subset", subset) != subset:
        left_out["images of another subset"] += 1
    elif aspect is not None and abs(ratio / aspect - 1) > 0.01:
        left_out["images of another aspect"] += 1
    elif not counts.get(int(frame["id"])):
        left_out["images without annotations"] += 1
    elif not _is_inside(images, str(frame["url"])):
        left_out["images without file"] += 1
    else:
        return True
    return False


def _is_inside(images: Path, name: str) -> bool:
    """Tell whether a file of this name exists within the folder, not above it."""
    return ".." not in Path(name).parts and not Path(name).is_absolute() and (images / name).is_file()


def _main(frame: dict[str, Any]) -> str:
    instances = frame.get("main_category_instance_ids") or []
    return "+".join(sorted(str(instance) for instance in instances)) or str(frame.get("main_category", ""))


def _video(frame: dict[str, Any], key: str) -> str:
    video = str(frame["video_id"])
    if key == "video":
        return video
    if key == "main" or (key == "auto" and not frame.get("group_id")):
        return f"main/{_main(frame)}/{video}"
    if key in ("auto", "group"):
        return f"group/{frame.get('group_id')}/{video}"
    return "/".join(str(frame[name.strip()]) for name in key.split(","))
