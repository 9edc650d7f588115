"""The content of a picture of an index, wherever it lies."""

from __future__ import annotations

import os

from semret.index.pictures.files import FileContent, read_file
from semret.index.pictures.find import FoundImage
from semret.index.pictures.remote import read_remote
from semret.paths import is_address


def read_content(path: str | os.PathLike[str]) -> FileContent:
    """Read a file, or what lies at an address, once, and hash what was read.

    An address that an index names is fetched within the limits of `semret.index.pictures.trust`.

    Parameters
    ----------
    path : path
        As an index names it.

    Returns
    -------
    FileContent
        At least one byte; the time of something elsewhere is -1.

    Raises
    ------
    ImageDecodeError
        As `semret.index.pictures.files.read_file`.
    """
    if is_address(path):
        return read_remote(FoundImage(str(path), -1, -1, vouched=False))
    return read_file(path)
