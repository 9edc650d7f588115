"""Folders, pictures and documents of rendered data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from semret.errors import ArgumentError, StorageError


def require_counts(**counts: int) -> None:
    """Refuse numbers below 1.

    Parameters
    ----------
    **counts : int
        By the names of the parameters that they were given as.

    Raises
    ------
    ArgumentError
        If one is below 1.
    """
    for name, count in counts.items():
        if count < 1:
            raise ArgumentError(f"{name} is {count}, expected at least 1")


def fresh_folder(directory: Path) -> Path:
    """Make a folder, or take an empty one.

    Parameters
    ----------
    directory : Path

    Returns
    -------
    Path
        The same.

    Raises
    ------
    ArgumentError
        If the folder holds something already.
    StorageError
        If it cannot be made.
    """
    make_folder(directory)
    if any(directory.iterdir()):
        raise ArgumentError(f"{directory} is not empty; choose a new folder, or delete it first")
    return directory


def make_folder(directory: Path) -> None:
    """Make a folder and those above it.

    Parameters
    ----------
    directory : Path

    Raises
    ------
    StorageError
        If it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot create {directory}: {error.strerror}") from error


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture, as JPEG or PNG by the ending of its name.

    Parameters
    ----------
    picture : PIL.Image.Image
    path : Path

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    try:
        picture.save(path, quality=90, compress_level=3)  # of JPEG, of PNG
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document.

    Parameters
    ----------
    path : Path
    value : any
        A JSON value.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    try:
        path.write_text(json.dumps(value), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
