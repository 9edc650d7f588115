"""Cityscapes: street pictures with the class of every pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from semret.errors import ArgumentError, DatasetError, cut_text
from semret.eval.data.cityscapes_classes import CITYSCAPES_LABELS, EVALUATED, VOID
from semret.eval.data.dataset import Dataset, Split, describe_left_out
from semret.eval.data.records import read_document, records_of
from semret.eval.report.paper import CITYSCAPES_SIZES

SUFFIX = "_leftImg8bit.png"


def load_cityscapes(root: Path, *, classes: str = "evaluated") -> tuple[Dataset, Split]:
    """Read the official tree; pictures of split val are the queries, those of train the database.

    Parameters
    ----------
    root : Path
        Holds ``leftImg8bit/{train,val}/CITY/`` and ``gtFine/{train,val}/CITY/``, the latter with label ids as PNG or
        polygons as JSON; where there are both, the label ids count.
    classes : {"evaluated", "all"}
        The 19 classes of the official evaluation, or all that describe content.

    Returns
    -------
    dataset : Dataset
        Pictures of both splits; every picture is a video of its own.
    split : Split

    Raises
    ------
    DatasetError
        If a split is missing or empty, or an annotation is malformed.
    ArgumentError
        If `classes` is neither.
    """
    if classes not in ("evaluated", "all"):
        raise ArgumentError(f"classes is {classes!r}, expected evaluated or all")
    names = EVALUATED if classes == "evaluated" else tuple(n for n in CITYSCAPES_LABELS if n not in VOID)
    paths: list[Path] = []
    rows: list[NDArray[np.int64]] = []
    sizes: dict[str, int] = {}
    unlabelled = 0
    for split in ("val", "train"):
        pictures = _pictures(root, split)
        before = len(paths)
        for picture in pictures:
            present = _present(root, split, picture)
            if present is None:
                unlabelled += 1
                continue
            paths.append(picture)
            rows.append(np.array([int(name in present) for name in names], dtype=np.int64))
        sizes[split] = len(paths) - before
        if sizes[split] == 0:
            raise DatasetError(
                f"{root / 'gtFine' / split} has no annotation of any picture; expected *_gtFine_labelIds.png or "
                "*_gtFine_polygons.json"
            )
    videos = np.array([str(index) for index in range(len(paths))], dtype=np.str_)
    dataset = Dataset(
        name="cityscapes",
        paths=tuple(paths),
        classes=names,
        counts=np.stack(rows),
        videos=videos,
        scenes=videos,
        measure="iou",
        left_out=describe_left_out({"images without annotations": unlabelled}),
        is_papers=(sizes["val"], sizes["train"]) == CITYSCAPES_SIZES and classes == "evaluated",
    )
    database = np.arange(sizes["val"], len(paths))
    return dataset, Split(queries=np.arange(sizes["val"]), databases={len(database): database})


def _pictures(root: Path, split: str) -> list[Path]:
    folder = root / "leftImg8bit" / split
    found = sorted(folder.glob(f"*/*{SUFFIX}"))
    if not found:
        raise DatasetError(
            f"{folder} has no CITY/*{SUFFIX}; --root must be the folder that holds leftImg8bit/ and gtFine/"
        )
    return found


def _present(root: Path, split: str, picture: Path) -> set[str] | None:
    """Return the names of the labels in a picture, None where it has no annotation."""
    stem = root / "gtFine" / split / picture.parent.name / picture.name.removesuffix(SUFFIX)
    label_ids, polygons = Path(f"{stem}_gtFine_labelIds.png"), Path(f"{stem}_gtFine_polygons.json")
    if label_ids.is_file():
        return read_label_ids(label_ids)
    if polygons.is_file():
        return read_polygons(polygons)
    return None


def read_label_ids(path: Path) -> set[str]:
    """Read which labels a picture of label ids holds.

    Parameters
    ----------
    path : Path
        A PNG of one channel.

    Returns
    -------
    set of str
        Names of labels; ids that Cityscapes does not have are left out.

    Raises
    ------
    DatasetError
        If it cannot be read or has more than one channel.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.mode not in ("L", "P", "I", "I;16"):
                raise DatasetError(f"{path} has mode {image.mode}, expected one channel of label ids")
            ids = np.unique(np.asarray(image))
    except (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(f"cannot read {path}: {cut_text(error)}; fetch it again") from error
    names = {number: name for name, number in CITYSCAPES_LABELS.items()}
    return {names[int(number)] for number in ids if int(number) in names}


def read_polygons(path: Path) -> set[str]:
    """Read which labels a polygon file lists.

    Parameters
    ----------
    path : Path

    Returns
    -------
    set of str
        Names of labels; one that ends in "group" means its singular, unknown ones are left out.

    Raises
    ------
    DatasetError
        If the file or one of its objects is malformed.
    """
    document = read_document(path, "fetch it again")
    labels = {r.text("label") for r in records_of(document, "objects", path) if not r.values.get("deleted")}
    return {label if label in CITYSCAPES_LABELS else label.removesuffix("group") for label in labels} & set(
        CITYSCAPES_LABELS
    )
