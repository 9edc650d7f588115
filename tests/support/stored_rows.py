"""What an index holds, row by row, to compare two that were made in different ways."""

from __future__ import annotations

import numpy as np

from semret.index.store.catalog import Catalog
from semret.index.store.layout import Rows
from semret.index.store.manifest import read_manifest
from semret.index.store.reading import SegmentReader

_FIELDS = [name for name in Rows.__dataclass_fields__ if name != "ids"]


def rows_by_path(index):
    """Return for each stored path the bytes of everything that is stored of its image, ids and places left out."""
    manifest = read_manifest(index)
    with Catalog(index) as catalog, catalog.reading():
        segments = catalog.segments()
        images = catalog.select("SELECT path, size, mtime_ns, sha256 FROM images ORDER BY path")
        places = {
            sha: (segment, row) for sha, segment, row in catalog.select("SELECT sha256, segment, row FROM contents")
        }
    readers = {number: SegmentReader(index, segment, manifest) for number, segment in segments.items()}
    found = {}
    for path, size, mtime_ns, sha in images:
        number, row = places[sha]
        rows = readers[number].take_rows(np.array([row], dtype=np.intp))
        values = {name: getattr(rows, name) for name in _FIELDS}
        stored = {name: None if value is None else (value.dtype, value.tobytes()) for name, value in values.items()}
        found[path] = (size, mtime_ns, sha, stored)
    return found


def refusals(index):
    """Return what the catalog remembers of files that cannot be used."""
    with Catalog(index) as catalog, catalog.reading():
        return sorted(catalog.select("SELECT path, size, mtime_ns, reason, decoder FROM skipped"))


def ids_agree(index):
    """Tell whether the id beside each row is that of an image of its content, where it has any image."""
    manifest = read_manifest(index)
    with Catalog(index) as catalog, catalog.reading():
        segments = catalog.segments()
        images = set(catalog.select("SELECT id, sha256 FROM images"))
        contents = catalog.select("SELECT sha256, segment, row FROM contents")
    shown = {sha for _, sha in images}
    for sha, number, row in contents:
        if sha not in shown:
            continue
        rows = SegmentReader(index, segments[number], manifest).take_rows(np.array([row], dtype=np.intp))
        if (int(rows.ids[0]), sha) not in images:
            return False
    return True
