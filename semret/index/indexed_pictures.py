"""Refuses to write an output over a file of an index, or over a picture that is in one."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from semret.errors import ArgumentError, ImageDecodeError
from semret.index.pictures.files import hash_file
from semret.outputs import require_distinct

if TYPE_CHECKING:
    from semret.index.collection import Collection


def require_no_source(output: str | os.PathLike[str], collection: Collection) -> None:
    """Raise ArgumentError if writing `output` would replace a file of the index, or a picture that is in it.

    A picture is known by its content, so also under another name, as a link or a copy.

    Parameters
    ----------
    output : path
        The file that is going to be written; it need not exist.
    collection : Collection
        The index that is open.

    Raises
    ------
    ArgumentError
        The message names the file.
    """
    require_distinct(output, [collection.path])
    path = Path(output)
    if not path.is_file() or tarfile.is_tarfile(path):
        return
    try:
        known = collection.find_hash(hash_file(path))
    except (ImageDecodeError, OSError):
        known = None
    if known is not None or collection.find_path(path) is not None:
        raise ArgumentError(f"cannot write {output}: it is a picture of the index; name another file")
