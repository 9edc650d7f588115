"""The things in the pictures of an EgoObjects data set: where each is, and which it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from semret.errors import ArgumentError, DatasetError
from semret.eval.data.dataset import Dataset
from semret.eval.data.egoobjects import ANNOTATIONS
from semret.eval.data.records import read_document, records_of

SAMENESS = ("instance", "category")
"""What makes two things the same: one and the same object, or objects of one kind."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A thing in a picture.

    Attributes
    ----------
    picture : int
        Row of the data set.
    box : (float, float, float, float)
        Left, top, width and height in pixels of the upright picture.
    name : str
        Equal for the same thing in other pictures.
    """

    picture: int
    box: tuple[float, float, float, float]
    name: str


def load_things(root: Path, dataset: Dataset, *, same: str = "instance") -> tuple[list[Thing], dict[str, int]]:
    """Read the boxes of the pictures of a data set.

    Parameters
    ----------
    root : Path
        The folder that `dataset` was read from.
    dataset : Dataset
        See `semret.eval.data.egoobjects.load_egoobjects`.
    same : {"instance", "category"}
        What makes things the same: their `instance_id` or their `category_id`.

    Returns
    -------
    things : list of Thing
        In the order of the file.
    left_out : dict from reason to number
        Annotations of the data set's pictures that are no things.

    Raises
    ------
    DatasetError
        If the file is malformed, which names the record, or there is no thing.
    ArgumentError
        If `same` has another value.
    """
    if same not in SAMENESS:
        raise ArgumentError(f"same is {same!r}, expected {' or '.join(SAMENESS)}")
    path, key = root / ANNOTATIONS, f"{same}_id"
    document = read_document(path, f"--root must be the folder that holds {ANNOTATIONS}")
    rows = {str(file): row for row, file in enumerate(dataset.paths)}
    pictures = {
        record.integer("id"): row
        for record in records_of(document, "images", path)
        if (row := rows.get(str(root / "images" / record.text("url")))) is not None
    }
    things: list[Thing] = []
    left_out: Counter[str] = Counter()
    for record in records_of(document, "annotations", path):
        picture = pictures.get(record.integer("image_id"))
        if picture is None:
            continue
        if record.values.get("bbox") is None or record.values.get(key) is None:
            left_out[f"annotations without bbox or {key}"] += 1
            continue
        things.append(Thing(picture=picture, box=record.box("bbox"), name=record.text(key)))
    if not things:
        raise DatasetError(f"{path} has no annotation with bbox and {key}; choose another --same, or another data set")
    return things, dict(left_out)
