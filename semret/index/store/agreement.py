"""The manifest beside the catalog, and the one inside it: which of the two holds while an index is being converted.

A conversion makes the new manifest the catalog's in the transaction that makes the new segments visible, and then
replaces ``manifest.json``. A kill in between leaves the former manifest there, whose digest the catalog keeps.
"""

from __future__ import annotations

from pathlib import Path

from semret.errors import IndexCorruptError
from semret.index.store import durable
from semret.index.store.catalog import Catalog
from semret.index.store.manifest import MANIFEST_NAME, Manifest, parse_manifest
from semret.index.store.members import REPAIR

FORMER_NAME = "manifest.former"
"""The manifest before a conversion: readers that opened the index then hold their lock on it."""


def agreed_manifest(index: Path, found: Manifest, catalog: Catalog) -> Manifest:
    """Return the manifest that the state of a catalog was made with.

    Parameters
    ----------
    index : Path
        Index directory.
    found : Manifest
        As ``manifest.json`` has it.
    catalog : Catalog

    Returns
    -------
    Manifest
        The catalog's: the same, but where a conversion was killed between its last two steps.

    Raises
    ------
    IndexCorruptError
        If the two belong to different indexes, or the catalog's is damaged.
    """
    recorded = parse_manifest(catalog.meta("manifest").encode(), index / MANIFEST_NAME)
    if recorded != found and catalog.former != found.digest:
        raise IndexCorruptError(f"{index / MANIFEST_NAME} belongs to another index; {REPAIR}")
    return recorded


def replace_manifest(index: Path, manifest: Manifest) -> bool:
    """Put the manifest of a converted index in the place of the former one, which keeps its readers' locks.

    Parameters
    ----------
    index : Path
        Index directory.
    manifest : Manifest
        As the catalog has it.

    Returns
    -------
    bool
        Whether the former one could be kept. Where a file cannot have two names, readers of the state before cannot be
        seen, so nothing that they use may be deleted in this run.

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    former = index / FORMER_NAME
    durable.discard(former)
    kept = True
    try:
        former.hardlink_to(index / MANIFEST_NAME)
    except OSError:
        kept = False
    durable.checkpoint("former:kept")
    durable.write_file(index / MANIFEST_NAME, manifest.as_bytes(), "manifest")
    return kept
