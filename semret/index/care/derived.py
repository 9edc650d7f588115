"""Whether the files that are derived from the catalog and the segments are what these give."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from semret.errors import IndexCorruptError, StorageError
from semret.foreign import UnfitFileError
from semret.index.care.soundness import Defect, finding
from semret.index.collection import Collection
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_table import CatalogTable
from semret.index.store.directory_file import DIRECTORY_NAME, directory_columns, open_directory, state_of
from semret.index.store.members import REPAIR
from semret.index.store.paged_file import PagedFile

_MEANS = ("pooled_mean", "channel_mean")
_ELSEWHERE = ("tail", *_MEANS)
_TOLERANCE = 1e-9


def check_directory(index: Path) -> list[Defect]:
    """Check the directory: intact of whatever state, and for the present state what the catalog gives.

    Parameters
    ----------
    index : Path
        Index directory, whose catalog and segments are sound.

    Returns
    -------
    list of Defect
        One at most.

    Raises
    ------
    StorageError
        If it may not be read.
    """
    path = index / DIRECTORY_NAME
    if not os.path.lexists(path):
        return []
    with Collection(index) as collection, Catalog(index) as catalog, catalog.reading():
        identity = collection.manifest.identity
        try:
            file = open_directory(path, catalog.size, max(identity.pooled_dim, identity.channels))
            file.require_sound()
        except UnfitFileError as error:
            return [Defect("directory", str(path), f"it {error.strerror}", REPAIR)]
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}; give access") from error
        except IndexCorruptError as error:
            return [Defect("directory", str(path), finding(error).removeprefix(f"{path} is damaged: "), REPAIR)]
        if state_of(file) != catalog.state or catalog.state != collection.state:
            return []
        wrong = [*_differences(file, CatalogTable(catalog)), *_wrong_means(file, collection)]
    what = f"its {', '.join(wrong)} are not those of the catalog and the segments"
    return [Defect("directory", str(path), what, REPAIR)] if wrong else []


def _differences(file: PagedFile, table: CatalogTable) -> Iterator[str]:
    """Give the names of the arrays that are not what the catalog gives."""
    for name in directory_columns(file.counts):
        if name not in _ELSEWHERE and not np.array_equal(file.whole(name), table.whole(name)):
            yield name


def _wrong_means(file: PagedFile, collection: Collection) -> Iterator[str]:
    """Give the names of the means that are not those of the images, but for the order of summation."""
    if collection.manifest.codec != "none":
        return
    fresh = collection.plain_features()
    for name, mean in zip(_MEANS, (fresh.pooled_mean, fresh.channel_mean), strict=True):
        found = file.whole(name)
        scale = float(np.abs(mean).max(initial=0.0))
        if found.shape != mean.shape or not (np.abs(found - mean) <= _TOLERANCE * scale).all():
            yield name
